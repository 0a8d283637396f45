// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestJournalOfPods(t *testing.T) {
	pod := func(uid types.UID, change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db-0", UID: uid}}
		for _, c := range change {
			c(p)
		}
		return p
	}
	on := func(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
	runs := func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }
	leaves := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: when(0)} }
	refused := func(message string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: message}}
		}
	}
	kept := refused("0/6 nodes are available: 1 node(s) keep room for absent slots of prod/db (Insufficient cpu), 5 Insufficient cpu.")
	sized := func(memory string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Resources: &corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)},
			}}}
		}
	}
	for name, tc := range map[string]struct {
		was, is *corev1.Pod
		want    []entry
	}{
		"one that comes":         {is: pod("1")},
		"one that has a node":    {is: pod("1", on("a"), runs), want: []entry{{fact: podBound, node: "a"}, {fact: podRuns}}},
		"bound":                  {was: pod("1"), is: pod("1", on("a")), want: []entry{{fact: podBound, node: "a"}}},
		"begins to run":          {was: pod("1", on("a")), is: pod("1", on("a"), runs), want: []entry{{fact: podRuns}}},
		"told to end":            {was: pod("1", on("a"), runs), is: pod("1", on("a"), runs, leaves), want: []entry{{fact: podLeaves}}},
		"no change":              {was: pod("1", on("a"), runs, leaves), is: pod("1", on("a"), runs, leaves)},
		"gets its first size":    {was: pod("1", on("a")), is: pod("1", on("a"), sized("2Gi"))},
		"gets another size":      {was: pod("1", on("a"), sized("2Gi")), is: pod("1", on("a"), sized("3Gi")), want: []entry{{fact: podSized}}},
		"refused":                {was: pod("1"), is: pod("1", refused("0/6 nodes are available: 6 Insufficient cpu."))},
		"refused for a hold":     {was: pod("1"), is: pod("1", kept), want: []entry{{fact: podKeptOut}}},
		"refused for it again":   {was: pod("1", kept), is: pod("1", kept)},
		"another, not yet bound": {was: pod("1", on("a"), runs), is: pod("2"), want: []entry{{fact: podGone}}},
		"another, bound":         {was: pod("1", on("a"), runs), is: pod("2", on("a")), want: []entry{{fact: podGone}, {fact: podBound, node: "a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range tc.want {
				tc.want[i].name = "prod/db-0"
			}
			j := &journal{}
			if tc.was == nil {
				tc.was = &corev1.Pod{}
			}
			j.pod(tc.was, tc.is)
			for i := range j.entries {
				j.entries[i].at = tc.is.CreationTimestamp.Time
			}
			if diff := cmp.Diff(tc.want, j.entries, cmp.AllowUnexported(entry{})); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}
