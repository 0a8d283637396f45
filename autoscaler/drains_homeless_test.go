// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

// A node that is empty is there until those that were evicted from it have another one, for it may be the only one that they fit on.
func TestANodeIsThereUntilItsPodsHaveAnother(t *testing.T) {
	pending := func(cpu string) *corev1.Pod {
		pod := webPod(8)
		pod.Spec.NodeName, pod.Status = "", corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}}
		pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse(cpu)
		return pod
	}
	for name, tc := range map[string]struct {
		wanted int32
		next   *corev1.Pod
		want   string
		after  time.Duration
	}{
		"nobody comes":                   {wanted: 3, want: "gone", after: 30 * time.Second},
		"somebody is to come":            {wanted: 4, want: "marked", after: time.Minute},
		"but does not for long":          {wanted: 4, want: "gone", after: 3 * time.Minute},
		"has a node":                     {wanted: 4, next: webPod(8), want: "gone", after: 30 * time.Second},
		"has none, and there is another": {wanted: 4, next: pending("1"), want: "marked", after: time.Minute},
		"has none, and there is none":    {wanted: 4, next: pending("2"), want: "stays", after: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			perform(t, nil, nil, func(s *stage) {
				sets := s.kube.AppsV1().ReplicaSets("prod")
				set, err := sets.Get(t.Context(), "web-1", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				set = set.DeepCopy()
				set.Spec.Replicas = ptr.To(tc.wanted)
				if _, err := sets.Update(t.Context(), set, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				d := newDraining(s, drain.Mark(time.Now().Add(-time.Minute)))
				for len(d.evicted) == 0 {
					s.pass(time.Second)
				}
				if tc.next != nil {
					if err := s.kube.Tracker().Add(tc.next); err != nil {
						t.Fatal(err)
					}
				}
				s.pass(tc.after)
				if got := d.node(); got != tc.want {
					t.Errorf("the node is %s, want %s", got, tc.want)
				}
			})
		})
	}
}

// A slot comes back under its name, as long as its set has it.
func TestASlotIsHomelessUntilItIsBack(t *testing.T) {
	pod := func(uid, node string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db-1", UID: types.UID(uid),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "db", Controller: ptr.To(true)}}},
			Spec: corev1.PodSpec{NodeName: node}}
	}
	for name, tc := range map[string]struct {
		replicas int32
		now      *corev1.Pod
		want     string
	}{
		"gone":                  {replicas: 2, want: "prod/db-1"},
		"going":                 {replicas: 2, now: pod("old", "n1"), want: "prod/db-1"},
		"pending":               {replicas: 2, now: pod("new", ""), want: "prod/db-1"},
		"back":                  {replicas: 2, now: pod("new", "n1")},
		"not wanted any longer": {replicas: 1},
	} {
		t.Run(name, func(t *testing.T) {
			perform(t, nil, nil, func(s *stage) {
				set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db", UID: "db"}, Spec: appsv1.StatefulSetSpec{Replicas: &tc.replicas}}
				if err := s.kube.Tracker().Add(set); err != nil {
					t.Fatal(err)
				}
				if tc.now != nil {
					if err := s.kube.Tracker().Add(tc.now); err != nil {
						t.Fatal(err)
					}
				}
				s.pass(100 * time.Millisecond) // the informers show it, and no tick has come
				node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{UID: "n2"}}
				s.conductor.history.drains.left[node.UID] = []*corev1.Pod{pod("old", "n2")}
				if got := s.conductor.homeless(node, s.conductor.homes()); got != tc.want {
					t.Errorf("homeless is %q, want %q", got, tc.want)
				}
			})
		})
	}
}
