// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/nodes"
)

func storageClass(name string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "example.com/disk", VolumeBindingMode: &mode}
}

// planned is what a tick decides about nodes with a group for zone a.
func (a *inquiry) planned(t *testing.T, tick int) nodes.Decision {
	t.Helper()
	in := nodes.Input{Now: time.Now(), Config: nodes.Defaults(), Groups: []nodes.Group{{Name: "a", Max: 9, Template: berthNode("template", "a", "4")}}}
	in.Pending = a.reader.UnscheduledPods()
	d, err := a.placeNodes(t.Context(), in, a.reader.Nodes(), a.reader.Pods(), a.foresee(t.Context(), nil, a.reader.Pods()))
	if err != nil || d.Incomplete != "" {
		t.Fatalf("tick %d: %v %s", tick, err, d.Incomplete)
	}
	return d
}

// No node comes for a slot above one that nobody can help: its claim is in a zone without nodes.
func TestNoNodesForSlotsThatCannotCome(t *testing.T) {
	for name, tc := range map[string]struct {
		policy appsv1.PodManagementPolicyType
		there  bool // the slot without help has a pod
		adds   int
		held   string
	}{
		"in order, and it is future":  {adds: 0, held: "db-1 must be ready first and cannot be: no node and no group has room for it"},
		"in order, and it is waiting": {there: true, adds: 0, held: "db-1 must be ready first and cannot be: no node and no group has room for it"},
		"in any order":                {policy: appsv1.ParallelPodManagement, adds: 1},
	} {
		t.Run(name, func(t *testing.T) {
			pod, objects := sizedPod("a1", "a")
			_, lost := sizedPod("a1", "z")
			claim, volume := lost[2].(*corev1.PersistentVolumeClaim), lost[3].(*corev1.PersistentVolume)
			claim.Name, claim.UID, claim.Spec.VolumeName = "data-db-1", "claim-1", "volume-1"
			volume.Name, volume.UID, volume.Spec.ClaimRef.Name, volume.Spec.ClaimRef.UID = "volume-1", "volume-1", claim.Name, claim.UID
			set := objects[0].(*appsv1.StatefulSet)
			set.Spec.Replicas, set.Spec.PodManagementPolicy = ptr.To[int32](4), tc.policy
			set.Spec.VolumeClaimTemplates[0].Spec = corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("zonal"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}}
			pod.Spec.Containers[0].Resources.Requests = inAll("2")["db"].Requests
			objects = append(objects, claim, volume, storageClass("zonal", storagev1.VolumeBindingWaitForFirstConsumer), berthNode("a1", "a", "2"))
			if tc.there {
				waiting := pod.DeepCopy()
				waiting.Name, waiting.UID, waiting.Spec.NodeName, waiting.Status.Phase = "db-1", "db-1", "", corev1.PodPending
				waiting.Labels[appsv1.PodIndexLabel] = "1"
				waiting.Spec.Volumes[0].PersistentVolumeClaim.ClaimName = claim.Name
				objects = append(objects, waiting)
			}
			a := ask(t, objects...)
			for tick := range 2 {
				if got := a.planned(t, tick); len(got.Adds) != tc.adds || len(got.Unhelped) != 1 {
					t.Errorf("tick %d: adds %+v, without help %+v; want %d and one", tick, got.Adds, got.Unhelped, tc.adds)
				}
			}
			held := ""
			for _, reason := range a.history.futures.held {
				held += reason
			}
			if !strings.HasPrefix(held, tc.held) || held != "" && tc.held == "" {
				t.Errorf("held: %q, want %q", held, tc.held)
			}
		})
	}
}

// A node comes for each pod whose volumes do not exist yet, however they are made.
func TestNodesForClaimsToCome(t *testing.T) {
	spec := func(class string) corev1.PersistentVolumeClaimSpec {
		return corev1.PersistentVolumeClaimSpec{StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}
	}
	elsewhere := storageClass("elsewhere", storagev1.VolumeBindingImmediate)
	elsewhere.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: corev1.LabelTopologyZone, Values: []string{"b"}}}}}
	classes := []runtime.Object{storageClass("late", storagev1.VolumeBindingWaitForFirstConsumer), storageClass("now", storagev1.VolumeBindingImmediate), elsewhere}
	for name, tc := range map[string]struct {
		edit func(*appsv1.StatefulSet)
		want int
	}{
		"with the pod":      {func(set *appsv1.StatefulSet) { set.Spec.VolumeClaimTemplates[0].Spec = spec("late") }, 2},
		"at once":           {func(set *appsv1.StatefulSet) { set.Spec.VolumeClaimTemplates[0].Spec = spec("now") }, 2},
		"at once elsewhere": {func(set *appsv1.StatefulSet) { set.Spec.VolumeClaimTemplates[0].Spec = spec("elsewhere") }, 0},
		"for the pod alone": {func(set *appsv1.StatefulSet) {
			set.Spec.VolumeClaimTemplates = nil
			set.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: spec("late")}}}}}
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			set := sizedSet()
			set.Spec.Replicas, set.Spec.PodManagementPolicy = ptr.To[int32](2), appsv1.ParallelPodManagement
			set.Spec.Template.Spec.Containers[0].Resources.Requests = inAll("3")["db"].Requests
			tc.edit(set)
			a := ask(t, append([]runtime.Object{set, berthNode("a1", "a", "1")}, classes...)...)
			d, count := a.planned(t, 0), 0
			for _, add := range d.Adds {
				count += add.Count
			}
			if diff := cmp.Diff(tc.want, count); diff != "" {
				t.Errorf("nodes (-want +got):\n%s\nwithout help: %+v", diff, d.Unhelped)
			}
		})
	}
}
