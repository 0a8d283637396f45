// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"cmp"
	"slices"
)

// survey makes a plan of the homes alone: the domains by number, and the slots
// of which nothing is decided yet.
func (in PlanInput) survey() Plan {
	p := Plan{set: in.Set, policy: in.Policy, entries: make([]entry, len(in.Slots))}
	size := 0
	for _, domains := range in.Allowed {
		size += len(domains)
	}
	p.domains = make([]string, 0, size)
	for _, domains := range in.Allowed {
		p.domains = append(p.domains, domains...)
	}
	p.domains = distinct(p.domains)
	for others := p.settle(in.Slots); len(others) > 0; others = p.settle(in.Slots) {
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

// settle enters the slots with their homes, and returns the domains of homes
// that are not among those of the plan.
func (p *Plan) settle(slots []SlotFacts) []string {
	find := finder{domains: p.domains}
	var others []string
	tied := false
	p.counts = make([]int32, len(p.domains))
	for i := range slots {
		e, home := &p.entries[i], slots[i].Home
		e.ordinal, e.rule, e.domain = slots[i].Ordinal, slots[i].Rule, none
		if home == nil || home.Tie == Free && home.Domain == "" && len(home.Within) == 0 {
			continue
		}
		tied = true
		e.homed, e.bound = home.Domain != "", home.Domain == "" && len(home.Within) > 0
		if e.homed {
			if e.domain = find.place(home.Domain); e.domain == none {
				others = append(others, home.Domain)
			} else {
				p.counts[e.domain]++
			}
		}
		for _, domain := range home.Within {
			if e.bound && find.place(domain) == none {
				others = append(others, domain)
			}
		}
	}
	if tied && p.slots == nil {
		p.slots = slices.Clone(slots)
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
