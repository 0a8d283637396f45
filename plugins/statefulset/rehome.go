// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import "slices"

// rehome gives the slot at i the home that is among slots now, and tells
// whether the plan is still what planning anew would give. It is for a slot
// that stays in its domain with another tie, and for one that came to be where
// it was planned after every lower one, as those of a set that rises do. Only
// the owner of a plan that nobody else has may call it.
func (p *Plan) rehome(i int, slots []SlotFacts) bool {
	e, home := &p.entries[i], slots[i].Home
	if e.domain == none || home.Domain != p.domains[e.domain] {
		return false
	}
	if !e.homed {
		for p.settled < len(p.entries) && p.entries[p.settled].homed {
			p.settled++
		}
		// Caps, shards and turns of lower slots without a home see it only once it
		// has one; and where slots were assigned exactly, each depends on all.
		if p.settled != i || p.exact || e.bound {
			return false
		}
		e.homed, e.told, e.by = true, false, OnlyDomain
		p.counts[e.domain]++
	}
	if p.slots == nil {
		p.slots = slices.Clone(slots)
	}
	p.slots[i].Home = home
	return true
}
