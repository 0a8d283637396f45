// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Who may be preempted by anybody is in nobody's way: for a pod that finds its room taken by such pods no node is made.
func TestExpendablePodsTakeNoRoom(t *testing.T) {
	for name, tc := range map[string]struct {
		priority int32
		nodes    int
	}{
		"an expendable pod":  {priority: -11, nodes: 1},
		"one that is not so": {priority: -10, nodes: 2},
	} {
		t.Run(name, func(t *testing.T) {
			perform(t, nil, nil, func(s *stage) {
				t := s.t
				// Three pods of web, and this one fill the node.
				cheap, waits := webPod(8), webPod(9)
				cheap.Spec.Priority, waits.Spec.NodeName = ptr.To(tc.priority), ""
				waits.Status = corev1.PodStatus{Phase: corev1.PodPending}
				for _, pod := range []*corev1.Pod{cheap, waits} {
					if _, err := s.kube.CoreV1().Pods("prod").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				s.pass(time.Minute)
				nodes, err := s.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if got := len(nodes.Items); got != tc.nodes {
					t.Errorf("%d nodes, want %d", got, tc.nodes)
				}
			})
		})
	}
}
