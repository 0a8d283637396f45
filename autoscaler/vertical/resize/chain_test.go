// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
			want:  []string{"db-2 Waits Recreate", "db-1 Evicts Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "created 1m0s ago"},
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
			if diff := cmp.Diff(tc.want, summary(out)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			for name, want := range tc.waits {
				if got := of(out, name); !strings.Contains(got.Waits, want) {
					t.Errorf("%s waits for %q, want %q", name, got.Waits, want)
				}
			}
		})
	}
}

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
			if diff := cmp.Diff(tc.want, summary(out)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			for name, want := range tc.waits {
				if got := of(out, name); !strings.Contains(got.Waits, want) {
					t.Errorf("%s waits for %q, want %q", name, got.Waits, want)
				}
			}
		})
	}
}

// What is asked depends on nothing that is not known, and nothing goes on before it is
// answered for the very size that was asked about.
func TestQuestions(t *testing.T) {
	all := pods(3, list("1", "1Gi"), nil)
	in := resize.Input{Now: noon, Config: resize.DefaultConfig(), Targets: []resize.Target{set(orRecreate, advice("2", "2Gi"), all...)}}
	out := resize.Decide(in)
	if len(out.Actions) > 0 || len(out.Questions) != 1 || out.Questions[0].Pod.Name != "db-2" || out.Questions[0].Move {
		t.Fatalf("asks %+v and does %+v", out.Questions, out.Actions)
	}
	if diff := cmp.Diff([]string{"db-2 Asks InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"}, summary(out)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	in.Answers = []resize.Answer{{Pod: all[2].UID, Sizes: resize.Sizes{"db": {Requests: list("1500m", "2Gi")}}, Fits: true}}
	if out := resize.Decide(in); len(out.Actions) > 0 || len(out.Questions) != 1 {
		t.Errorf("an answer about another size counts: %+v", out.Actions)
	}
	in.Answers = []resize.Answer{{Pod: all[2].UID, Sizes: out.Questions[0].Sizes}}
	if out := resize.Decide(in); len(out.Questions) != 1 || !out.Questions[0].Move {
		t.Errorf("asks %+v, want whether it may move", out.Questions)
	}
	// A shrink needs no room, and asks for none.
	in.Answers, in.Targets = nil, []resize.Target{set(orRecreate, advice("500m", "512Mi"), all...)}
	if out := resize.Decide(in); len(out.Questions) > 0 || len(out.Actions) != 1 {
		t.Errorf("asks %+v for a shrink", out.Questions)
	}
}

// A refusal is remembered, doubles, and goes with its pod.
func TestRefusals(t *testing.T) {
	all := pods(1, list("1", "1Gi"), nil)
	in := resize.Input{Now: noon, Config: resize.DefaultConfig(), Targets: []resize.Target{set(inPlace, advice("2", "2Gi"), all...)},
		Refused: []resize.Refused{{Pod: all[0].UID, Kind: resize.Patch, Message: "no"}}}
	out := resize.Decide(in)
	in.History, in.Now = out.History, noon.Add(9*time.Minute)
	out = resize.Decide(in)
	want := resize.History{Refusals: map[types.UID]resize.Refusal{all[0].UID: {At: noon.Add(9 * time.Minute), Tries: 2, Message: "no"}}}
	if diff := cmp.Diff(want, out.History); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	in.History, in.Refused, in.Now = out.History, nil, noon.Add(28*time.Minute)
	if out := resize.Decide(in); len(out.Questions) > 0 || !strings.Contains(out.Pods[0].Waits, "not tried again before 2026-06-01T12:29:00Z") {
		t.Errorf("waits for %q", out.Pods[0].Waits)
	}
	in.Now = noon.Add(29 * time.Minute)
	if out := resize.Decide(in); len(out.Questions) != 1 {
		t.Errorf("is not tried again: %s", out.Pods[0].Waits)
	}
	in.Refused = []resize.Refused{{Pod: all[0].UID, Kind: resize.Evict}, {Pod: all[0].UID, Kind: resize.Revert}}
	if out := resize.Decide(in); len(out.Questions) != 1 {
		t.Errorf("is not tried again after another write was refused: %s", out.Pods[0].Waits)
	}
	in.Refused, in.Targets[0].Pods = nil, nil
	if out := resize.Decide(in); len(out.History.Refusals) > 0 {
		t.Errorf("remembers %+v of a pod that is gone", out.History)
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
