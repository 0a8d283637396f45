// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"cmp"
	"iter"
	"math"
	"slices"
)

// MaxOrdinals bounds a plan: the first so many ordinals of a set are planned,
// and the one that is asked about. Without a bound, one object with two
// thousand million replicas would stop the scheduler.
const MaxOrdinals = 10_000

// PlanInput is everything that decides where the ordinals of a set belong.
type PlanInput struct {
	Set SetKey
	// Policy spreads the set.
	Policy *Policy
	// Allowed are the domains that slots may have, in any order: those of slots
	// of no rule first, then those of slots of each rule of the policy.
	Allowed [][]string
	// Slots are the wanted slots in the order of their ordinals.
	Slots []SlotFacts
}

// SlotFacts is what a plan needs to know of a slot.
type SlotFacts struct {
	Ordinal int32
	// Rule is the place in PlanInput.Allowed of the slot's domains: 0, or one
	// more than that of the first rule that names the ordinal.
	Rule int32
	// Home may be nil for a free slot. It is not changed once it is in here.
	Home *Home
}

// Plan is where each wanted ordinal belongs. It is never changed once made.
type Plan struct {
	set     SetKey
	policy  *Policy
	domains []string    // sorted
	allowed [][]int32   // places in domains, sorted, by rule
	counts  []int32     // of homes, by domain
	entries []entry     // by ordinal
	slots   []SlotFacts // those of entries; none where no slot has a home
	exact   bool        // the slots were assigned exactly
	settled int         // every slot before this place has its home; for rehome
}

// entry is what a plan says of a slot: small and without pointers, since a set
// has thousands.
type entry struct {
	ordinal, rule    int32
	domain, inDomain int32 // domain is a place in domains, or none
	by               Decider
	homed            bool // domain is where its home is
	bound            bool // its volume reaches several domains
	told             bool // there may be more to say than by
}

const none = -1

// Plan works out where each wanted ordinal belongs, in ordinal order: at home
// if it has one; else in the best of the domains that its rule, its shard and
// the cap leave it. Interleaved, the best has the fewest slots among lower
// ordinals, is not the home of one that comes next, and has the first name. The
// first rule balances every prefix, the second keeps it so where higher
// ordinals already live, and a slot that is bound where it was planned, in
// whatever order, moves no other.
// Contiguous, the best is where most of the slot's block is.
//
// Taking the best for one slot after the other costs next to nothing and is
// nearly always right. Rules and homes can make it run into a corner, where a
// slot finds every domain taken by others that had a choice: then the slots
// are assigned exactly, see assignment.
func (in PlanInput) Plan() Plan {
	p := in.survey()
	c := p.census()
	bounded, stuck := c.shardSize > 0 || c.atMost < math.MaxInt32, false
	for i := range p.entries {
		e := &p.entries[i]
		c.enter(i)
		if e.homed {
			e.told = (bounded || e.rule > 0) && c.breaks(i)
		} else {
			candidates := c.candidates(i)
			c.turns(i, candidates)
			e.domain, e.by, e.told = c.choose(candidates)
			e.told = e.told || e.rule > 0
			stuck = stuck || (e.domain == none && len(candidates) > 0)
		}
		c.take(i)
	}
	if stuck {
		p.exact = true
		p.assign()
	}
	return p
}

// home is the zero Home for a slot that has none.
func (p *Plan) home(i int) Home {
	if p.slots == nil || p.slots[i].Home == nil {
		return Home{}
	}
	return *p.slots[i].Home
}

// spread returns the policy's, which asks for nothing where there is none.
func (p *Plan) spread() *Spread {
	if p.policy == nil || p.policy.Spread == nil {
		return &Spread{}
	}
	return p.policy.Spread
}

// atMost is the cap of each domain.
func (p *Plan) atMost() int32 {
	if most := p.spread().MaxPerDomain; most > 0 && most < math.MaxInt32 {
		return int32(most)
	}
	return math.MaxInt32
}

// domainsOf returns the domains of slots of a rule.
func (p *Plan) domainsOf(rule int32) []int32 {
	if int(rule) >= len(p.allowed) {
		return nil
	}
	return p.allowed[rule]
}

// Of returns the placement of an ordinal, if it is planned.
func (p Plan) Of(ordinal int) (Placement, bool) {
	i, found := p.find(ordinal)
	if !found {
		return Placement{}, false
	}
	e := &p.entries[i]
	if fallback := p.spread().Preferred && !e.homed && e.domain != none; e.told || fallback {
		whole := p // so that p stays where it is in the usual case
		return whole.told(i, fallback), true
	}
	return p.at(i), true
}

// told returns a placement with all that there is to say.
func (p *Plan) told(i int, fallback bool) Placement {
	placement, c := p.at(i), p.census()
	for j := range i {
		c.enter(j)
		c.take(j)
	}
	c.enter(i)
	c.tell(i, &placement)
	if fallback {
		placement.Fallback = c.fallback(i)
	}
	return placement
}

// find returns the place of an ordinal, or where it would be.
func (p *Plan) find(ordinal int) (int, bool) {
	return slices.BinarySearchFunc(p.entries, ordinal, func(have entry, want int) int { return cmp.Compare(int(have.ordinal), want) })
}

// All yields the placements in ordinal order, without their Fallback.
func (p Plan) All() iter.Seq[Placement] {
	return func(yield func(Placement) bool) {
		c := p.census()
		for i := range p.entries {
			placement := p.at(i)
			c.enter(i)
			c.tell(i, &placement)
			c.take(i)
			if !yield(placement) {
				return
			}
		}
	}
}

func (p *Plan) at(i int) Placement {
	e, ordinal := &p.entries[i], int(p.entries[i].ordinal)
	placement := Placement{Slot: Slot{Set: p.set, Ordinal: ordinal}, InDomain: int(e.inDomain), Lower: i, By: e.by, Home: p.home(i)}
	if e.domain != none {
		placement.Domain = p.domains[e.domain]
	}
	spread := p.spread()
	placement.AtMost = spread.MaxPerDomain
	placement.Shard, placement.Block = groupOf(ordinal, spread.ShardSize), groupOf(ordinal, spread.BlockSize)
	if e.by == WithBlock {
		placement.Beside, _ = p.neighbour(i, e.domain, placement.Block)
	}
	return placement
}

// groupOf returns the ordinals of the shard or block of a size.
func groupOf(ordinal, size int) OrdinalRange {
	if size <= 0 {
		return OrdinalRange{}
	}
	first := ordinal / size * size
	return OrdinalRange{First: first, Last: first + size - 1}
}
