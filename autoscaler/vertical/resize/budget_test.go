// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"fmt"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// Without ordinals as many go at once as may be missing, in upstream's order.
func TestWithoutOrdinals(t *testing.T) {
	for name, tc := range map[string]struct {
		mode  vpav1.UpdateMode
		setup func(*resize.Input, []*v1.Pod)
		want  []string
		waits map[string]string
	}{
		"half of them": {
			want: []string{"db-0 Patches InPlace", "db-1 Patches InPlace", "db-2 Waits InPlace", "db-3 Waits InPlace"},
		},
		"half of them, evicted": {
			mode: recreate,
			want: []string{"db-0 Evicts Recreate", "db-1 Evicts Recreate", "db-2 Waits Recreate", "db-3 Waits Recreate"},
		},
		"less where some are down": {
			setup: func(_ *resize.Input, pods []*v1.Pod) { setReady(pods[2], false) },
			want:  []string{"db-0 Patches InPlace", "db-1 Waits InPlace", "db-2 Patches InPlace", "db-3 Waits InPlace"},
			waits: map[string]string{"db-1": "2 pods are being resized, absent or not ready, and there may be 2"},
		},
		"or absent": {
			setup: func(in *resize.Input, _ []*v1.Pod) { in.Targets[0].Workload.Replicas = 6 },
			want:  []string{"db-0 Patches InPlace", "db-1 Waits InPlace", "db-2 Waits InPlace", "db-3 Waits InPlace"},
			waits: map[string]string{"db-1": "3 pods are being resized, absent or not ready, and there may be 3"},
		},
		"a budget is shared": {
			mode:  recreate,
			setup: func(in *resize.Input, pods []*v1.Pod) { in.Budgets = []resize.Budget{budget("db", 1, 3, pods...)} },
			want:  []string{"db-0 Evicts Recreate", "db-1 Waits Recreate", "db-2 Waits Recreate", "db-3 Waits Recreate"},
			waits: map[string]string{"db-1": "PodDisruptionBudget db"},
		},
		"a restart that may come at any moment is a disruption": {
			mode: recreate,
			setup: func(in *resize.Input, pods []*v1.Pod) {
				pods[3].Spec.Containers[0].ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: v1.ResourceCPU, RestartPolicy: v1.RestartContainer}}
				asked(pods[3], list("2", "2Gi"), time.Second)
				in.Budgets = []resize.Budget{budget("db", 1, 3, pods...)}
			},
			want:  []string{"db-0 Waits Recreate", "db-1 Waits Recreate", "db-2 Waits Recreate", "db-3 Resizes None"},
			waits: map[string]string{"db-0": "3 of 3 pods that it needs are available"},
		},
		"those that grow come first": {
			setup: func(_ *resize.Input, pods []*v1.Pod) {
				pods[0].Spec.Containers[0].Resources.Requests = list("9", "9Gi")
				acknowledge(pods[0])
			},
			want: []string{"db-1 Patches InPlace", "db-2 Patches InPlace", "db-3 Waits InPlace", "db-0 Waits InPlace"},
		},
		"a rollout": {
			setup: func(in *resize.Input, _ []*v1.Pod) { in.Targets[0].Workload.Rolling = true },
			want:  []string{"db-0 Waits InPlace", "db-1 Waits InPlace", "db-2 Waits InPlace", "db-3 Waits InPlace"},
			waits: map[string]string{"db-0": "a rollout is under way"},
		},
		"but for one that runs out of memory, which the rollout may wait for": {
			mode:  orRecreate,
			setup: func(in *resize.Input, pods []*v1.Pod) { in.Targets[0].Workload.Rolling = true; runOut(pods[1]) },
			want:  []string{"db-0 Waits InPlace", "db-1 Patches InPlace", "db-2 Waits InPlace", "db-3 Waits InPlace"},
		},
		"or is re-created": {
			mode:  recreate,
			setup: func(in *resize.Input, pods []*v1.Pod) { in.Targets[0].Workload.Rolling = true; runOut(pods[1]) },
			want:  []string{"db-0 Waits Recreate", "db-1 Evicts Recreate", "db-2 Waits Recreate", "db-3 Waits Recreate"},
		},
		"one successor per node": {
			mode:  recreate,
			setup: func(_ *resize.Input, pods []*v1.Pod) { pods[0].Namespace, pods[1].Namespace = "one-node", "one-node" },
			want:  []string{"db-0 Evicts Recreate", "db-1 Waits Recreate", "db-2 Evicts Recreate", "db-3 Waits Recreate"},
			waits: map[string]string{"db-1": "node for-both is given to another pod at this moment"},
		},
		"one per node": {
			setup: func(_ *resize.Input, pods []*v1.Pod) { pods[1].Spec.NodeName = pods[0].Spec.NodeName },
			want:  []string{"db-0 Patches InPlace", "db-1 Waits InPlace", "db-2 Patches InPlace", "db-3 Waits InPlace"},
			waits: map[string]string{"db-1": "is given to another pod at this moment"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := pods(4, list("1", "1Gi"), nil)
			for i, p := range all {
				p.Spec.NodeName = fmt.Sprintf("node-%d", i)
			}
			if tc.mode == "" {
				tc.mode = inPlace
			}
			in := resize.Input{Targets: []resize.Target{set(tc.mode, advice("2", "2Gi"), all...)}}
			in.Targets[0].Workload.Ordered = false
			if tc.setup != nil {
				tc.setup(&in, all)
			}
			out := answered(t, in, func(q resize.Question) resize.Answer {
				if q.Pod.Namespace == "one-node" {
					return resize.Answer{Fits: true, Node: "for-both", Created: q.Sizes}
				}
				return resize.Answer{Fits: true, Node: "for-" + q.Pod.Name, Created: q.Sizes}
			})
			expect(t, out, tc.want, tc.waits)
		})
	}
}

