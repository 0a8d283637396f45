// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/test/fixture"
)

func TestEmpty(t *testing.T) {
	nodes := []*corev1.Node{node("idle", "a", "4"), node("busy", "a", "4"), node("ending", "b", "4")}
	ending := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: when(0)}}, Spec: corev1.PodSpec{NodeName: "ending"}}
	pods := []*corev1.Pod{{Spec: corev1.PodSpec{NodeName: "busy"}}, ending, {}}
	var got []string
	for _, n := range empty(nodes, pods) {
		got = append(got, n.Name)
	}
	if diff := cmp.Diff([]string{"idle"}, got); diff != "" {
		t.Errorf("empty nodes (-want +got):\n%s", diff)
	}
}

func TestUnmoved(t *testing.T) {
	before := fixture.Table{row(0, "a", "a"), row(1, "b", "b")}
	unready := slices.Clone(before)
	unready[1].Ready = false
	elsewhere := slices.Clone(before)
	elsewhere[1].Node = "another"
	for name, tc := range map[string]struct {
		after fixture.Table
		wrong bool
	}{
		"as it was":     {after: slices.Clone(before)},
		"one went":      {after: before[:1], wrong: true},
		"one not ready": {after: unready, wrong: true},
		"one moved":     {after: elsewhere, wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := unmoved(before, tc.after); (err != nil) != tc.wrong {
				t.Errorf("error %v, want one: %t", err, tc.wrong)
			}
		})
	}
}
