// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// TestOddNames: names that look like something they are not.
func TestOddNames(t *testing.T) {
	t.Parallel()
	claims := []fixture.Claim{{Name: "data", Class: "zonal"}}
	db := fixture.Workload{Name: "db", Replicas: 4, CPU: "50m", Claims: claims, Parallel: true}
	db2 := fixture.Workload{Name: "db-2", Replicas: 3, CPU: "50m", Claims: claims, Parallel: true}
	testenv.Test(t, features.New("two sets, one with the other's name for a prefix").
		Assess("each is spread on its own account", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, db.Service(), db2.Service(), db2.StatefulSet(), db.StatefulSet())
			s.awaitZones(ctx, t, db.Name, 4)
			s.awaitZones(ctx, t, db2.Name, 3)
		})).
		Assess("scaled down and up, each ordinal is with its own volume", step(func(ctx context.Context, t *testing.T, s scene) {
			s.scale(ctx, t, "StatefulSet", db.Name, 1)
			s.scale(ctx, t, "StatefulSet", db2.Name, 0)
			s.awaitSet(ctx, t, db.Name, 1)
			s.awaitSet(ctx, t, db2.Name, 0)
			s.scale(ctx, t, "StatefulSet", db.Name, 6)
			s.scale(ctx, t, "StatefulSet", db2.Name, 5)
			s.awaitZones(ctx, t, db.Name, 6)
			s.awaitZones(ctx, t, db2.Name, 5)
		})).
		Assess("a pod named like a slot that is not the set's runs like any other", step(func(ctx context.Context, t *testing.T, s scene) {
			// Slot db-9 would be planned; no zone has that node, so a plan for this pod would keep it from there.
			impostor := fixture.Workload{Name: "impostor", CPU: "50m", NodeSelector: map[string]string{corev1.LabelTopologyZone: "zone-c"}}.Pod("db-9")
			impostor.Labels[appsv1.PodIndexLabel] = "9"
			owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}
			s.create(ctx, t, owner)
			impostor.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, corev1.SchemeGroupVersion.WithKind("ConfigMap"))}
			s.create(ctx, t, impostor)
			s.awaitPod(ctx, t, impostor.Name, corev1.PodRunning)
		})).
		Feature())
}

func (s scene) awaitPod(ctx context.Context, t *testing.T, name string, phase corev1.PodPhase) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	s.until(ctx, t, "phase "+string(phase)+" of pod "+name, func(ctx context.Context) (string, bool, error) {
		var err error
		pod, err = s.Kube.CoreV1().Pods(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		return string(pod.Status.Phase), pod.Status.Phase == phase, nil
	})
	return pod
}

// TestVolumeWithoutClaim: a volume that was some ordinal's, and whose claim is
// gone, is nobody's home.
func TestVolumeWithoutClaim(t *testing.T) {
	t.Parallel()
	db := fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}}
	testenv.Test(t, features.New("a volume whose claim is gone").
		Assess("does not draw the ordinal to its zone", step(func(ctx context.Context, t *testing.T, s scene) {
			orphan := orphanVolume("orphan-"+s.Namespace, s.Namespace, "data-db-2", "zone-a")
			t.Cleanup(func() {
				if err := s.Kube.CoreV1().PersistentVolumes().Delete(context.WithoutCancel(ctx), orphan.Name, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			})
			if _, err := s.Kube.CoreV1().PersistentVolumes().Create(ctx, orphan, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			s.until(ctx, t, "the volume to be released", func(ctx context.Context) (string, bool, error) {
				volume, err := s.Kube.CoreV1().PersistentVolumes().Get(ctx, orphan.Name, metav1.GetOptions{})
				if err != nil {
					return "", false, err
				}
				return string(volume.Status.Phase), volume.Status.Phase == corev1.VolumeReleased, nil
			})
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitZones(ctx, t, db.Name, 3)
		})).
		Feature())
}

// orphanVolume is bound to a claim that existed once.
func orphanVolume(name, namespace, claim, zone string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              "zonal",
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			ClaimRef:                      &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: namespace, Name: claim, UID: "00000000-0000-4000-8000-000000000000"},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "zonal.berth.test", VolumeHandle: name}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}},
			}}}},
		},
	}
}

// TestNodeWithoutZone: a node that is in no zone gets no ordinal, and the pod says so.
func TestNodeWithoutZone(outer *testing.T) {
	outer.Parallel()
	db := fixture.Workload{Name: "db", Replicas: 1, CPU: "50m", Tolerate: forLabel}
	deleteNode := func() {}
	// After the namespace, and so not at the end of a step: a pod whose node is gone ends late.
	outer.Cleanup(func() { deleteNode() })
	testenv.Test(outer, features.New("a node without the zone label").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			node := fixture.Node(s.Namespace, map[string]string{forLabel: s.Namespace}, corev1.Taint{Key: forLabel, Value: s.Namespace, Effect: corev1.TaintEffectNoSchedule})
			db.NodeSelector = map[string]string{forLabel: s.Namespace}
			s.create(ctx, t, node)
			deleteNode = func() {
				if err := s.Kube.CoreV1().Nodes().Delete(context.WithoutCancel(ctx), node.Name, metav1.DeleteOptions{}); err != nil {
					outer.Error(err)
				}
			}
			s.awaitNodes(ctx, t, s.Namespace, 1)
		})).
		Assess("gets no ordinal, and the pod names the label", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, db.Service(), db.StatefulSet())
			t.Log(s.awaitEvent(ctx, t, "Pod", "db-0", "FailedScheduling", corev1.LabelTopologyZone))
		})).
		Assess("takes a pod that is no ordinal", step(func(ctx context.Context, t *testing.T, s scene) {
			plain := fixture.Workload{Name: "plain", CPU: "50m", NodeSelector: map[string]string{forLabel: s.Namespace}, Tolerate: forLabel}
			s.create(ctx, t, plain.Pod("plain"))
			s.awaitPod(ctx, t, "plain", corev1.PodRunning)
		})).
		Assess("gets the ordinal once it has the label", step(func(ctx context.Context, t *testing.T, s scene) {
			patch := []byte(`{"metadata":{"labels":{"` + corev1.LabelTopologyZone + `":"zone-b"}}}`)
			if _, err := s.Kube.CoreV1().Nodes().Patch(ctx, s.Namespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			table := s.awaitSet(ctx, t, db.Name, 1)
			if diff := cmp.Diff("zone-b", table.Zones()); diff != "" {
				t.Errorf("zones (-want +got):\n%s", diff)
			}
		})).
		Feature())
}
