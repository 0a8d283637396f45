// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// HoldLedger knows the berths of slots, and the holds on those that are absent.
//
// It is told to look at a slot whenever something of it may be another thing
// now, and looks at everything there is to see: what it decides depends on what
// is and on what it remembers, not on which events came, or in which order. One
// lock is held from looking to remembering. The holds are read without a lock:
// whoever filters nodes loads one pointer, and each change puts another map in
// its place.
//
// Invariants: a slot has one hold at most; none has a slot with a pod that
// stays, or one that its set does not want; a Fixed hold does not end by time.
type HoldLedger struct {
	byNode atomic.Pointer[map[string][]Hold] // nil until all slots have been looked at

	mu      sync.Mutex
	begun   bool // all slots have been looked at
	berths  map[Slot]Berth
	onNode  map[string]map[Slot]struct{}
	away    map[Slot]struct{}        // those that are absent
	holds   map[string]map[Slot]Hold // by node, as published
	count   int
	changed map[string]struct{} // nodes whose holds are to be published again

	forks int
	undo  []remembered
}

// remembered is a berth before it was changed.
type remembered struct {
	slot Slot
	was  Berth
}

// HoldChange is what became of the hold on a slot.
type HoldChange struct {
	// Hold is the one that was made or ended.
	Hold Hold
	// Released is why it ended, empty for one that was made, or takes less now.
	Released Release
	// Late means that the pod was gone before anybody saw it leave.
	Late bool
	// Free means that something is free on the node that was kept there before.
	// It is not where the slot came back and takes as much.
	Free bool
}

// NewHoldLedger returns a ledger without berths.
func NewHoldLedger() *HoldLedger {
	return &HoldLedger{
		berths: map[Slot]Berth{}, onNode: map[string]map[Slot]struct{}{}, away: map[Slot]struct{}{},
		holds: map[string]map[Slot]Hold{}, changed: map[string]struct{}{},
	}
}

// Begin looks at all slots that there are, and shows the holds from then on. Who
// looked at single slots before has shown none.
func (l *HoldLedger) Begin(slots []Slot, look func(Slot, Berth) Sight) []HoldChange {
	return l.look(slots, look, true)
}

// Begun tells whether Begin is done, and that there is no hold. Both are one
// atomic load.
func (l *HoldLedger) Begun() (begun, none bool) {
	holds := l.byNode.Load()
	return holds != nil, holds == nil || len(*holds) == 0
}

// On returns the holds on a node, by slot. The slice is never changed.
func (l *HoldLedger) On(node string) []Hold {
	if holds := l.byNode.Load(); holds != nil {
		return (*holds)[node]
	}
	return nil
}

// Len is how many holds there are.
func (l *HoldLedger) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// Of returns the berth of a slot.
func (l *HoldLedger) Of(slot Slot) Berth {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.berths[slot]
}

// Look looks at slots and returns what that changed. What look says of a slot
// whose berth it is given must be as new as whatever made somebody look.
func (l *HoldLedger) Look(slots []Slot, look func(Slot, Berth) Sight) []HoldChange {
	return l.look(slots, look, false)
}

func (l *HoldLedger) look(slots []Slot, look func(Slot, Berth) Sight, begin bool) (changes []HoldChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = l.begun || begin
	for _, slot := range slots {
		was := l.berths[slot]
		is, why := was.next(slot, look(slot, was))
		l.enter(slot, is)
		changes = append(changes, compare(was, is, why)...)
	}
	l.publish()
	return changes
}

// compare returns what became of the hold of one berth.
func compare(was, is Berth, why Release) (changes []HoldChange) {
	switch {
	case was.Hold == nil && is.Hold == nil:
		return nil
	case was.Hold != nil && is.Hold != nil && was.Hold.Node == is.Hold.Node && was.Hold.PodUID == is.Hold.PodUID:
		if is.Hold.Needs.Cover(was.Hold.Needs) {
			return nil
		}
		return []HoldChange{{Hold: *is.Hold, Free: true}}
	}
	if was.Hold != nil {
		if is.Hold != nil {
			why = Bound // and it leaves again
		}
		back := why == Bound && is.Node == was.Hold.Node && is.Needs.Cover(was.Hold.Needs)
		changes = append(changes, HoldChange{Hold: *was.Hold, Released: why, Free: !back})
	}
	if is.Hold != nil {
		changes = append(changes, HoldChange{Hold: *is.Hold, Late: was.Node != "" && !was.absent() && !is.Leaving})
	}
	return changes
}

