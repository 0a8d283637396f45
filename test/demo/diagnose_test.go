// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestAlike(t *testing.T) {
	pod := func(name, kind, owner, node string, phase corev1.PodPhase) *corev1.Pod {
		controller := true
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{{Kind: kind, UID: types.UID(owner), Controller: &controller}}},
			Spec:       corev1.PodSpec{NodeName: node},
			Status:     corev1.PodStatus{Phase: phase},
		}
	}
	pods := []*corev1.Pod{
		pod("rival-1", "ReplicaSet", "rival", "", corev1.PodPending),
		pod("web-1", "ReplicaSet", "web", "", corev1.PodPending),
		pod("db-0", "StatefulSet", "db", "", corev1.PodPending),
		pod("rival-2", "ReplicaSet", "rival", "a", corev1.PodRunning),
		pod("db-1", "StatefulSet", "db", "", corev1.PodPending),
		pod("rival-3", "ReplicaSet", "rival", "", corev1.PodPending),
		pod("rival-4", "ReplicaSet", "rival", "b", corev1.PodPending),
		{ObjectMeta: metav1.ObjectMeta{Name: "single"}, Status: corev1.PodStatus{Phase: corev1.PodPending}},
	}
	var got [][]string
	for _, group := range alike(pods) {
		var names []string
		for _, p := range group {
			names = append(names, p.Name)
		}
		got = append(got, names)
	}
	want := [][]string{{"rival-1", "rival-3"}, {"web-1"}, {"db-0"}, {"db-1"}, {"rival-4"}, {"single"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}
