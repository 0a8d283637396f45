// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

// harbour is a world of a few slots and nodes in which anything may happen.
type harbour struct {
	now    time.Time
	pods   map[Slot]Aboard
	wanted map[Slot]bool
	nodes  map[string]bool // whether it is cordoned
	fixed  map[Slot]string
	next   int
}

func newHarbour() *harbour {
	h := &harbour{now: holdEpoch, pods: map[Slot]Aboard{}, wanted: map[Slot]bool{}, nodes: map[string]bool{}, fixed: map[Slot]string{}}
	for i := range 4 {
		h.wanted[dbSlot(i)], h.nodes[fmt.Sprint("n", i)] = true, false
	}
	h.fixed[dbSlot(0)], h.fixed[dbSlot(1)] = "n0", "n0"
	return h
}

func (h *harbour) see(slot Slot, was Berth) Sight {
	node := was.Node
	if pod := h.pods[slot]; pod.Node != "" {
		node = pod.Node
	}
	cordoned, there := h.nodes[node]
	return Sight{
		Now: h.now, Pod: h.pods[slot], Wanted: h.wanted[slot], NodeThere: there, NodeLeaving: cordoned,
		Fixed: there && h.fixed[slot] == node, HoldFor: time.Minute, Next: cpu("1"),
	}
}

// happen lets something happen to a slot or a node, and returns the slots that
// somebody has to look at.
func (h *harbour) happen(r *rand.Rand) []Slot {
	slot, node := dbSlot(r.Intn(4)), fmt.Sprint("n", r.Intn(4))
	switch r.Intn(7) {
	case 0:
		if only := h.fixed[slot]; only != "" {
			node = only
		}
		if _, there := h.nodes[node]; there {
			h.next++
			h.pods[slot] = Aboard{Node: node, UID: types.UID(fmt.Sprint(h.next)), Needs: cpu("1")}
		}
	case 1:
		if pod := h.pods[slot]; pod.Node != "" {
			pod.Leaving = true
			h.pods[slot] = pod
		}
	case 2:
		delete(h.pods, slot)
	case 3:
		h.wanted[slot] = !h.wanted[slot]
	case 4:
		if cordoned, there := h.nodes[node]; there {
			h.nodes[node] = !cordoned
		}
	case 5:
		if _, there := h.nodes[node]; there {
			delete(h.nodes, node)
		} else {
			h.nodes[node] = false
		}
	case 6:
		h.now = h.now.Add(time.Duration(r.Intn(90)) * time.Second)
	}
	return []Slot{dbSlot(0), dbSlot(1), dbSlot(2), dbSlot(3)}
}

func begun() *HoldLedger {
	l := NewHoldLedger()
	l.Begin(nil, nil)
	return l
}

// Nobody is told that nothing is held before all slots have been looked at.
func TestHoldsAreShownOnceAllAreKnown(t *testing.T) {
	l := NewHoldLedger()
	absent := func(Slot, Berth) Sight {
		return Sight{Now: holdEpoch, Note: &Note{Node: "n0", PodUID: "gone"}, Wanted: true, NodeThere: true, HoldFor: time.Minute}
	}
	l.Look([]Slot{dbSlot(0)}, absent)
	if begun, _ := l.Begun(); begun || len(l.On("n0")) != 0 {
		t.Errorf("one slot was looked at, and %v is shown, begun: %t", l.On("n0"), begun)
	}
	l.Begin([]Slot{dbSlot(1)}, absent)
	if begun, none := l.Begun(); !begun || none || len(l.On("n0")) != 2 {
		t.Errorf("all were looked at, and %v is shown, begun: %t, none: %t", l.On("n0"), begun, none)
	}
}

// published lists the holds that are shown, and checks that no slot is there twice.
func published(t *testing.T, l *HoldLedger) map[Slot]Hold {
	t.Helper()
	found := map[Slot]Hold{}
	for i := range 4 {
		for _, hold := range l.On(fmt.Sprint("n", i)) {
			if _, twice := found[hold.Slot]; twice {
				t.Fatalf("%s is held twice", hold.Slot)
			}
			found[hold.Slot] = hold
		}
	}
	if l.Len() != len(found) {
		t.Fatalf("the ledger counts %d holds, and shows %d", l.Len(), len(found))
	}
	return found
}

