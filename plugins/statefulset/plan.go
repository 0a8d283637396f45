// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"cmp"
	"fmt"
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
	// may be absent.
	Homes map[int]Home
}

// Plan is where each wanted ordinal belongs. It is never changed once made.
type Plan struct {
	// Placements are sorted by ordinal.
	Placements []Placement
}

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
type Decider string

// The rules in their order, and the case where there was nothing to choose.
const (
	OnlyDomain   Decider = "the only domain"
	FewestLower  Decider = "fewest of its lower ordinals"
	FewestInAll  Decider = "fewest of all ordinals"
	FirstByName  Decider = "first by name"
	nothingKnown Decider = ""
)

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
		return string(p.By)
	default:
		return fmt.Sprintf("%d of its %d lower ordinals are there, as few as elsewhere; %s", p.InDomain, p.Lower, p.By)
	}
}

// String reads well inside a reason: "ordinal 4 of prod/db belongs in zone-b
// (fewest of its lower ordinals: 1 of 4)".
func (p Placement) String() string {
	if p.Domain == "" {
		return fmt.Sprintf("%s has no domain (%s)", p.Slot, p.Why())
	}
	return fmt.Sprintf("%s belongs in %s (%s)", p.Slot, p.Domain, p.Why())
}

// Of returns the placement of an ordinal, if it is planned.
func (p Plan) Of(ordinal int) (Placement, bool) {
	i, found := slices.BinarySearchFunc(p.Placements, ordinal, func(have Placement, want int) int {
		return cmp.Compare(have.Slot.Ordinal, want)
	})
	if !found {
		return Placement{}, false
	}
	return p.Placements[i], true
}

// Plan works out where each wanted ordinal belongs, in ordinal order: at home
// if it has one; else in the allowed domain that has the fewest slots among
// lower ordinals, then among all, then the first name. The first rule balances
// every prefix; the second leaves room where higher ordinals already live.
func (in PlanInput) Plan() Plan {
	ordinals := in.ordinals()
	c := newCensus(in.Domains)
	for _, ordinal := range ordinals {
		if home := in.Homes[ordinal]; home.Domain != "" {
			c.all[home.Domain]++
		}
	}
	placements := make([]Placement, 0, len(ordinals))
	for i, ordinal := range ordinals {
		p := Placement{Slot: Slot{Set: in.Set, Ordinal: ordinal}, Home: in.Homes[ordinal], Lower: i}
		if p.Home.Domain != "" {
			p.Domain = p.Home.Domain
		} else if p.Domain, p.By = c.choose(p.Home.Within); p.Domain != "" {
			c.all[p.Domain]++
		}
		p.InDomain = c.lower[p.Domain]
		c.lower[p.Domain]++
		placements = append(placements, p)
	}
	return Plan{Placements: placements}
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

// census counts slots by domain while a plan is made.
type census struct {
	domains    []string // sorted, without duplicates
	lower, all map[string]int
}

func newCensus(domains []string) census {
	domains = slices.Compact(slices.Sorted(slices.Values(domains)))
	return census{domains: domains, lower: make(map[string]int, len(domains)), all: make(map[string]int, len(domains))}
}

// choose picks the domain for the next ordinal. A volume that reaches several
// domains narrows the choice to them, even to ones that are not allowed: the
// volume is there, and a slot that waits for elsewhere would wait for ever.
func (c census) choose(within []string) (string, Decider) {
	candidates := c.domains
	if len(within) > 0 {
		candidates = slices.Sorted(slices.Values(within))
		if allowed := slices.DeleteFunc(slices.Clone(candidates), c.unknown); len(allowed) > 0 {
			candidates = allowed
		}
	}
	if len(candidates) == 0 {
		return "", nothingKnown
	}
	best, by := candidates[0], OnlyDomain
	for _, d := range candidates[1:] {
		rank := cmp.Or(cmp.Compare(c.lower[d], c.lower[best]), cmp.Compare(c.all[d], c.all[best]))
		if rank < 0 {
			best = d
		}
	}
	for _, d := range candidates {
		switch {
		case d == best:
		case c.lower[d] == c.lower[best] && c.all[d] == c.all[best]:
			return best, FirstByName
		case c.lower[d] == c.lower[best]:
			by = FewestInAll
		case by == OnlyDomain:
			by = FewestLower
		}
	}
	return best, by
}

func (c census) unknown(domain string) bool {
	_, found := slices.BinarySearch(c.domains, domain)
	return !found
}
