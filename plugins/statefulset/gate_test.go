// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ordered(ready bool) func(*Policy) {
	return func(p *Policy) { p.Start = Start{Ordered: true, UntilReady: ready} }
}

// start asks for slots of db in order and writes who must wait, and for whom.
func start(t *testing.T, p *Planner, ordinals ...int) map[int]int {
	t.Helper()
	waits := map[int]int{}
	for _, ordinal := range ordinals {
		if gate := p.Start(dbSlot(ordinal), pod(dbSlot(ordinal), "")); gate.Closed {
			waits[ordinal] = gate.For
		}
	}
	return waits
}

// run binds the pod of a slot, and makes it ready if asked to.
func (w *world) run(slot Slot, node string, ready bool) *corev1.Pod {
	running := pod(slot, node)
	if ready {
		running.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	w.pods[slot.PodName()] = running
	return running
}

func TestGateOpensInOrder(t *testing.T) {
	w, p := newWorld(4)
	w.policy = byZone(ordered(false))
	if got := start(t, p, 3, 1, 0, 2); len(got) != 3 || got[1] != 0 || got[3] != 0 {
		t.Fatalf("waiting: %v, want 1, 2 and 3, all for 0", got)
	}
	w.run(dbSlot(0), "a1", false)
	if got := names(p.PodBound(dbSlot(0), "db-0", "a1")); got != "db-1 db-2" {
		t.Errorf("woken when db-0 was bound: %q, want db-1, and db-2 to be told for whom it waits now", got)
	}
	if got := start(t, p, 1, 2); len(got) != 1 || got[2] != 1 {
		t.Errorf("waiting: %v, want 2 for 1", got)
	}
	w.run(dbSlot(1), "b1", false)
	if got := names(p.PodBound(dbSlot(1), "db-1", "a1")); got != "db-2 db-3" {
		t.Errorf("woken when db-1 was bound: %q, want db-2 db-3", got)
	}
}

func TestGateWaitsForReady(t *testing.T) {
	w, p := newWorld(2)
	w.policy = byZone(ordered(true))
	start(t, p, 0, 1)
	w.run(dbSlot(0), "a1", false)
	if got := names(p.PodBound(dbSlot(0), "db-0", "a1")); got != "" {
		t.Errorf("woken though db-0 is not ready: %q", got)
	}
	w.run(dbSlot(0), "a1", true)
	if got := names(p.SlotChanged(dbSlot(0))); got != "db-1" {
		t.Errorf("woken when db-0 was ready: %q, want db-1", got)
	}
}

func TestGateIsPerShard(t *testing.T) {
	_, p := newWorld(6)
	p.source.(*world).policy = byZone(ordered(false), func(p *Policy) { p.Spread.ShardSize = 2 })
	if got := start(t, p, 0, 1, 2, 3, 4, 5); len(got) != 3 || got[1] != 0 || got[3] != 2 || got[5] != 4 {
		t.Errorf("waiting: %v, want the second of each shard for its first", got)
	}
}

// A slot that was bound before is let in, whatever the others do.
func TestGateNeverKeepsOutWhoReturns(t *testing.T) {
	claimed := func(change func(*corev1.PersistentVolumeClaim)) func(*world, *Planner) {
		return func(w *world, _ *Planner) {
			w.bind("data-db-2", zone, "c")
			change(w.claims["data-db-2"])
		}
	}
	late := "late"
	tests := map[string]struct {
		before func(*world, *Planner)
		kept   bool
	}{
		"never bound": {func(*world, *Planner) {}, true},
		"seen bound": {func(w *world, p *Planner) {
			w.run(dbSlot(2), "c1", true)
			p.PodBound(dbSlot(2), "db-2", "a1")
			delete(w.pods, "db-2")
			p.PodGone(dbSlot(2), "db-2")
		}, false},
		"seen bound, then scaled away and back": {func(w *world, p *Planner) {
			w.run(dbSlot(2), "c1", true)
			p.PodBound(dbSlot(2), "db-2", "a1")
			delete(w.pods, "db-2")
			p.PodGone(dbSlot(2), "db-2")
			w.set(db, 2, "data")
			p.SetChanged(db)
			w.set(db, 3, "data")
			p.SetChanged(db)
		}, true},
		"its volume was made for a node": {claimed(func(c *corev1.PersistentVolumeClaim) {
			c.Annotations = map[string]string{SelectedNode: "c1"}
		}), false},
		"its volume was bound by the scheduler": {claimed(func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = &late }), false},
		"its volume was bound at once":          {claimed(func(*corev1.PersistentVolumeClaim) {}), true},
		"its claim goes": {claimed(func(c *corev1.PersistentVolumeClaim) {
			now := metav1.Now()
			c.Spec.StorageClassName, c.DeletionTimestamp = &late, &now
		}), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, p := newWorld(3)
			w.policy = byZone(ordered(true))
			tt.before(w, p)
			if _, kept := start(t, p, 2)[2]; kept != tt.kept {
				t.Errorf("kept out: %t, want %t", kept, tt.kept)
			}
		})
	}
}

