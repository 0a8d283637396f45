// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func unbound(p *v1.Pod) *v1.Pod {
	p.Spec.NodeName, p.Status.Phase = "", v1.PodPending
	return p
}

func isReady(p *v1.Pod) *v1.Pod {
	p.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue}}
	return p
}

// Slots above one that cannot become ready are not foreseen.
func TestOrder(t *testing.T) {
	gated := unbound(pod("db-1", "rev-2"))
	gated.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "approval"}}
	parallel := set("db")
	parallel.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	noRoom := map[types.NamespacedName]string{{Namespace: "prod", Name: "db-1"}: "no group has room for it"}
	for name, tc := range map[string]struct {
		set      *appsv1.StatefulSet
		pods     []*v1.Pod
		unhelped map[types.NamespacedName]string
		want     []string
		held     string
	}{
		"one waits for a node":               {pods: []*v1.Pod{unbound(pod("db-1", "rev-2"))}, want: []string{"db-0", "db-2", "db-3"}},
		"one that nobody can help":           {pods: []*v1.Pod{unbound(pod("db-1", "rev-2"))}, unhelped: noRoom, want: []string{"db-0"}, held: "db-1 must be ready first and cannot be: no group has room for it"},
		"a future one that nobody can help":  {unhelped: noRoom, want: []string{"db-0", "db-1"}, held: "db-1 must be ready first and cannot be: no group has room for it"},
		"one that found a node all the same": {pods: []*v1.Pod{pod("db-1", "rev-2")}, unhelped: noRoom, want: []string{"db-0", "db-2", "db-3"}},
		"one behind a gate":                  {pods: []*v1.Pod{gated}, want: []string{"db-0"}, held: "db-1 must be ready first and cannot be: it waits for the scheduling gate approval"},
		"none waits for another":             {set: parallel, pods: []*v1.Pod{unbound(pod("db-1", "rev-2"))}, unhelped: noRoom, want: []string{"db-0", "db-2", "db-3"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := tc.set
			if s == nil {
				s = set("db")
			}
			in := on(OfSet(s, 4, tc.pods, nil))
			in.Unhelped = tc.unhelped
			d := Decide(in)
			if diff := cmp.Diff(tc.want, names(d.Pods)); diff != "" {
				t.Errorf("pods (-want +got):\n%s", diff)
			}
			if len(d.Held) > 0 != (tc.held != "") || tc.held != "" && d.Held[0].Reason != tc.held {
				t.Errorf("held %+v, want %q", d.Held, tc.held)
			}
		})
	}
}

// Pods are foreseen as long as something happens, and then for ten minutes.
func TestTimeout(t *testing.T) {
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web"}}
	edited := set("db")
	edited.Generation++
	type step struct {
		after    time.Duration
		workload Workload
		pods     int
	}
	three := []*v1.Pod{isReady(pod("db-0", "rev-2")), isReady(pod("db-1", "rev-2")), isReady(pod("db-2", "rev-2"))}
	of := func(n int, pods ...*v1.Pod) Workload { return OfSet(set("db"), n, pods, nil) }
	for name, steps := range map[string][]step{
		"nobody makes them": {{0, of(5, three...), 2}, {9 * time.Minute, of(5, three...), 2}, {time.Minute, of(5, three...), 0}, {time.Hour, of(5, three...), 0}},
		"nor a Deployment's": {
			{0, OfDeployment(deployment, nil, 2, nil), 2}, {10 * time.Minute, OfDeployment(deployment, nil, 2, nil), 0},
		},
		"another number": {{0, of(5, three...), 2}, {10 * time.Minute, of(5, three...), 0}, {time.Second, of(6, three...), 3}, {10 * time.Minute, of(6, three...), 0}},
		"another spec":   {{0, of(5, three...), 2}, {10 * time.Minute, of(5, three...), 0}, {time.Second, OfSet(edited, 5, three, nil), 2}},
		"one after the other": {
			{0, of(5, three[:2]...), 3}, {9 * time.Minute, of(5, append(three[:2:2], pod("db-2", "rev-2"))...), 2},
			{9 * time.Minute, of(5, three...), 2}, {9 * time.Minute, of(5, three...), 2}, {time.Minute, of(5, three...), 0},
		},
		"one waits for its node": {
			{0, of(5, append(three[:2:2], unbound(pod("db-2", "rev-2")))...), 2}, {time.Hour, of(5, append(three[:2:2], unbound(pod("db-2", "rev-2")))...), 2},
			{time.Minute, of(5, append(three[:2:2], pod("db-2", "rev-2"))...), 2},
			{10 * time.Minute, of(5, append(three[:2:2], pod("db-2", "rev-2"))...), 0}, // it does not become ready
			{time.Minute, of(5, three...), 2},
		},
		"they came and went": {{0, of(5, three...), 2}, {9 * time.Minute, of(3, three...), 0}, {9 * time.Minute, of(5, three...), 2}, {9 * time.Minute, of(5, three...), 2}},
	} {
		t.Run(name, func(t *testing.T) {
			now, history := time.Unix(0, 0), History{}
			for i, s := range steps {
				now = now.Add(s.after)
				in := on(s.workload)
				in.Now, in.Timeout, in.History = now, 10*time.Minute, history
				d := Decide(in)
				history = d.History
				if len(d.Pods) != s.pods {
					t.Fatalf("step %d: %v, want %d (held %+v)", i, names(d.Pods), s.pods, d.Held)
				}
				if s.pods == 0 && len(d.Held) > 0 && d.Held[0].Reason != "they have not come within 10m0s, though no node is in their way" {
					t.Errorf("step %d: held %+v", i, d.Held)
				}
			}
		})
	}
}

// What is held for another reason does not use up its time.
func TestTheTimeOfHeldPodsDoesNotRun(t *testing.T) {
	w := OfSet(set("db"), 2, nil, nil)
	w.Refused = "a quota is used up"
	in := on(w)
	in.Timeout = time.Minute
	d := Decide(in)
	if diff := cmp.Diff(map[Key]Wait{}, d.History.Waits, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
	in = on(OfSet(set("db"), 2, nil, nil))
	in.Now, in.Timeout, in.History = in.Now.Add(time.Hour), time.Minute, d.History
	if d := Decide(in); len(d.Pods) != 2 {
		t.Errorf("pods %v, want both", names(d.Pods))
	}
	in.History = Decide(in).History
	in.Now, in.Timeout = in.Now.Add(time.Hour), 0
	if d := Decide(in); len(d.Pods) != 2 {
		t.Errorf("pods %v without a timeout, want both", names(d.Pods))
	}
}
