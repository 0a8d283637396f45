// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// Who asks is decided for last: what the others have taken of nodes and budgets is not there any more.
func TestAgainCountsWhatTheOthersTake(t *testing.T) {
	of := func(name string, to []resize.Recommendation, restarts bool) resize.Target {
		t := set(orRecreate, to, pod(name, 0, list("1", "1Gi"), nil), pod(name, 1, list("1", "1Gi"), nil))
		t.Name = name
		for i, p := range t.Pods {
			p.Object.Labels = map[string]string{"app": "db"}
			p.Object.Spec.NodeName = name + "-node"
			if t.Pods[i].Node.Name = p.Object.Spec.NodeName; restarts {
				p.Object.Spec.Containers[0].ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: v1.ResourceCPU, RestartPolicy: v1.RestartContainer}}
			}
		}
		return t
	}
	grows, shrinks := advice("2", "1Gi"), advice("500m", "1Gi")
	for name, tc := range map[string]struct {
		other, asks resize.Target
		budget      int32
		stay        bool
		want        []string
	}{
		"a budget of two": {other: of("zz", shrinks, true), asks: of("aa", grows, false), budget: 2,
			want: []string{"aa-1 Evicts Recreate", "aa-0 Waits InPlace", "zz-1 Patches InPlaceRestart", "zz-0 Waits InPlaceRestart"}},
		"a budget of one": {other: of("zz", shrinks, true), asks: of("aa", grows, false), budget: 1,
			want: []string{"aa-1 Waits InPlace", "aa-0 Waits InPlace", "zz-1 Patches InPlaceRestart", "zz-0 Waits InPlaceRestart"}},
		"a node for one": {other: of("bb", grows, false), asks: of("aa", grows, false), budget: 2,
			want: []string{"aa-1 Waits Recreate", "aa-0 Waits Recreate", "bb-1 Patches InPlace", "bb-0 Waits InPlace"}},
	} {
		t.Run(name, func(t *testing.T) {
			var covered []*v1.Pod
			for _, target := range []resize.Target{tc.other, tc.asks} {
				for _, p := range target.Pods {
					covered = append(covered, p.Object)
				}
			}
			in := resize.Input{Targets: []resize.Target{tc.other, tc.asks}, Budgets: []resize.Budget{budget("db", tc.budget, 4-tc.budget, covered...)}}
			out := answered(t, in, func(q resize.Question) resize.Answer {
				if q.Move {
					return resize.Answer{Fits: true, Node: "bb-node", Created: q.Sizes}
				}
				return resize.Answer{Fits: q.Pod.Spec.NodeName == "bb-node"}
			})
			if diff := cmp.Diff(tc.want, summary(out)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}