// enter puts a berth in the place of what was known of a slot.
func (l *HoldLedger) enter(slot Slot, is Berth) {
	was := l.berths[slot]
	if l.forks > 0 {
		l.undo = append(l.undo, remembered{slot, was})
	}
	l.leave(slot, was)
	if is.Node == "" {
		return
	}
	l.berths[slot] = is
	if l.onNode[is.Node] == nil {
		l.onNode[is.Node] = map[Slot]struct{}{}
	}
	l.onNode[is.Node][slot] = struct{}{}
	if is.absent() {
		l.away[slot] = struct{}{}
	}
	if is.Hold != nil {
		if l.holds[is.Node] == nil {
			l.holds[is.Node] = map[Slot]Hold{}
		}
		l.holds[is.Node][slot] = *is.Hold
		l.count++
		l.changed[is.Node] = struct{}{}
	}
}

func (l *HoldLedger) leave(slot Slot, was Berth) {
	if was.Node == "" {
		return
	}
	delete(l.berths, slot)
	delete(l.away, slot)
	if delete(l.onNode[was.Node], slot); len(l.onNode[was.Node]) == 0 {
		delete(l.onNode, was.Node)
	}
	if was.Hold != nil {
		if delete(l.holds[was.Node], slot); len(l.holds[was.Node]) == 0 {
			delete(l.holds, was.Node)
		}
		l.count--
		l.changed[was.Node] = struct{}{}
	}
}

// publish shows the holds of changed nodes to those who read without a lock.
func (l *HoldLedger) publish() {
	before := l.byNode.Load()
	if !l.begun || (before != nil && len(l.changed) == 0) {
		return
	}
	after := map[string][]Hold{}
	if before != nil {
		after = maps.Clone(*before)
	}
	for node := range l.changed {
		if len(l.holds[node]) == 0 {
			delete(after, node)
			continue
		}
		after[node] = slices.SortedFunc(maps.Values(l.holds[node]), func(a, b Hold) int { return a.Slot.compare(b.Slot) })
	}
	clear(l.changed)
	l.byNode.Store(&after)
}

// Absent returns the slots without a pod that stays whose berth suits.
func (l *HoldLedger) Absent(suits func(Slot, Berth) bool) (slots []Slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for slot := range l.away {
		if suits(slot, l.berths[slot]) {
			slots = append(slots, slot)
		}
	}
	return slots
}

// Due returns the slots whose hold has lasted long enough.
func (l *HoldLedger) Due(now time.Time) []Slot {
	return l.Absent(func(_ Slot, b Berth) bool {
		return b.Hold != nil && !b.Hold.Until.IsZero() && !now.Before(b.Hold.Until)
	})
}

// Missing returns the slots that should have a pod on a node by what the ledger
// knows, and whose pod is not there.
func (l *HoldLedger) Missing(node string, there func(types.UID) bool) (slots []Slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for slot := range l.onNode[node] {
		if b := l.berths[slot]; !b.absent() && !there(b.UID) {
			slots = append(slots, slot)
		}
	}
	return slots
}

// Checkpoint remembers the berths. Restore puts those back that changed, and
// returns their slots: whoever asked looks at them once more, since not
// everything may have been a simulation.
func (l *HoldLedger) Checkpoint() (restore func() []Slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forks++
	undo := len(l.undo)
	return func() (slots []Slot) {
		l.mu.Lock()
		defer l.mu.Unlock()
		forks := l.forks - 1
		l.forks = 0 // going back is not to be taken back
		for i := len(l.undo) - 1; i >= undo; i-- {
			l.enter(l.undo[i].slot, l.undo[i].was)
			slots = append(slots, l.undo[i].slot)
		}
		l.undo, l.forks = l.undo[:undo], forks
		l.publish()
		slices.SortFunc(slots, Slot.compare)
		return slices.Compact(slots)
	}
}
