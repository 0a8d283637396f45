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
	domains []string  // sorted
	allowed [][]int32 // places in domains, sorted, by rule
	homes   []int32   // how many there are, by domain
	slots   []SlotFacts
	entries []entry // by slot
}

// entry is what a plan says of a slot: small and without pointers, since a set
// has thousands.
type entry struct {
	domain, inDomain int32 // domain is a place in domains, or none
	by               Decider
	homed            bool // domain is where its home is
	told             bool // there may be more to say than by
}

const none = -1

// Plan works out where each wanted ordinal belongs, in ordinal order: at home
// if it has one; else in the best of the domains that its rule, its shard and
// the cap leave it. Interleaved, the best has the fewest slots among lower
// ordinals, then among all, then the first name. The first rule balances every
// prefix; the second leaves room where higher ordinals already live.
// Contiguous, the best is where most of the slot's block is.
//
// Taking the best for one slot after the other costs next to nothing and is
// nearly always right. Rules and homes can make it run into a corner, where a
// slot finds every domain taken by others that had a choice: then the slots
// are assigned exactly, see assignment.
func (in PlanInput) Plan() Plan {
	p := in.survey()
	c := p.census()
	stuck := false
	for i := range p.entries {
		e := &p.entries[i]
		c.enter(i)
		if e.homed {
			e.told = c.breaks(i)
		} else {
			candidates := c.candidates(i)
			e.domain, e.by, e.told = c.choose(candidates)
			e.told = e.told || p.slots[i].Rule > 0
			stuck = stuck || (e.domain == none && len(candidates) > 0)
		}
		c.take(i)
	}
	if stuck {
		p.assign()
	}
	return p
}

// survey makes a plan of the homes alone: the domains by number, and the slots
// of which nothing is decided yet.
func (in PlanInput) survey() Plan {
	p := Plan{set: in.Set, policy: in.Policy, slots: slices.Clone(in.Slots), entries: make([]entry, len(in.Slots))}
	size := 0
	for _, domains := range in.Allowed {
		size += len(domains)
	}
	p.domains = make([]string, 0, size)
	for _, domains := range in.Allowed {
		p.domains = append(p.domains, domains...)
	}
	p.domains = distinct(p.domains)
	for others := p.settle(); len(others) > 0; others = p.settle() {
		p.domains = distinct(append(p.domains, others...))
	}
	find := finder{domains: p.domains}
	places := make([]int32, 0, size)
	p.allowed = make([][]int32, len(in.Allowed))
	for rule, domains := range in.Allowed {
		from := len(places)
		for _, domain := range domains {
			places = append(places, find.place(domain))
		}
		p.allowed[rule] = distinct(places[from:])
	}
	return p
}

// settle enters the homes, and returns the domains of homes that are not among
// those of the plan.
func (p *Plan) settle() []string {
	find := finder{domains: p.domains}
	var others []string
	p.homes = make([]int32, len(p.domains))
	for i := range p.slots {
		e, home := &p.entries[i], p.slots[i].Home
		e.domain = none
		if home == nil {
			continue
		}
		if e.homed = home.Domain != ""; e.homed {
			if e.domain = find.place(home.Domain); e.domain == none {
				others = append(others, home.Domain)
			} else {
				p.homes[e.domain]++
			}
			continue
		}
		for _, domain := range home.Within {
			if find.place(domain) == none {
				others = append(others, domain)
			}
		}
	}
	return others
}

// distinct sorts in place and returns each value once.
func distinct[T cmp.Ordered](values []T) []T {
	if !slices.IsSorted(values) {
		slices.Sort(values)
	}
	return slices.Compact(values)
}

// finder finds domains by name. Neighbours in a list or a set often are
// neighbours by name, or the same: these are looked at first.
type finder struct {
	domains []string
	last    int
}

func (f *finder) place(domain string) int32 {
	next := f.last + 1
	if next >= len(f.domains) {
		next = 0
	}
	switch {
	case next < len(f.domains) && f.domains[next] == domain:
		f.last = next
	case f.last < len(f.domains) && f.domains[f.last] == domain:
	default:
		i, found := slices.BinarySearch(f.domains, domain)
		if !found {
			return none
		}
		f.last = i
	}
	return int32(f.last)
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
	placement, e := p.at(i), p.entries[i]
	fallback := p.spread().Preferred && !e.homed && e.domain != none
	if !e.told && !fallback {
		return placement, true
	}
	c := p.census()
	for j := range i {
		c.enter(j)
		c.take(j)
	}
	c.enter(i)
	c.tell(i, &placement)
	if fallback {
		placement.Fallback = c.fallback(i)
	}
	return placement, true
}

// find returns the place of an ordinal, or where it would be.
func (p *Plan) find(ordinal int) (int, bool) {
	return slices.BinarySearchFunc(p.slots, ordinal, func(have SlotFacts, want int) int { return cmp.Compare(int(have.Ordinal), want) })
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
	e, ordinal := &p.entries[i], int(p.slots[i].Ordinal)
	placement := Placement{Slot: Slot{Set: p.set, Ordinal: ordinal}, InDomain: int(e.inDomain), Lower: i, By: e.by}
	if e.domain != none {
		placement.Domain = p.domains[e.domain]
	}
	if home := p.slots[i].Home; home != nil {
		placement.Home = *home
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
