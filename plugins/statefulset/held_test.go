// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// separate wants a node for each slot.
func separate(w *world) {
	w.policy = &Policy{SeparateNodes: NeedOwnNode}
}

// held asks who holds each node against a slot.
func held(t *testing.T, p *Planner, ordinal int, nodes ...string) map[string]int {
	t.Helper()
	answer, err := p.Place(dbSlot(ordinal), pod(dbSlot(ordinal), ""))
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]int{}
	for _, node := range nodes {
		if ordinal, is := answer.Held(node); is {
			by[node] = ordinal
		}
	}
	return by
}

func TestVolumesOfAbsentSlotsHoldTheirNodes(t *testing.T) {
	w, p := newWorld(4)
	separate(w)
	w.node("a2", "a")
	w.bind("data-db-1", host, "host-a1")
	w.bind("data-db-2", zone, "b") // one node reaches it: b1
	w.bind("data-db-3", zone, "a") // two nodes reach it
	all := []string{"a1", "a2", "b1", "c1"}
	if got := held(t, p, 0, all...); len(got) != 2 || got["a1"] != 1 || got["b1"] != 2 {
		t.Errorf("held against db-0: %v, want a1 by 1 and b1 by 2", got)
	}
	if got := held(t, p, 1, all...); len(got) != 1 || got["b1"] != 2 {
		t.Errorf("held against db-1, whose own volume is on a1: %v, want b1 by 2", got)
	}
	w.policy = &Policy{}
	if got := held(t, p, 0, all...); len(got) != 0 {
		t.Errorf("where slots may share nodes, %v are held", got)
	}
}

// Two slots whose volumes are on one node give way to nobody who is not there:
// each would wait for the other.
func TestVolumesOnOneNodeDoNotBlockEachOther(t *testing.T) {
	w, p := newWorld(3)
	separate(w)
	w.bind("data-db-0", host, "host-a1")
	w.bind("data-db-1", host, "host-a1")
	for _, ordinal := range []int{0, 1} {
		if got := held(t, p, ordinal, "a1"); len(got) != 0 {
			t.Errorf("against db-%d %v is held", ordinal, got)
		}
	}
	if got := held(t, p, 2, "a1"); len(got) != 1 {
		t.Errorf("against db-2 nothing is held")
	}
}

// Who waits for a node is woken when it is free, and not when another is taken.
func TestFreedNodesWake(t *testing.T) {
	for name, spread := range map[string]*Spread{"with a plan": byZone().Spread, "without": nil} {
		t.Run(name, func(t *testing.T) {
			w, p := newWorld(4)
			w.policy = &Policy{SeparateNodes: NeedOwnNode, Spread: spread}
			w.bind("data-db-1", host, "host-b1")
			held(t, p, 0)
			w.bind("data-db-2", host, "host-c1")
			if got := names(p.SlotChanged(dbSlot(2))); got != "" {
				t.Errorf("c1 was taken, and %s is woken", got)
			}
			delete(w.claims, "data-db-1")
			if got := names(p.SlotChanged(dbSlot(1))); got != "db-0" {
				t.Errorf("b1 is free, and %q is woken, want db-0", got)
			}
			if got := held(t, p, 0, "b1", "c1"); len(got) != 1 || got["c1"] != 2 {
				t.Errorf("held: %v, want c1 by 2", got)
			}
		})
	}
}

// Nodes that come and go change who is alone where.
func TestHeldFollowsNodes(t *testing.T) {
	w, p := newWorld(3)
	separate(w)
	w.bind("data-db-1", zone, "b")
	if got := held(t, p, 0, "b1"); got["b1"] != 1 {
		t.Fatalf("held: %v, want b1 by 1", got)
	}
	w.node("b2", "b")
	if got := names(p.NodeChanged("b2")); got != "db-0" {
		t.Errorf("db-1 has another node, and %q is woken, want db-0", got)
	}
	if got := held(t, p, 0, "b1", "b2"); len(got) != 0 {
		t.Errorf("held: %v, want nothing", got)
	}
	delete(w.nodes, "b1")
	p.NodeChanged("b1")
	if got := held(t, p, 0, "b1", "b2"); got["b2"] != 1 {
		t.Errorf("held: %v, want b2 by 1", got)
	}
}

// A slot that the set does not want holds nothing.
func TestUnwantedSlotsHoldNothing(t *testing.T) {
	w, p := newWorld(3)
	separate(w)
	w.bind("data-db-2", host, "host-c1")
	if got := held(t, p, 0, "c1"); got["c1"] != 2 {
		t.Fatalf("held: %v, want c1 by 2", got)
	}
	w.set(db, 2, "data")
	if got := names(p.SetChanged(db)); got != "db-0" {
		t.Errorf("the set gave db-2 up, and %q is woken, want db-0", got)
	}
	if got := held(t, p, 0, "c1"); len(got) != 0 {
		t.Errorf("held: %v, want nothing", got)
	}
}

// A volume without terms of In is looked for on all nodes.
func TestHeldByAnyOperator(t *testing.T) {
	w, p := newWorld(2)
	separate(w)
	w.bind("data-db-1", host, "host-c1")
	terms := w.volumes["pv-data-db-1"].Spec.NodeAffinity.Required.NodeSelectorTerms
	w.volumes["pv-data-db-1"].Spec.NodeAffinity.Required.NodeSelectorTerms = append(terms, corev1.NodeSelectorTerm{})
	if got := held(t, p, 0, "c1"); got["c1"] != 1 {
		t.Errorf("held: %v, want c1 by 1", got)
	}
}
