// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

// fakeMachine is a Machine of the name; traits are born, ready, failed, marked, foreign (a mark of a person) and deleting.
func fakeMachine(name string, traits ...string) machine {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}, "status": map[string]any{}}}
	u.SetName(name)
	u.SetUID(types.UID(name))
	set := func(value any, path ...string) {
		if err := unstructured.SetNestedField(u.Object, value, path...); err != nil {
			panic(err)
		}
	}
	for _, trait := range traits {
		switch trait {
		case "born":
			set("toy://"+name, "spec", "providerID")
		case "ready":
			set("toy://"+name, "spec", "providerID")
			set(name, "status", "nodeRef", "name")
		case "failed":
			set("Failed", "status", "phase")
		case "marked":
			u.SetAnnotations(map[string]string{deleteAnnotation: markValue})
		case "foreign":
			u.SetAnnotations(map[string]string{deleteAnnotation: "2026-01-01"})
		case "deleting":
			u.SetDeletionTimestamp(&metav1.Time{})
			set("2026-01-01T00:00:00Z", "metadata", "deletionTimestamp")
		default:
			panic(trait)
		}
	}
	return machine{u}
}

func fakeNow(replicas int, machines ...machine) *now {
	n := &now{group: "g", object: &unstructured.Unstructured{Object: map[string]any{"kind": setKind}}, replicas: replicas, high: 10}
	for _, m := range machines {
		if !m.deleting() {
			n.machines = append(n.machines, m)
		}
	}
	return n
}

func names(machines []machine) string {
	s := ""
	for _, m := range machines {
		s += m.GetName()
	}
	return s
}

