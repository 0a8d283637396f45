// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-dev/berth/plugins/slothold"
	"github.com/berth-dev/berth/plugins/statefulset"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// holds is the ledger of the room that is kept for slots, and who is told of it.
type holds struct {
	ledger    *statefulset.HoldLedger
	berths    berths
	refused   *refused
	telemetry *holdTelemetry
	begins    sync.Once
	begun     atomic.Bool // somebody has started to look at all slots
}

func newHolds(source *source, planner *statefulset.Planner, slotOf func(*v1.Pod) (statefulset.Slot, bool)) *holds {
	return &holds{
		ledger:    statefulset.NewHoldLedger(),
		berths:    berths{source: source, planner: planner, slotOf: slotOf, now: time.Now},
		refused:   newRefused(),
		telemetry: newHoldTelemetry(),
	}
}

// kept is what SlotHold is given.
func (s *slots) kept() slothold.Shared {
	return slothold.Shared{Ledger: s, Refusals: s, Slots: s}
}

// None tells whether no room is kept. The first call works out what is kept
// before it returns: the stores are full by then, and nobody has been placed.
func (s *slots) None() bool {
	begun, none := s.holds.ledger.Begun()
	if !begun {
		s.beginHolds()
		_, none = s.holds.ledger.Begun()
	}
	return none
}

// On: see slothold.Ledger.
func (s *slots) On(node string) []statefulset.Hold { return s.holds.ledger.On(node) }

// Missed looks at the slots whose pods should be on a node and are not there:
// the scheduler's cache may know first that a pod is gone.
func (s *slots) Missed(node string, there func(types.UID) bool) {
	if missing := s.holds.ledger.Missing(node, there); len(missing) > 0 {
		s.look(missing...)
	}
}

// Refused: see slothold.Refusals. Nobody waits in a simulation.
func (s *slots) Refused(pod *v1.Pod, node string) {
	if !s.simulated {
		s.holds.refused.add(pod, node)
	}
}

// WasRefused: see slothold.Refusals.
func (s *slots) WasRefused(pod *v1.Pod, node string) bool { return s.holds.refused.at(pod.UID, node) }

// TriedAnew: see slothold.Refusals.
func (s *slots) TriedAnew(pod *v1.Pod) { s.holds.refused.begins(pod.UID) }

// Retry: see slothold.Refusals.
func (s *slots) Retry(pod *v1.Pod) {
	s.activate([]*v1.Pod{pod})
	if !s.simulated {
		s.holds.refused.later(pod)
	}
}

// Taken: see slothold.Refusals.
func (s *slots) Taken(pod *v1.Pod, hold statefulset.Hold) {
	s.herald.tellSet(hold.Slot, v1.EventTypeWarning, reasonHoldTaken,
		fmt.Sprintf("the room of %s on node %q went to pod %s, whose priority is higher", hold.Slot, hold.Node, klog.KObj(pod)))
}

// beginHolds looks at all slots that there are, from the stores alone: sets,
// the ordinals that are missing, and the notes on their claims. Whoever comes
// meanwhile waits for the end of it.
func (s *slots) beginHolds() {
	s.holds.begins.Do(func() {
		s.holds.begun.Store(true) // what happens from here on is looked at by those who hear of it
		slots := s.everySlot()
		s.follow(s.holds.ledger.Begin(slots, s.holds.berths.see))
		s.annotate(slots)
	})
}

// everySlot returns the slots that sets want, those that have a pod, and those
// that a claim remembers: nobody may want them any more.
func (s *slots) everySlot() (slots []statefulset.Slot) {
	known := map[statefulset.Slot]struct{}{}
	add := func(slot statefulset.Slot) {
		if _, twice := known[slot]; !twice {
			known[slot] = struct{}{}
			slots = append(slots, slot)
		}
	}
	sets, _ := s.source.listers.sets.List(labels.Everything())
	for _, set := range sets {
		key := statefulset.SetKey{Namespace: set.Namespace, Name: set.Name}
		for _, ordinal := range statefulset.Given(nil, set) {
			add(statefulset.Slot{Set: key, Ordinal: ordinal})
		}
	}
	pods, _ := s.source.pods.List(labels.Everything())
	for _, pod := range pods {
		if slot, fills := s.SlotOf(pod); fills {
			add(slot)
		}
	}
	for _, slot := range s.source.slots() {
		add(slot)
	}
	claims, _ := s.source.claims.List(labels.Everything())
	for _, claim := range claims {
		if _, noted := claim.Annotations[statefulset.LastNode]; !noted {
			continue
		}
		for _, of := range statefulset.SlotsOfClaim(claim.Namespace, claim.Name, s.source.templatesOf) {
			add(of.Slot)
		}
	}
	return slots
}

