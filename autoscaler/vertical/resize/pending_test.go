// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// pend takes the pod's node and containers away.
func pend(p *v1.Pod, node string, age time.Duration) {
	p.Spec.NodeName, p.CreationTimestamp = node, metav1.NewTime(noon.Add(-age))
	p.Status = v1.PodStatus{Phase: v1.PodPending}
}

// A pod that no node has room for is given its size where it stands, or is re-created at once: others wait for it.
func TestPending(t *testing.T) {
	nowhere := func(q resize.Question) resize.Answer {
		return resize.Answer{Created: q.Sizes, Reason: "0/3 nodes"}
	}
	for name, tc := range map[string]struct {
		mode  vpav1.UpdateMode
		node  string
		age   time.Duration
		setup func(*resize.Input, *v1.Pod)
		ans   func(resize.Question) resize.Answer
		want  []string
		waits map[string]string
	}{
		"in place": {mode: inPlace, age: time.Second, want: []string{"db-2 Patches InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"}},
		"or by re-creation": {mode: orRecreate, age: time.Hour, want: []string{"db-2 Patches InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-1": "ordinal 2: it is changed now"}},
		"no container restarts": {mode: orRecreate, age: time.Hour, setup: func(_ *resize.Input, p *v1.Pod) {
			p.Spec.Containers[0].ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: v1.ResourceMemory, RestartPolicy: v1.RestartContainer}}
		}, want: []string{"db-2 Patches InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"}},
		"a resize that is refused": {mode: orRecreate, age: time.Second, setup: func(in *resize.Input, p *v1.Pod) {
			in.Refused = []resize.Refused{{Pod: p.UID, Kind: resize.Patch, Message: "exceeded quota"}}
		}, want: []string{"db-2 Evicts Recreate", "db-1 Waits InPlace", "db-0 Waits InPlace"}},
		"by re-creation only": {mode: recreate, age: time.Second, want: []string{"db-2 Evicts Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"}},
		"not without the admission policy": {mode: recreate, age: time.Hour, ans: func(resize.Question) resize.Answer { return resize.Answer{} },
			want:  []string{"db-2 Waits Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"},
			waits: map[string]string{"db-2": "not installed: nothing is evicted"}},
		"two budgets do not hold it": {mode: recreate, age: time.Hour, setup: func(in *resize.Input, p *v1.Pod) {
			in.Budgets = []resize.Budget{budget("x", 0, 2, p), budget("y", 0, 2, p)}
		}, want: []string{"db-2 Evicts Recreate", "db-1 Waits Recreate", "db-0 Waits Recreate"}},
		"one that starts is waited for": {mode: orRecreate, node: "node-a", age: time.Minute,
			want:  []string{"db-2 Waits InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"},
			waits: map[string]string{"db-2": "it has not started", "db-1": "ordinal 2: it is not ready"}},
		"not for ever": {mode: orRecreate, node: "node-a", age: time.Hour, ans: yes,
			want: []string{"db-2 Waits InPlace", "db-1 Patches InPlace", "db-0 Waits InPlace"}},
	} {
		t.Run(name, func(t *testing.T) {
			all := pods(3, list("8", "64Gi"), nil)
			pend(all[2], tc.node, tc.age)
			in := resize.Input{Targets: []resize.Target{set(tc.mode, advice("1", "4Gi"), all...)}}
			if tc.setup != nil {
				tc.setup(&in, all[2])
			}
			if tc.ans == nil {
				tc.ans = nowhere
			}
			out := answered(t, in, tc.ans)
			expect(t, out, tc.want, tc.waits)
		})
	}
}

// The API server takes what is written to a pod without a node, and the scheduler looks at the pod again for it.
func TestPendingUpstream(t *testing.T) {
	p := pod("db", 0, list("8", "64Gi"), nil)
	pend(p, "", time.Hour)
	out := answered(t, resize.Input{Targets: []resize.Target{set(inPlace, advice("1", "4Gi"), p)}}, yes)
	if len(out.Actions) != 1 || out.Actions[0].Kind != resize.Patch {
		t.Fatalf("no patch: %v", summary(out))
	}
	become := p.DeepCopy()
	write(become, out.Actions[0].Sizes)
	become.Generation = p.Generation
	if errs := validate(t, p, become); len(errs) > 0 {
		t.Errorf("the API server refuses it: %v", errs)
	}
	looks := false
	for _, event := range framework.PodSchedulingPropertiesChange(become, p) {
		looks = looks || event.ActionType&fwk.UpdatePodScaleDown != 0
	}
	if !looks {
		t.Error("the scheduler sees no pod that shrinks")
	}
}
