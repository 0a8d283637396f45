// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A policy that finds the ordinals of a selected set elsewhere makes other
// slots of the same numbers.
func TestSelectedSetIsReadAgainForAnotherPolicy(t *testing.T) {
	w, p := newWorld(0)
	key := SetKey{Namespace: "prod", Name: "pg", Selected: true}
	asker := pod(Slot{Set: key, Ordinal: 2}, "")
	asker.OwnerReferences = nil
	ask := func() string {
		answer, err := p.Place(Slot{Set: key, Ordinal: 2}, asker)
		if err != nil {
			t.Fatal(err)
		}
		return answer.Domain
	}
	w.members = map[int]member{1: {claims: []string{"x"}}, 2: {}}
	w.bind("x", zone, "a")
	w.bind("y", zone, "b")
	if got := ask(); got != "b" {
		t.Fatalf("beside a volume in a: %q, want b", got)
	}
	w.members[1] = member{claims: []string{"y"}}
	w.policy = byZone()
	if got := names(p.PolicyChanged(func(SetKey) bool { return true })); got != asker.Name {
		t.Errorf("woken: %q, want %s", got, asker.Name)
	}
	if got := ask(); got != "a" {
		t.Errorf("beside a volume in b: %q, want a", got)
	}
}

// A set that nobody waits in keeps at most one note for each slot.
func TestNotesDoNotPileUp(t *testing.T) {
	w, p := newWorld(3)
	for i := range 3 {
		w.bind(fmt.Sprintf("data-db-%d", i), host, "host-a1")
	}
	places(t, p, 0)
	p.PodGone(dbSlot(0), "db-0")
	for i := range 100 {
		changed := w.nodes["b1"].DeepCopy()
		changed.Labels["round"] = fmt.Sprint(i)
		w.nodes["b1"] = changed
		p.NodeChanged("b1")
		p.SlotChanged(dbSlot(1))
	}
	if got := len(p.records[db].stale); got > 3 {
		t.Errorf("%d notes for 3 slots", got)
	}
}

// Pods of one set may differ in what they may use, as in a rolling update: each
// is woken by the nodes that are for it.
func TestNodesWakeEachKindOfPod(t *testing.T) {
	w, p := newWorld(2)
	w.nodes = map[string]*corev1.Node{}
	for i, only := range []string{"a", "b"} {
		asker := pod(dbSlot(i), "")
		asker.Spec.NodeSelector = map[string]string{zone: only}
		if answer, err := p.Place(dbSlot(i), asker); err != nil || answer.Domain != "" {
			t.Fatalf("db-%d: %v, %v, want no domain", i, answer, err)
		}
	}
	w.node("a1", "a")
	if got := names(p.NodeChanged("a1")); got != "db-0" {
		t.Errorf("woken by a node in a: %q, want db-0", got)
	}
}

// A node that never gets ready does not bring a lost domain back.
func TestLostDomainReturnsWithAReadyNodeOnly(t *testing.T) {
	w, p := newWorld(3)
	w.policy = byZone(losable())
	for _, node := range []string{"a1", "b1", "c1"} {
		w.readiness(node, node != "c1")
	}
	w.now = w.now.Add(time.Hour)
	if got := places(t, p, 0, 1, 2); got != "a b a" {
		t.Fatalf("places %q, want a b a", got)
	}
	w.node("c2", "c")
	w.readiness("c2", false)
	if got := names(p.NodeChanged("c2")); got != "" {
		t.Errorf("woken by a node that is not ready: %q", got)
	}
	delete(w.nodes, "c1")
	if got := names(p.NodeChanged("c1")); got != "" {
		t.Errorf("woken by the end of a node that was not ready: %q", got)
	}
	w.readiness("c2", true)
	if got := names(p.NodeChanged("c2")); got != "db-2" {
		t.Errorf("woken by the first ready node: %q, want db-2", got)
	}
}

// The clock of a domain begins when its last ready node goes, whether somebody
// asks then or not.
func TestClockOfADomainStartsAnew(t *testing.T) {
	w, p := newWorld(3)
	w.policy = byZone(losable("a", "b", "c"))
	for _, node := range []string{"a1", "b1"} {
		w.readiness(node, true)
	}
	delete(w.nodes, "c1")
	places(t, p, 2) // c is seen empty
	w.node("c1", "c")
	w.readiness("c1", true)
	p.NodeChanged("c1")
	w.now = w.now.Add(24 * time.Hour)
	delete(w.nodes, "c1")
	p.NodeChanged("c1")
	if got := places(t, p, 2); got != "c" {
		t.Errorf("places %q, want c: it is empty for no time", got)
	}
	w.now = w.now.Add(5 * time.Minute)
	if got := names(p.Expired()); got != "db-2" {
		t.Errorf("woken: %q, want db-2", got)
	}
}

// A volume of two zones is looked up by its zones, not node by node.
func BenchmarkReachOfRegionalVolumes(b *testing.B) {
	w, p := newWorld(1000)
	for i := range 5000 {
		w.node(fmt.Sprintf("n%d", i), string(rune('a'+i%3)))
	}
	for i := range 1000 {
		w.bind(fmt.Sprintf("data-db-%d", i), zone, "a", "b")
	}
	asker := pod(dbSlot(0), "")
	for i := 0; b.Loop(); i++ {
		changed := w.nodes["c1"].DeepCopy()
		changed.Labels["round"] = fmt.Sprint(i)
		w.nodes["c1"] = changed
		p.NodeChanged("c1")
		if _, err := p.Place(dbSlot(0), asker); err != nil {
			b.Fatal(err)
		}
	}
}

// One slot of many changes while all of them wait.
func BenchmarkSlotChangedAmongWaiting(b *testing.B) {
	w, p := newWorld(1000)
	for i := range 1000 {
		if _, err := p.Place(dbSlot(i), pod(dbSlot(i), "")); err != nil {
			b.Fatal(err)
		}
	}
	w.run(dbSlot(0), "a1", true)
	p.PodBound(dbSlot(0), "db-0", "a1")
	for b.Loop() {
		p.SlotChanged(dbSlot(0))
	}
}

// The ordinals of a selected set come and go without a set that says so: one
// that had no place yet changes those of others, too.
func TestMembersThatComeAndGoWake(t *testing.T) {
	w, p := newWorld(0)
	key := SetKey{Namespace: "prod", Name: "pg", Selected: true}
	slot := func(ordinal int) Slot { return Slot{Set: key, Ordinal: ordinal} }
	w.members = map[int]member{1: {pod: "pg-1"}, 2: {pod: "pg-2"}}
	if answer, err := p.Place(slot(2), pod(slot(2), "")); err != nil || answer.Domain != "b" {
		t.Fatalf("ordinal 2: %v, %v, want b", answer, err)
	}
	delete(w.members, 1)
	if got := names(p.PodGone(slot(1), "pg-1")); got != "pg-2" {
		t.Errorf("woken by the end of ordinal 1, which waited too: %q, want pg-2", got)
	}
	w.members[0] = member{pod: "pg-0"}
	if got := names(p.SlotChanged(slot(0))); got != "pg-2" {
		t.Errorf("woken by a new ordinal 0: %q, want pg-2", got)
	}
}