// look has slots looked at: by the ledger of holds, and then by whoever writes
// the notes on claims.
func (s *slots) look(slots ...statefulset.Slot) {
	if !s.holds.begun.Load() {
		return // all are looked at when it begins
	}
	s.follow(s.holds.ledger.Look(slots, s.holds.berths.see))
	s.annotate(slots)
}

// annotate has the notes of slots looked at. A simulation writes none.
func (s *slots) annotate(slots []statefulset.Slot) {
	if s.scribe == nil {
		return
	}
	for _, slot := range slots {
		s.scribe.look(slot)
	}
}

// lookAfter has the slot looked at whose pod is gone.
func (s *slots) lookAfter(slot statefulset.Slot, last *v1.Pod) {
	if s.holds.begun.Load() {
		s.follow(s.holds.ledger.Look([]statefulset.Slot{slot}, s.holds.berths.seeAfter(last)))
	}
	s.look(slot)
}

// follow does what follows from changes of holds.
func (s *slots) follow(changes []statefulset.HoldChange) {
	for _, change := range changes {
		hold := change.Hold
		switch {
		case change.Released != "":
			s.logger.V(2).Info("Released the room of a slot", "slot", hold.Slot, "node", hold.Node, "reason", change.Released)
			s.holds.telemetry.released(change.Released, s.holds.berths.now().Sub(hold.Since))
			if change.Released == statefulset.Expired {
				s.herald.tellSet(hold.Slot, v1.EventTypeNormal, reasonHoldExpired,
					fmt.Sprintf("the room of %s on node %q is kept no longer: the slot can run elsewhere, and home.holdFor is over", hold.Slot, hold.Node))
			}
		case change.Late:
			s.logger.V(2).Info("Keep the room of a slot whose pod went without a word", "slot", hold.Slot, "node", hold.Node)
			s.herald.tellSet(hold.Slot, v1.EventTypeNormal, reasonHoldLate,
				fmt.Sprintf("the pod of %s on node %q went before it was seen to leave; the room is kept from now on", hold.Slot, hold.Node))
		case !change.Free:
			s.logger.V(2).Info("Keep the room of a slot", "slot", hold.Slot, "node", hold.Node, "fixed", hold.Fixed)
		}
	}
	if len(changes) > 0 {
		s.holds.telemetry.held(s.holds.ledger.Len)
	}
	for _, change := range changes {
		if change.Free {
			s.activate(s.holds.refused.take(change.Hold.Node))
		}
	}
}

// checkpointHolds remembers the holds, and returns what puts them back. What
// really happened meanwhile is seen by looking once more.
func (s *slots) checkpointHolds() (restore func()) {
	s.None() // what there is before the simulation
	s.holdsExpired()
	back := s.holds.ledger.Checkpoint()
	return func() {
		if slots := back(); len(slots) > 0 {
			s.look(slots...)
		}
	}
}

// holdsExpired looks at the slots whose hold has lasted long enough.
func (s *slots) holdsExpired() {
	if due := s.holds.ledger.Due(s.holds.berths.now()); len(due) > 0 {
		s.look(due...)
	}
}

// lookAbsent looks at the slots of sets that are absent.
func (s *slots) lookAbsent(concerned func(statefulset.SetKey) bool) {
	s.look(s.holds.ledger.Absent(func(slot statefulset.Slot, _ statefulset.Berth) bool { return concerned(slot.Set) })...)
}

// lookBeside looks at the absent slots for which a change of a node may matter:
// those that were there, and those that may have one node more or less to run on.
func (s *slots) lookBeside(before, after *v1.Node) {
	name := either(before, after).Name
	moves := before == nil || after == nil || !maps.Equal(before.Labels, after.Labels)
	if !moves && statefulset.NodeGoes(before) == statefulset.NodeGoes(after) {
		return
	}
	s.look(s.holds.ledger.Absent(func(slot statefulset.Slot, b statefulset.Berth) bool {
		return b.Node == name || (moves && s.planner.Reached(slot, before, after))
	})...)
}

func keyOf(set *appsv1.StatefulSet) statefulset.SetKey {
	return statefulset.SetKey{Namespace: set.Namespace, Name: set.Name}
}
