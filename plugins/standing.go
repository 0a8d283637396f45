// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"fmt"
	"strings"

	"github.com/berth-dev/berth/plugins/ordinalgate"
	"github.com/berth-dev/berth/plugins/ordinalplacement"
	"github.com/berth-dev/berth/plugins/pinnedtopologyspread"
	"github.com/berth-dev/berth/plugins/slothold"
	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	v1 "k8s.io/api/core/v1"
)

// Standing is what the plugins make of a pod beyond its spec and its volumes,
// for a simulation that asks about many.
type Standing struct {
	// Slot has a place of its own. Slots are alike where they say so, and Of, which
	// is what decides about their places, is the same.
	Slot, Alike bool
	Of          string
	// Kept tells that room is kept for it, which is free once it is placed.
	Kept bool
}

// Orderly are the plugins that judge pods of one Standing alike, and by which a
// pod that is added to a node takes room and makes none.
func Orderly() []string {
	return []string{ordinalgate.Name, ordinalplacement.Name, pinnedtopologyspread.Name, slothold.Name, volumeaffinity.Name}
}

// Standing is the same for slots of one set, one planned domain and one rule, of
// which nothing is known yet: a home, or room that is kept, makes a slot
// different from all others. It is that of the only informer factory.
func (s *Shared) Standing(pod *v1.Pod) Standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.slots {
		return known.standing(pod)
	}
	return Standing{}
}

func (s *slots) standing(pod *v1.Pod) Standing {
	slot, fills := s.Current(pod)
	if !fills {
		return Standing{}
	}
	kept := s.holds.ledger.Of(slot).Hold != nil
	if home := s.Home(pod); kept || home != (volumeaffinity.Home{Slot: home.Slot, LostAfter: home.LostAfter}) {
		return Standing{Slot: true, Kept: kept}
	}
	answer, err := s.planner.Place(slot, pod)
	if err != nil {
		return Standing{Slot: true}
	}
	return Standing{Slot: true, Alike: true, Of: describe(answer)}
}

// describe tells what of an answer decides about nodes.
func describe(answer statefulset.Answer) string {
	if answer.Policy == nil {
		return answer.Slot.Set.String()
	}
	return fmt.Sprintf("%s rule %d in %s or %s", answer.Slot.Set, answer.Policy.RuleOf(answer.Slot.Ordinal), answer.Domain, strings.Join(answer.Fallback, ","))
}
