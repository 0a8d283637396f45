// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/berth-dev/berth/test/cluster/layout"
)

var renewed = metav1.NewMicroTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

// lease is the one of node n as kwok keeps it.
func lease() *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: "n"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("kwok"), LeaseDurationSeconds: new(int32(40)), RenewTime: &renewed},
	}
}

func deadNode() *corev1.Node {
	n := node("n", "zone-a")
	n.Annotations = map[string]string{layout.AnnotationKubelet: layout.KubeletDead}
	return n
}

func TestDeathTakesTheLease(t *testing.T) {
	for name, objects := range map[string][]runtime.Object{
		"from kwok":      {deadNode(), lease()},
		"before it came": {deadNode()},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, objects...)
			if err := s.kubelet.sync(t.Context(), "n"); err != nil {
				t.Fatal(err)
			}
			got, err := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if holder := *got.Spec.HolderIdentity; holder != nobody || got.Labels[layout.AnnotationKubelet] != layout.KubeletDead {
				t.Errorf("held by %s with labels %v", holder, got.Labels)
			}
			if ends := got.Spec.RenewTime.Add(time.Duration(*got.Spec.LeaseDurationSeconds) * time.Second); time.Until(ends) < 365*24*time.Hour {
				t.Errorf("the lease ends %s, and kwok would take it", ends)
			}
			if len(objects) > 1 && !got.Spec.RenewTime.Equal(&renewed) {
				t.Errorf("renewed %s, which is a sign of life", got.Spec.RenewTime)
			}
		})
	}
}

func TestDeadKubeletDoesNothing(t *testing.T) {
	n := deadNode()
	n.Status.VolumesInUse = []corev1.UniqueVolumeName{inUse + "gone"}
	n.Status.VolumesAttached = []corev1.AttachedVolume{{Name: inUse + "db-0"}}
	objects := append([]runtime.Object{n, lease(), pod("db-0")}, bound("db-0", ZonalDriver)...)
	s := newScene(t, objects...)
	if err := s.kubelet.sync(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	if got := s.node(t).Status.VolumesInUse; len(got) != 1 || got[0] != inUse+"gone" {
		t.Errorf("volumes in use are %v now", got)
	}
	if s.started(t, "db-0") {
		t.Error("a pod starts on a node whose kubelet is dead")
	}
}

func TestLifeGivesTheLeaseBack(t *testing.T) {
	ours := lease()
	holdForEver(ours)
	s := newScene(t, node("n", "zone-a"), ours)
	if err := s.kubelet.sync(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), "n", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("got %v, %v, want it gone so that kwok makes its own", got, err)
	}
}

func TestTheLivingKeepTheirLease(t *testing.T) {
	s := newScene(t, node("n", "zone-a"), lease())
	if err := s.kubelet.sync(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	got, err := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), "n", metav1.GetOptions{})
	if err != nil || *got.Spec.HolderIdentity != "kwok" {
		t.Errorf("got %v, %v, want the lease as it was", got, err)
	}
}
