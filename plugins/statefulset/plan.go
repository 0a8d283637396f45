// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
)

// MaxOrdinals bounds a plan: the first so many ordinals of a set are planned,
// and the one that is asked about. Without a bound, one object with two
// thousand million replicas would stop the scheduler.
const MaxOrdinals = 10_000

// PlanInput is everything that decides where the ordinals of a set belong.
type PlanInput struct {
	Set SetKey
	// Start and Replicas are the ordinals the set wants.
	Start, Replicas int
	// Asked is wanted too, whether the set says so or not: pods may be seen
	// before the change of the set that made them.
	Asked int
	// Domains are the allowed ones, in any order.
	Domains []string
	// Homes are the known homes by ordinal; ordinals of the set without one
	// may be absent. A home is not changed once it is in here.
	Homes map[int]*Home
}

// Plan is where each wanted ordinal belongs. It is never changed once made.
type Plan struct {
	set     SetKey
	domains []string
	entries []entry // sorted by ordinal
}

// entry is a Placement as the plan keeps it: small, since a set has thousands.
type entry struct {
	ordinal, lower   int32
	domain, inDomain int32 // index into domains, or none
	by               Decider
	home             *Home
}

const none = -1

// Placement is the domain of one slot, with the numbers that explain it.
type Placement struct {
	Slot Slot
	// Domain is empty where no domain is allowed.
	Domain string
	// Home is why, when its Domain is set.
	Home Home
	// InDomain of the Lower lower ordinals are in Domain too.
	InDomain, Lower int
	// By is what told Domain from the other allowed ones.
	By Decider
}

// Decider is the rule that chose the domain of a slot without a home.
type Decider int32

// The rules in their order, after the case where there was nothing to choose.
const (
	OnlyDomain Decider = iota
	FewestLower
	FewestInAll
	FirstByName
)

// String says the rule inside a reason.
func (d Decider) String() string {
	return [...]string{"the only domain", "fewest of its lower ordinals", "fewest of all ordinals", "first by name"}[d]
}

// Why explains the placement in a few words, for the end of a reason.
func (p Placement) Why() string {
	switch {
	case p.Domain == "":
		return "no domain is allowed"
	case p.Home.Domain != "":
		return p.Home.why()
	case p.By == FewestLower:
		return fmt.Sprintf("%s: %d of %d", p.By, p.InDomain, p.Lower)
	case p.By == OnlyDomain:
		return p.By.String()
	default:
		return fmt.Sprintf("%d of its %d lower ordinals are there, as few as elsewhere; %s", p.InDomain, p.Lower, p.By)
	}
}

// String reads well inside a reason: "ordinal 5 of prod/db belongs in zone-c
// (fewest of its lower ordinals: 1 of 5)".
func (p Placement) String() string {
	if p.Domain == "" {
		return fmt.Sprintf("%s has no domain (%s)", p.Slot, p.Why())
	}
	return fmt.Sprintf("%s belongs in %s (%s)", p.Slot, p.Domain, p.Why())
}

// Of returns the placement of an ordinal, if it is planned.
func (p Plan) Of(ordinal int) (Placement, bool) {
	i, found := slices.BinarySearchFunc(p.entries, int32(ordinal), func(have entry, want int32) int {
		return cmp.Compare(have.ordinal, want)
	})
	if !found {
		return Placement{}, false
	}
	return p.at(i), true
}

// All yields the placements in ordinal order.
func (p Plan) All() iter.Seq[Placement] {
	return func(yield func(Placement) bool) {
		for i := range p.entries {
			if !yield(p.at(i)) {
				return
			}
		}
	}
}

func (p Plan) at(i int) Placement {
	e := p.entries[i]
	placement := Placement{Slot: Slot{Set: p.set, Ordinal: int(e.ordinal)}, InDomain: int(e.inDomain), Lower: int(e.lower), By: e.by}
	if e.domain != none {
		placement.Domain = p.domains[e.domain]
	}
	if e.home != nil {
		placement.Home = *e.home
	}
	return placement
}