// A pod that is not ready is evicted where the eviction API would.
func TestBudgetsOfUnreadyPods(t *testing.T) {
	for name, tc := range map[string]struct {
		mode    vpav1.UpdateMode
		phase   v1.PodPhase
		healthy int32
		policy  *policyv1.UnhealthyPodEvictionPolicyType
		want    string
	}{
		"the budget is short":       {mode: recreate, healthy: 1, want: "db-2 Waits Recreate"},
		"the budget is kept":        {mode: recreate, healthy: 2, want: "db-2 Evicts Recreate"},
		"AlwaysAllow":               {mode: recreate, healthy: 1, policy: ptr.To(policyv1.AlwaysAllow), want: "db-2 Evicts Recreate"},
		"IfHealthyBudget":           {mode: recreate, healthy: 1, policy: ptr.To(policyv1.IfHealthyBudget), want: "db-2 Waits Recreate"},
		"it has not started":        {mode: recreate, healthy: 1, phase: v1.PodPending, want: "db-2 Evicts Recreate"},
		"a restart in place":        {mode: inPlace, healthy: 1, want: "db-2 Patches InPlaceRestart"},
		"in place, not started yet": {mode: inPlace, healthy: 1, phase: v1.PodPending, want: "db-2 Waits InPlaceRestart"},
	} {
		t.Run(name, func(t *testing.T) {
			all := pods(3, list("1", "1Gi"), nil)
			setReady(all[2], false)
			if tc.phase != "" {
				all[2].Status.Phase = tc.phase
			}
			for _, p := range all {
				p.Spec.Containers[0].ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: v1.ResourceCPU, RestartPolicy: v1.RestartContainer}}
			}
			b := budget("db", 0, 2, all...)
			b.Object.Status.CurrentHealthy, b.Object.Spec.UnhealthyPodEvictionPolicy = tc.healthy, tc.policy
			out := answered(t, resize.Input{Targets: []resize.Target{set(tc.mode, advice("2", "2Gi"), all...)}, Budgets: []resize.Budget{b}}, yes)
			if got := summary(out)[0]; got != tc.want {
				t.Errorf("%s (%s), want %s", got, out.Pods[0].Waits, tc.want)
			}
		})
	}
}
