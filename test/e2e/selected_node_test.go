// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/test/fixture"
)

// TestSelectedNodeLeftOver: a claim that was to be provisioned for a node which
// does not exist holds up its pod no longer than it takes to say so.
func TestSelectedNodeLeftOver(t *testing.T) {
	t.Parallel()
	const missing = "left-over"
	// One class has nobody but Berth to take the annotation off; the other one's
	// provisioner does so too.
	class := &storagev1.StorageClass{
		ObjectMeta:        metav1.ObjectMeta{Name: "by-hand"},
		Provisioner:       "kubernetes.io/no-provisioner",
		VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	}
	leftOver := func(name, class string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{statefulset.SelectedNode: missing}},
			Spec:       fixture.ClaimSpec(class),
		}
	}
	user := func(claim string) *corev1.Pod {
		pod := fixture.Workload{Name: "user", CPU: "50m"}.Pod(claim)
		fixture.Mount(&pod.Spec, claim)
		return pod
	}
	testenv.Test(t, features.New("a node that was selected, and does not exist").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			if _, err := s.Kube.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Kube.StorageV1().StorageClasses().Delete(context.WithoutCancel(ctx), class.Name, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			})
		})).
		Assess("is named, and taken off the claim", step(func(ctx context.Context, t *testing.T, s scene) {
			// Who hears of the pod before the claim refuses it for that, and of two refusals in a row the second may have
			// no event. The claim is known once a younger one is.
			younger := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "younger"}, Spec: fixture.ClaimSpec("zonal")}
			s.create(ctx, t, leftOver("static", class.Name), younger, user("younger"))
			s.awaitPod(ctx, t, "younger", corev1.PodRunning)
			s.create(ctx, t, user("static"))
			s.awaitEvent(ctx, t, "Pod", "static", "FailedScheduling",
				fmt.Sprintf("claim %q is being provisioned for node %q, which is gone; its annotation %s is taken off", "static", missing, statefulset.SelectedNode))
			s.awaitPending(ctx, t, "static", corev1.PodReasonUnschedulable, "find available persistent volumes to bind")
			if claim, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Get(ctx, "static", metav1.GetOptions{}); err != nil || claim.Annotations[statefulset.SelectedNode] != "" {
				t.Errorf("annotations of the claim are %v: %v", claim.Annotations, err)
			}
		})).
		Assess("and the pod runs once there is a volume", step(func(ctx context.Context, t *testing.T, s scene) {
			volume := &corev1.PersistentVolume{
				ObjectMeta: metav1.ObjectMeta{Name: "by-hand-" + s.Namespace},
				Spec: corev1.PersistentVolumeSpec{
					StorageClassName:              class.Name,
					Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
					AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
					PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "local.berth.test", VolumeHandle: "by-hand"}},
					NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
						MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{"zone-b"}}},
					}}}},
				},
			}
			if _, err := s.Kube.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Kube.CoreV1().PersistentVolumes().Delete(context.WithoutCancel(ctx), volume.Name, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			})
			s.awaitPod(ctx, t, "static", corev1.PodRunning)
		})).
		Assess("a provisioner that serves the claim does not matter", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, leftOver("dynamic", "zonal"), user("dynamic"))
			s.awaitPod(ctx, t, "dynamic", corev1.PodRunning)
		})).
		Feature())
}