// No gate is left behind by a policy or an ordinal that goes.
func TestGateGoesWithItsCause(t *testing.T) {
	everything := func(SetKey) bool { return true }
	tests := map[string]func(*world, *Planner) []*corev1.Pod{
		"the policy goes": func(w *world, p *Planner) []*corev1.Pod {
			w.policy = nil
			return p.PolicyChanged(everything)
		},
		"the policy is Parallel now": func(w *world, p *Planner) []*corev1.Pod {
			w.policy = byZone()
			return p.PolicyChanged(everything)
		},
		"the set begins above what it waited for": func(w *world, p *Planner) []*corev1.Pod {
			w.start(db, 2)
			return p.SetChanged(db)
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			w, p := newWorld(3)
			w.policy = byZone(ordered(true))
			start(t, p, 2)
			if got := names(change(w, p)); got != "db-2" {
				t.Errorf("woken: %q, want db-2", got)
			}
			if len(p.records[db].gated) != 0 {
				t.Errorf("still at the gate: %v", p.records[db].gated)
			}
		})
	}
	t.Run("the pod goes", func(t *testing.T) {
		w, p := newWorld(3)
		w.policy = byZone(ordered(true))
		start(t, p, 2)
		p.PodGone(dbSlot(2), "db-2")
		if len(p.records[db].gated) != 0 {
			t.Errorf("still at the gate: %v", p.records[db].gated)
		}
	})
}

// While the policies are not known, the order is not either: Place refuses.
func TestGateOpensWhileNothingIsKnown(t *testing.T) {
	w, p := newWorld(2)
	w.policy = byZone(ordered(false))
	start(t, p, 1)
	w.unread = errors.New("not read yet")
	if got := names(p.PolicyChanged(func(SetKey) bool { return true })); got != "db-1" {
		t.Errorf("woken: %q, want db-1", got)
	}
	if got := start(t, p, 1); len(got) != 0 {
		t.Errorf("waiting: %v, want nobody", got)
	}
}

// Ordinals of a set that a policy selects have gaps: only those that exist count.
func TestGateOfSelectedSet(t *testing.T) {
	w, p := newWorld(0)
	w.policy = byZone(ordered(false))
	key := SetKey{Namespace: "prod", Name: "pg", Selected: true}
	w.members = map[int]member{3: {pod: "pg-x"}, 7: {pod: "pg-y"}}
	waits := pod(Slot{Set: key, Ordinal: 7}, "")
	waits.Name = "pg-y"
	if gate := p.Start(Slot{Set: key, Ordinal: 7}, waits); !gate.Closed || gate.For != 3 {
		t.Fatalf("got %v, want to wait for 3", gate)
	}
	delete(w.members, 3) // deleted for good
	if got := names(p.PodGone(Slot{Set: key, Ordinal: 3}, "pg-x")); got != "pg-y" {
		t.Errorf("woken: %q, want pg-y", got)
	}
}

// The next in line comes to the gate again when it waits for another one, so
// that people are told for whom.
func TestGateTellsTheNextInLineAnew(t *testing.T) {
	w, p := newWorld(4)
	w.policy = byZone(ordered(true))
	start(t, p, 0, 1, 2, 3)
	w.run(dbSlot(0), "a1", true)
	if got := names(p.PodBound(dbSlot(0), "db-0", "a1")); got != "db-1 db-2" { // db-1 starts, db-2 waits for db-1 now
		t.Errorf("woken when db-0 was ready: %q, want db-1 db-2", got)
	}
	if got := start(t, p, 1, 2); len(got) != 1 || got[2] != 1 {
		t.Errorf("waiting: %v, want 2 for 1", got)
	}
	if got := names(p.SlotChanged(dbSlot(0))); got != "" {
		t.Errorf("woken again though nothing changed: %q", got)
	}
}

// A set that a policy selects ends with the policy, and leaves nothing behind.
func TestSelectedSetEndsWithItsPolicy(t *testing.T) {
	w, p := newWorld(0)
	w.policy = byZone(ordered(false))
	key := SetKey{Namespace: "prod", Name: "pg", Selected: true}
	first, second := Slot{Set: key, Ordinal: 1}, Slot{Set: key, Ordinal: 2}
	w.members = map[int]member{1: {pod: "pg-1"}, 2: {pod: "pg-2"}}
	if _, err := p.Place(first, pod(first, "")); err != nil {
		t.Fatal(err)
	}
	p.PodBound(second, "another", "n")
	p.Start(second, pod(second, ""))
	w.policy, w.members = nil, nil
	if got := names(p.PolicyChanged(func(SetKey) bool { return true })); got != "pg-1" {
		t.Errorf("woken: %q, want pg-1, who waited", got)
	}
	if len(p.records)+len(p.bound) != 0 {
		t.Errorf("left behind: %v, %v", p.records, p.bound)
	}
}