// Plan works out where each wanted ordinal belongs, in ordinal order: at home
// if it has one; else in the allowed domain that has the fewest slots among
// lower ordinals, then among all, then the first name. The first rule balances
// every prefix; the second leaves room where higher ordinals already live.
func (in PlanInput) Plan() Plan {
	c := newCensus(in.Domains)
	ordinals := in.ordinals()
	entries := make([]entry, len(ordinals))
	for i, ordinal := range ordinals {
		e := entry{ordinal: int32(ordinal), lower: int32(i), domain: none, home: in.Homes[ordinal]}
		if e.home != nil && e.home.Domain != "" {
			e.domain = c.index(e.home.Domain)
			c.counts[e.domain].all++
		}
		entries[i] = e
	}
	for i := range entries {
		e := &entries[i]
		if e.domain == none {
			if e.domain, e.by = c.choose(e.home); e.domain == none {
				continue
			}
			c.counts[e.domain].all++
		}
		e.inDomain = c.counts[e.domain].lower
		c.counts[e.domain].lower++
	}
	return Plan{set: in.Set, domains: c.domains, entries: entries}
}

// ordinals lists the wanted ordinals, sorted.
func (in PlanInput) ordinals() []int {
	last := in.Start + min(in.Replicas, MaxOrdinals) - 1
	if in.Asked > last && in.Asked < in.Start+MaxOrdinals {
		last = in.Asked
	}
	ordinals := make([]int, 0, last-in.Start+2)
	if in.Asked < in.Start {
		ordinals = append(ordinals, in.Asked)
	}
	for ordinal := in.Start; ordinal <= last; ordinal++ {
		ordinals = append(ordinals, ordinal)
	}
	if in.Asked > last {
		ordinals = append(ordinals, in.Asked)
	}
	return ordinals
}

// census counts slots by domain while a plan is made. The first allowed
// domains are those of the policy, sorted; homes elsewhere follow.
type census struct {
	domains []string
	counts  []count
	allowed []int32
}

type count struct{ lower, all int32 }

func newCensus(domains []string) *census {
	c := &census{domains: slices.Compact(slices.Sorted(slices.Values(domains)))}
	c.counts = make([]count, len(c.domains))
	for i := range c.domains {
		c.allowed = append(c.allowed, int32(i))
	}
	return c
}

// index returns the place of a domain, which is made for one not seen before.
func (c *census) index(domain string) int32 {
	i, found := slices.BinarySearch(c.domains[:len(c.allowed)], domain)
	if found {
		return int32(i)
	}
	if i = slices.Index(c.domains[len(c.allowed):], domain); i >= 0 {
		return int32(len(c.allowed) + i)
	}
	c.domains, c.counts = append(c.domains, domain), append(c.counts, count{})
	return int32(len(c.domains) - 1)
}

// choose picks the domain for the next ordinal. A volume that reaches several
// domains narrows the choice to them, even to ones that are not allowed: the
// volume is there, and a slot that waits for elsewhere would wait for ever.
func (c *census) choose(home *Home) (int32, Decider) {
	candidates := c.allowed
	if home != nil && len(home.Within) > 0 {
		candidates = c.within(home.Within)
	}
	if len(candidates) == 0 {
		return none, OnlyDomain
	}
	best, by := candidates[0], OnlyDomain
	for _, d := range candidates[1:] {
		have, other := c.counts[best], c.counts[d]
		switch lower, all := cmp.Compare(other.lower, have.lower), cmp.Compare(other.all, have.all); {
		case lower < 0:
			best, by = d, FewestLower
		case lower > 0:
			by = max(by, FewestLower)
		case all < 0:
			best, by = d, FewestInAll
		case all > 0:
			by = max(by, FewestInAll)
		default:
			by = FirstByName
		}
	}
	return best, by
}

func (c *census) within(domains []string) []int32 {
	var all, allowed []int32
	for _, domain := range slices.Sorted(slices.Values(domains)) {
		i := c.index(domain)
		all = append(all, i)
		if int(i) < len(c.allowed) {
			allowed = append(allowed, i)
		}
	}
	if len(allowed) > 0 {
		return allowed
	}
	return all
}