func TestHoldsOfRandomHistories(t *testing.T) {
	for seed := range int64(300) {
		r := rand.New(rand.NewSource(seed))
		h, l := newHarbour(), begun()
		for step := range 80 {
			before := published(t, l)
			changes := l.Look(h.happen(r), h.see)
			now := published(t, l)
			for slot, hold := range now {
				pod := h.pods[slot]
				switch {
				case pod.Node != "" && !pod.Leaving:
					t.Fatalf("seed %d step %d: %s is held, and bound", seed, step, slot)
				case !h.wanted[slot]:
					t.Fatalf("seed %d step %d: %s is held, and unwanted", seed, step, slot)
				case hold.Fixed != (h.fixed[slot] == hold.Node) || (hold.Fixed && !hold.Until.IsZero()):
					t.Fatalf("seed %d step %d: %s is fixed: %t, until %s", seed, step, slot, hold.Fixed, hold.Until)
				case !hold.Fixed && (h.nodes[hold.Node] || (!hold.Until.IsZero() && !h.now.Before(hold.Until))):
					t.Fatalf("seed %d step %d: %s can run elsewhere, and is held for ever", seed, step, slot)
				}
			}
			// Who could come back to no other node loses its room only if nothing
			// is left to keep it for.
			for slot, hold := range before {
				_, there := h.nodes[hold.Node]
				if _, still := now[slot]; hold.Fixed && !still && there && h.wanted[slot] && (h.pods[slot].Node == "" || h.pods[slot].Leaving) {
					t.Fatalf("seed %d step %d: the room of %s was given up", seed, step, slot)
				}
			}
			for _, change := range changes {
				if _, was := before[change.Hold.Slot]; change.Released != "" && !was {
					t.Fatalf("seed %d step %d: %s was released, and not held", seed, step, change.Hold.Slot)
				}
			}
		}
	}
}

// A simulation leaves no trace, but for what really happened meanwhile.
func TestHoldsAfterASimulation(t *testing.T) {
	for seed := range int64(200) {
		r := rand.New(rand.NewSource(seed))
		h, l := newHarbour(), begun()
		for range 40 {
			l.Look(h.happen(r), h.see)
		}
		before := published(t, l)
		var restores []func() []Slot
		imagined := newHarbour()
		for step := range 40 {
			if step%10 == 0 {
				restores = append(restores, l.Checkpoint())
			}
			l.Look(imagined.happen(r), imagined.see)
		}
		for i := len(restores) - 1; i >= 0; i-- {
			l.Look(restores[i](), h.see)
		}
		opaque := cmp.Comparer(func(a, b Hold) bool {
			return a.Slot == b.Slot && a.Node == b.Node && a.PodUID == b.PodUID && a.Since.Equal(b.Since) && a.Until.Equal(b.Until)
		})
		if diff := cmp.Diff(before, published(t, l), opaque); diff != "" {
			t.Fatalf("seed %d: holds (-before +after):\n%s", seed, diff)
		}
	}
}

func TestMissing(t *testing.T) {
	h, l := newHarbour(), begun()
	h.pods[dbSlot(0)] = Aboard{Node: "n0", UID: "u0"}
	h.pods[dbSlot(1)] = Aboard{Node: "n0", UID: "u1", Leaving: true}
	h.pods[dbSlot(2)] = Aboard{Node: "n0", UID: "u2"}
	l.Look([]Slot{dbSlot(0), dbSlot(1), dbSlot(2)}, h.see)
	got := l.Missing("n0", func(uid types.UID) bool { return uid == "u2" })
	if diff := cmp.Diff([]Slot{dbSlot(0)}, got); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

func BenchmarkNothingHeld(b *testing.B) {
	l := begun()
	for b.Loop() {
		if _, none := l.Begun(); !none {
			b.Fatal("something is held")
		}
	}
}
