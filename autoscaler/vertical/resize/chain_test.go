// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

const (
	orRecreate = vpav1.UpdateModeInPlaceOrRecreate
	inPlace    = vpav1.UpdateModeInPlace
	recreate   = vpav1.UpdateModeRecreate
)

// asked gives the pod a resize that Berth asked for some time ago.
func asked(p *v1.Pod, to v1.ResourceList, ago time.Duration) {
	before := p.Spec.Containers[0].Resources.DeepCopy()
	sizes := resize.Sizes{"db": {Requests: to}}
	rec := resize.Record{At: noon.Add(-ago), Asked: sizes, Before: resize.Sizes{"db": *before}}
	p.Annotations = map[string]string{resize.RecordAnnotation: rec.Annotation()}
	write(p, sizes)
}

// stuck is a rollout from a to b that has come to ordinal 1, which runs out of memory.
func stuck(in *resize.Input, pods []*v1.Pod) {
	in.Targets[0].Workload.Revision = "b"
	for i, p := range pods {
		p.Labels["controller-revision-hash"] = []string{"a", "a", "b"}[i]
	}
	runOut(pods[1])
}

func TestChain(t *testing.T) {
	small := list("1", "1Gi")
	for name, tc := range map[string]struct {
		mode  vpav1.UpdateMode
		setup func(*resize.Input, []*v1.Pod)
		ans   func(resize.Question) resize.Answer
		want  []string
		// waits is what the pods wait for, by name, in part.
		waits map[string]string
	}{
		"the highest ordinal goes first": {
			want:  []string{"db-2 Patches InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-1": "ordinal 2: it is changed now", "db-0": "ordinal 2"},
		},
		"the next waits for an acknowledgement": {
			setup: func(_ *resize.Input, pods []*v1.Pod) { asked(pods[2], list("2", "2Gi"), time.Second) },
			want:  []string{"db-2 Resizes None", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-1": "ordinal 2: resize in progress for 1s"},
		},
		"and until it is ready": {
			setup: func(_ *resize.Input, pods []*v1.Pod) {
				asked(pods[2], list("2", "2Gi"), time.Minute)
				acknowledge(pods[2])
				setReady(pods[2], false)
			},
			want:  []string{"db-2 Nothing None", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-1": "ordinal 2: it is not ready"},
		},
		"an acknowledged one is followed by the next": {
			setup: func(_ *resize.Input, pods []*v1.Pod) {
				asked(pods[2], list("2", "2Gi"), time.Minute)
				acknowledge(pods[2])
			},
			want: []string{"db-2 Nothing None", "db-1 Patches InPlace", "db-0 Waits InPlace"},
		},
		"a lower ordinal under way holds the higher": {
			setup: func(_ *resize.Input, pods []*v1.Pod) { asked(pods[0], list("3", "3Gi"), time.Second) },
			want:  []string{"db-2 Waits InPlace", "db-1 Waits InPlace", "db-0 Resizes InPlace"},
			waits: map[string]string{"db-2": "ordinal 0"},
		},
		"a resize of somebody else is waited for": {
			setup: func(_ *resize.Input, pods []*v1.Pod) {
				write(pods[1], resize.Sizes{"db": {Requests: list("8", "8Gi")}})
				setCondition(pods[1], v1.PodResizePending, v1.PodReasonInfeasible, noon.Add(-time.Hour))
			},
			want:  []string{"db-2 Waits InPlace", "db-1 Resizes InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-2": "not Berth's"},
		},
		"an absent ordinal": {
			setup: func(in *resize.Input, _ []*v1.Pod) { in.Targets[0].Workload.Absent = []int{3} },
			want:  []string{"db-2 Waits InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-2": "ordinal 3: it is being re-created"},
		},
		"one that is down needs no turn": {
			setup: func(in *resize.Input, pods []*v1.Pod) {
				in.Targets[0].Workload.Absent = []int{3}
				setReady(pods[1], false)
			},
			want: []string{"db-2 Waits InPlace", "db-1 Patches InPlace", "db-0 Waits InPlace"},
		},
		"a partition": {
			setup: func(in *resize.Input, pods []*v1.Pod) {
				in.Targets[0].Workload.Partition = 2
				asked(pods[2], list("2", "2Gi"), time.Minute)
				acknowledge(pods[2])
			},
			want:  []string{"db-2 Nothing None", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-1": "below the partition 2"},
		},
		"a rollout": {
			setup: func(in *resize.Input, pods []*v1.Pod) {
				in.Targets[0].Workload.Revision = "b"
				for i, p := range pods {
					p.Labels["controller-revision-hash"] = []string{"a", "a", "b"}[i]
				}
			},
			want:  []string{"db-2 Waits InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-2": "ordinal 1: the rollout", "db-1": "rollout of revision b"},
		},
		"a rollout that waits for what runs out of memory": {
			setup: func(in *resize.Input, pods []*v1.Pod) { stuck(in, pods) },
			want:  []string{"db-2 Waits InPlace", "db-1 Patches InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-2": "ordinal 1: the rollout re-creates it", "db-0": "rollout of revision b"},
		},
		"re-creates it itself": {
			setup: func(in *resize.Input, pods []*v1.Pod) { stuck(in, pods) },
			ans: func(q resize.Question) resize.Answer {
				return resize.Answer{Fits: q.Move, Node: "node-b", Created: q.Sizes, Reason: "node-a lacks 1 cpu"}
			},
			want:  []string{"db-2 Waits InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-1": "node-a lacks 1 cpu; and it is not re-created: its set rolls revision b out"},
		},
		"whatever the mode": {
			mode:  recreate,
			setup: func(in *resize.Input, pods []*v1.Pod) { stuck(in, pods) },
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-1": "rollout of revision b, which re-creates it"},
		},
		"one without room is stepped over": {
			mode: inPlace,
			ans: func(q resize.Question) resize.Answer {
				return resize.Answer{Fits: q.Pod.Name != "db-2", Reason: "node-a lacks 1 cpu"}
			},
			want:  []string{"db-2 Waits InPlace", "db-1 Patches InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-2": "node-a lacks 1 cpu"},
		},
		"without room it moves": {
			ans: func(q resize.Question) resize.Answer {
				return resize.Answer{Fits: q.Move, Node: "node-b", Created: q.Sizes, Reason: "node-a lacks 1 cpu"}
			},
			want: []string{"db-2 Evicts Recreate", "db-1 Waits InPlace", "db-0 Waits InPlace"},
		},
		"no room anywhere asks for it": {
			ans: func(q resize.Question) resize.Answer {
				return resize.Answer{Created: q.Sizes, Reason: "0/3 nodes"}
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "no node has room for its successor: 0/3 nodes"},
		},
		"no answer about its node is not taken for no room": {
			ans: func(q resize.Question) resize.Answer {
				return resize.Answer{Fits: q.Move, Node: "node-b", Created: q.Sizes, Unknown: !q.Move && q.Pod.Name == "db-2", Reason: "it took too long"}
			},
			want:  []string{"db-2 Waits InPlace", "db-1 Evicts Recreate", "db-0 Waits InPlace"},
			waits: map[string]string{"db-2": "is not known: it took too long"},
		},
		"nor one about its successor": {
			mode: recreate,
			ans: func(q resize.Question) resize.Answer {
				return resize.Answer{Unknown: true, Fits: true, Node: "node-b", Created: q.Sizes, Reason: "it took too long"}
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "is not known: it took too long"},
		},
		"minReadySeconds": {
			setup: func(in *resize.Input, pods []*v1.Pod) {
				in.Targets[0].Workload.MinReady = time.Minute
				pods[0].Status.Conditions[0].LastTransitionTime = metav1.NewTime(noon.Add(-time.Second))
			},
			want:  []string{"db-2 Waits InPlace", "db-1 Waits InPlace", "db-0 Patches InPlace"},
			waits: map[string]string{"db-2": "ordinal 0: it is ready since 2026-06-01T11:59:59Z, and has to be for 1m0s"},
		},
		"a node on its way is waited for": {
			mode: recreate,
			ans: func(q resize.Question) resize.Answer {
				return resize.Answer{Fits: true, Coming: true, Node: "node-new", Created: q.Sizes}
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "node node-new, which has room for its successor, is on its way"},
		},
		"nor overtaken in place": {
			ans: func(q resize.Question) resize.Answer {
				return resize.Answer{Fits: q.Move || q.Pod.Name != "db-2", Coming: true, Node: "node-new", Created: q.Sizes, Reason: "node-a lacks 1 cpu"}
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-1": "waits for ordinal 2: node node-new, which has room"},
		},
		"nor by one with a node": {
			mode: recreate,
			ans: func(q resize.Question) resize.Answer {
				return resize.Answer{Fits: true, Coming: q.Pod.Name == "db-2", Node: "node-for-" + q.Pod.Name, Created: q.Sizes}
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-1": "waits for ordinal 2: node node-for-db-2", "db-0": "waits for ordinal 2"},
		},
		"no admission policy evicts nothing": {
			mode:  recreate,
			ans:   func(resize.Question) resize.Answer { return resize.Answer{Fits: true} },
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "not installed: nothing is evicted"},
		},
		"another size than asked for evicts nothing": {
			mode: recreate,
			ans: func(resize.Question) resize.Answer {
				return resize.Answer{Fits: true, Created: resize.Sizes{"db": {Requests: list("1", "1Gi")}}}
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "would not get this size"},
		},
		"a quorum": {
			mode:  recreate,
			setup: func(in *resize.Input, _ []*v1.Pod) { in.Targets[0].Workload.Quorum = 3 },
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "3 of 3 pods are available, and the quorum is 3"},
		},
		"a quorum with room": {
			mode:  recreate,
			setup: func(in *resize.Input, _ []*v1.Pod) { in.Targets[0].Workload.Quorum = 2 },
			want:  []string{"db-2 Evicts Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
		},
		"a pod that is down leaves no room in maxUnavailable, and may go itself": {
			mode:  recreate,
			setup: func(_ *resize.Input, pods []*v1.Pod) { setReady(pods[0], false) },
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Evicts Recreate"},
			waits: map[string]string{"db-2": "1 of 3 pods are unavailable, and maxUnavailable is 1"},
		},
		"minReplicas holds evictions": {
			mode:  recreate,
			setup: func(in *resize.Input, _ []*v1.Pod) { in.Targets[0].Update.MinReplicas = ptr.To[int32](4) },
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "3 pods live, and minReplicas is 4"},
		},
		"but not a resize in place": {
			setup: func(in *resize.Input, _ []*v1.Pod) { in.Targets[0].Update.MinReplicas = ptr.To[int32](4) },
			want:  []string{"db-2 Patches InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"},
		},
		"eviction requirements hold evictions": {
			mode: recreate,
			setup: func(in *resize.Input, _ []*v1.Pod) {
				in.Targets[0].Update.EvictionRequirements = []*vpav1.EvictionRequirement{{Resources: []v1.ResourceName{v1.ResourceCPU}, ChangeRequirement: vpav1.TargetLowerThanRequests}}
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "evictionRequirements"},
		},
		"but not in place either": {
			setup: func(in *resize.Input, _ []*v1.Pod) {
				in.Targets[0].Update.EvictionRequirements = []*vpav1.EvictionRequirement{{Resources: []v1.ResourceName{v1.ResourceCPU}, ChangeRequirement: vpav1.TargetLowerThanRequests}}
			},
			want: []string{"db-2 Patches InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"},
		},
		"a budget without room": {
			mode:  recreate,
			setup: func(in *resize.Input, pods []*v1.Pod) { in.Budgets = []resize.Budget{budget("db", 0, 2, pods...)} },
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "PodDisruptionBudget db: 0 disruptions are allowed"},
		},
		"a budget whose status lags behind its pods": {
			mode: recreate,
			setup: func(in *resize.Input, pods []*v1.Pod) {
				in.Targets[0].Workload.MaxUnavailable = 3
				other := pod("db", 9, nil, nil)
				setReady(other, false)
				in.Budgets = []resize.Budget{budget("db", 1, 3, append(pods, other)...)}
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "3 of 3 pods that it needs"},
		},
		"two budgets on a pod": {
			mode: recreate,
			setup: func(in *resize.Input, pods []*v1.Pod) {
				in.Budgets = []resize.Budget{budget("x", 1, 2, pods...), budget("y", 1, 2, pods...)}
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "2 PodDisruptionBudgets"},
		},
		"a restart in place counts too": {
			setup: func(in *resize.Input, pods []*v1.Pod) {
				for _, p := range pods {
					p.Spec.Containers[0].ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: v1.ResourceMemory, RestartPolicy: v1.RestartContainer}}
				}
				in.Budgets = []resize.Budget{budget("db", 0, 3, pods...)}
			},
			want:  []string{"db-2 Waits InPlaceRestart", "db-1 Waits InPlaceRestart", "db-0 Waits InPlaceRestart"},
			waits: map[string]string{"db-2": "PodDisruptionBudget db"},
		},
		"no eviction of a pod that is new": {
			mode: recreate,
			setup: func(_ *resize.Input, pods []*v1.Pod) {
				pods[2].CreationTimestamp = metav1.NewTime(noon.Add(-time.Minute))
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "it is left until 2026-06-01T12:09:00Z"},
		},
		"unless it runs out of memory": {
			mode: recreate,
			setup: func(_ *resize.Input, pods []*v1.Pod) {
				pods[2].CreationTimestamp = metav1.NewTime(noon.Add(-time.Minute))
				pods[2].Status.ContainerStatuses[0].LastTerminationState.Terminated = &v1.ContainerStateTerminated{Reason: "OOMKilled",
					StartedAt: metav1.NewTime(noon.Add(-time.Minute)), FinishedAt: metav1.NewTime(noon)}
				setReady(pods[2], false)
			},
			want: []string{"db-2 Evicts Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
		},
		"OnDelete would roll a revision out": {
			mode: recreate,
			setup: func(in *resize.Input, pods []*v1.Pod) {
				in.Targets[0].Workload.OnDelete, in.Targets[0].Workload.Revision = true, "b"
				for i, p := range pods {
					p.Labels["controller-revision-hash"] = []string{"a", "b", "a"}[i]
				}
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Evicts Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "updated OnDelete, so that its successor would have revision b"},
		},
		"a successor that has just come is waited for, even if it is to change again": {
			setup: func(_ *resize.Input, pods []*v1.Pod) {
				pods[1].CreationTimestamp = metav1.NewTime(noon.Add(-time.Minute))
				setReady(pods[1], false)
				pods[1].Status.Phase = v1.PodPending
			},
			want:  []string{"db-2 Waits InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-2": "ordinal 1: it is not ready", "db-1": "has not started"},
		},
		"a budget whose status is old": {
			mode: recreate,
			setup: func(in *resize.Input, pods []*v1.Pod) {
				in.Budgets = []resize.Budget{budget("db", 1, 2, pods...)}
				in.Budgets[0].Object.Generation = 2
			},
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "its status is not up to date"},
		},
		"a limit that shrinks to an unknown usage": {
			mode: inPlace,
			setup: func(in *resize.Input, pods []*v1.Pod) {
				pods[2].Spec.Containers[0].Resources = v1.ResourceRequirements{Requests: list("1", "4Gi"), Limits: list("", "4Gi")}
				acknowledge(pods[2])
				in.Targets[0].Pods[2].Usage = nil
			},
			want:  []string{"db-2 Waits InPlace", "db-1 Patches InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-2": "usage of container db is not known"},
		},
		"Off": {mode: vpav1.UpdateModeOff, want: []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "update mode Off"}},
		"another master": {
			setup: func(in *resize.Input, _ []*v1.Pod) { in.Targets[0].Hold = "the upstream updater acts" },
			want:  []string{"db-2 Waits InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-2": "upstream updater"},
		},
		"refused by the API server": {
			mode: inPlace,
			setup: func(in *resize.Input, pods []*v1.Pod) {
				in.Refused = []resize.Refused{{Pod: pods[2].UID, Kind: resize.Patch, Message: "exceeded quota"}}
			},
			want:  []string{"db-2 Waits InPlace", "db-1 Patches InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-2": "exceeded quota"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := pods(3, small, nil)
			if tc.mode == "" {
				tc.mode = orRecreate
			}
			in := resize.Input{Targets: []resize.Target{set(tc.mode, advice("2", "2Gi"), all...)}}
			if tc.setup != nil {
				tc.setup(&in, all)
			}
			if tc.ans == nil {
				tc.ans = yes
			}
			out := answered(t, in, tc.ans)
			expect(t, out, tc.want, tc.waits)
		})
	}
}