func TestPlans(t *testing.T) {
	a, b, c := fakeMachine("a", "ready"), fakeMachine("b", "ready"), fakeMachine("c", "ready")
	unborn, failed, born := fakeMachine("u"), fakeMachine("f", "failed"), fakeMachine("v", "born")
	marked, foreign := fakeMachine("m", "ready", "marked"), fakeMachine("x", "ready", "foreign")
	remove := func(uids ...types.UID) func(*now) (plan, error) {
		return func(n *now) (plan, error) {
			chosen := map[types.UID]bool{}
			for _, uid := range uids {
				chosen[uid] = true
			}
			return n.remove(chosen)
		}
	}
	forgo := func(by int) func(*now) (plan, error) { return func(n *now) (plan, error) { return n.forgo(by) } }
	grow := func(by int) func(*now) (plan, error) { return func(n *now) (plan, error) { return n.grow(by) } }
	rolling := fakeNow(2, a, b)
	rolling.rolling = true
	pool := fakeNow(4, a)
	pool.object.SetKind(poolKind)
	pool.object.Object["spec"] = map[string]any{"providerIDList": []any{"1", "2", "3"}}
	cases := map[string]struct {
		now     *now
		decide  func(*now) (plan, error)
		want    string // replicas, +marked, ~marked before, -mark taken off
		refused any
	}{
		"grow":                                        {now: fakeNow(3, a), decide: grow(7), want: "10"},
		"grow beyond the maximum":                     {now: fakeNow(3, a), decide: grow(8), refused: new(*cloud.AtMaximumError)},
		"grow while a marked Machine is to go":        {now: fakeNow(1, a, marked), decide: grow(1), refused: new(*UnsettledError)},
		"grow with an idle mark":                      {now: fakeNow(2, a, foreign), decide: grow(1), want: "3"},
		"grow in a rollout":                           {now: rolling, decide: grow(1), want: "3"},
		"remove":                                      {now: fakeNow(3, a, b, c), decide: remove("b", "c"), want: "1 +bc"},
		"remove what is gone":                         {now: fakeNow(2, a, b), decide: remove("c"), want: "2"},
		"remove what is about to go":                  {now: fakeNow(1, a, marked), decide: remove("m"), want: "1"},
		"remove another beside it":                    {now: fakeNow(2, a, b, marked), decide: remove("m", "a"), want: "1 +a"},
		"remove what was marked in vain":              {now: fakeNow(2, a, marked), decide: remove("m"), want: "1 ~m"},
		"remove another than what was marked in vain": {now: fakeNow(2, a, marked), decide: remove("a"), want: "1 +a -m"},
		"remove where a person marked another":        {now: fakeNow(2, a, foreign), decide: remove("a"), refused: new(*UnsettledError)},
		"remove what a person marked":                 {now: fakeNow(2, a, foreign), decide: remove("x"), want: "1 ~x"},
		"remove while somebody shrinks the group":     {now: fakeNow(1, a, b), decide: remove("a"), refused: new(*UnsettledError)},
		"remove while Machines are still to be made":  {now: fakeNow(3, a, b), decide: remove("a"), refused: new(*UnsettledError)},
		"remove in a rollout":                         {now: rolling, decide: remove("a"), refused: new(*UnsettledError)},
		"remove what is gone in a rollout":            {now: rolling, decide: remove("c"), want: "2"},
		"forgo what is unmade":                        {now: fakeNow(3, a), decide: forgo(2), want: "1"},
		"forgo more than is awaited":                  {now: fakeNow(3, a, unborn, born), decide: forgo(2), refused: new(*cloud.NothingToForgoError)},
		"forgo the unmade before the unborn":          {now: fakeNow(3, a, unborn), decide: forgo(1), want: "2"},
		"forgo both":                                  {now: fakeNow(3, a, unborn), decide: forgo(2), want: "1 +u"},
		"forgo what has failed first":                 {now: fakeNow(3, a, unborn, failed), decide: forgo(1), want: "2 +f"},
		"forgo beside what is about to go":            {now: fakeNow(2, a, unborn, marked), decide: forgo(1), want: "1 +u"},
		"forgo in a rollout":                          {now: rolling, decide: forgo(1), refused: new(*UnsettledError)},
		"forgo what a pool has as no Machine yet":     {now: pool, decide: forgo(2), refused: new(*cloud.NothingToForgoError)},
		"forgo what a pool has not":                   {now: pool, decide: forgo(1), want: "3"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p, err := c.decide(c.now)
			if c.refused != nil {
				if !errors.As(err, c.refused) {
					t.Errorf("%+v, %v; want a %T", p, err, c.refused)
				}
				return
			}
			got := fmt.Sprint(p.replicas)
			for sign, machines := range map[string][]machine{"+": p.mark, "~": p.marked} {
				if len(machines) > 0 {
					got += " " + sign + names(machines)
				}
			}
			if len(p.unmark) > 0 {
				got += " -" + names(p.unmark)
			}
			if err != nil || got != c.want {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
}

// TestPlansTakeTheRightMachines: whatever a group is like, once Cluster API has
// carried a plan out, what was meant is gone, and nothing else.
func TestPlansTakeTheRightMachines(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	carriedOut := 0
	for range 20000 {
		var machines []machine
		for i := range r.IntN(6) {
			traits := [][]string{{"ready"}, {"ready"}, {"born"}, {}, {"failed"}, {"ready", "deleting"}}[r.IntN(6)]
			if r.IntN(4) == 0 {
				traits = append(slices.Clone(traits), []string{"marked", "marked", "foreign"}[r.IntN(3)])
			}
			machines = append(machines, fakeMachine(string(rune('a'+i)), traits...))
		}
		n := fakeNow(r.IntN(7), machines...)
		leaving, _, _ := n.marks()
		meant := map[types.UID]bool{}
		for _, m := range machines {
			if _, goes := leaving[m.GetUID()]; goes || m.deleting() {
				meant[m.GetUID()] = true
			}
		}
		var p plan
		var err error
		forgo := r.IntN(2) == 0
		if forgo {
			p, err = n.forgo(1 + r.IntN(3))
		} else {
			chosen := map[types.UID]bool{}
			for _, m := range n.machines {
				if r.IntN(3) == 0 {
					chosen[m.GetUID()], meant[m.GetUID()] = true, true
				}
			}
			p, err = n.remove(chosen)
		}
		if err != nil || p.replicas == n.replicas {
			continue
		}
		carriedOut++
		if forgo {
			for _, m := range p.chosen() {
				if meant[m.GetUID()] = true; !m.unborn() {
					t.Fatalf("%s was given up, and is there: %s", m.GetName(), story(n, machines))
				}
			}
		}
		for _, m := range takenByClusterAPI(machines, p) {
			if !meant[m.GetUID()] {
				t.Fatalf("%s is gone, and was not meant: plan %+v of %s", m.GetName(), p, story(n, machines))
			}
			delete(meant, m.GetUID())
		}
		for uid := range meant {
			if i := slices.IndexFunc(machines, func(m machine) bool { return m.GetUID() == uid }); !machines[i].deleting() {
				t.Fatalf("%s is still there: plan %+v of %s", uid, p, story(n, machines))
			}
		}
	}
	if carriedOut < 2000 {
		t.Errorf("only %d plans were carried out", carriedOut)
	}
}

// takenByClusterAPI plays the MachineSet controller: those being deleted go first, then those that are marked, then those without a node.
func takenByClusterAPI(machines []machine, p plan) []machine {
	has := func(list []machine, m machine) bool {
		return slices.ContainsFunc(list, func(o machine) bool { return o.GetUID() == m.GetUID() })
	}
	order := func(m machine) int {
		marked, _ := m.marked()
		switch {
		case m.deleting():
			return 0
		case (marked || has(p.mark, m)) && !has(p.unmark, m):
			return 1
		case m.node() == "":
			return 2
		}
		return 3
	}
	sorted := slices.SortedStableFunc(slices.Values(machines), func(a, b machine) int { return cmp.Compare(order(a), order(b)) })
	return sorted[:min(len(sorted), max(0, len(sorted)-p.replicas))]
}

func story(n *now, machines []machine) string {
	s := fmt.Sprintf("%d replicas of", n.replicas)
	for _, m := range machines {
		s += fmt.Sprintf(" %s(%v %v %v)", m.GetName(), m.GetAnnotations(), m.Object["spec"], m.Object["status"])
	}
	return s
}
