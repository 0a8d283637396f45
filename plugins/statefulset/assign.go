// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import "slices"

// assign plans the free slots again where taking the best, slot by slot, left
// one without a domain.
func (p *Plan) assign() {
	a := newAssignment(p.census())
	better := false
	for s := range a.seekers {
		before := p.entries[a.seekers[s].slot].domain
		a.insert(int32(s), before)
		better = better || (a.seekers[s].at != none && before == none)
	}
	if !better {
		return // as good as it gets
	}
	a.forget(0, 0)
	c, s := p.census(), 0
	for i := range p.entries {
		c.enter(i)
		if s < len(a.seekers) && int(a.seekers[s].slot) == i {
			a.settle(c, int32(s))
			s++
		}
		c.take(i)
	}
}

// assignment matches free slots with domains, so that as many as possible have
// one, lower ordinals first, and each the best that leaves the others theirs.
//
// It is a flow of one unit from each slot through its shard's only place in a
// domain into the domain, which takes as many as the cap and the homes leave.
// A slot without a place takes one from another that finds a place elsewhere,
// perhaps in the same way: an augmenting path. Sets of slots that have a place
// together are the independent sets of a matroid, so that a slot, once in, is
// never put out for a later one, and taking slots in the order of their
// ordinals makes the first of all largest sets.
type assignment struct {
	seekers []seeker
	fixed   int32 // seekers before this one have their domain for good
	domains []room
	open    []uint64 // the domains that homes leave each seeker, words for each
	words   int
	left    []int32 // candidates of the seeker being settled

	// What a search has met and seen. One that fails leaves it to the next: what
	// led nowhere still does, since a path that succeeds elsewhere cannot touch it.
	met     []int32 // seekers, in the order in which they are looked at
	visited []int32 // domains
	seen    []uint64
	targets []uint64
}

// seeker is a free slot.
type seeker struct {
	slot       int32 // its place in the plan
	first, end int32 // the seekers of its shard, itself among them; none without shards
	at         int32 // its domain, or none
	next, prev int32 // the others there that may move
	taker      int32 // the one that takes its place in the path looked for
	met        bool
}

// room is that in a domain for seekers.
type room struct {
	left int32
	head int32 // the first of the seekers there that may move
}

// newAssignment returns the free slots of a plan, none of them in a domain.
// The census is at its start, so that only homes bar.
func newAssignment(c *census) *assignment {
	a := &assignment{words: (len(c.domains) + 63) / 64, domains: make([]room, len(c.domains))}
	for d := range a.domains {
		a.domains[d] = room{left: c.atMost - c.tallies[d].homes, head: none}
	}
	a.seen, a.targets = make([]uint64, a.words), make([]uint64, a.words)
	first, shard := int32(0), c.shard
	for i := range c.entries {
		c.enter(i)
		s := int32(len(a.seekers))
		if c.shard != shard {
			first, shard = s, c.shard
		}
		if c.entries[i].homed {
			continue
		}
		a.seekers = append(a.seekers, seeker{slot: int32(i), first: first, at: none})
		a.open = append(a.open, a.seen...)
		for _, d := range c.candidates(i) {
			if !c.barred(&c.tallies[d]) {
				include(a.row(s), d)
			}
		}
	}
	for s, end := len(a.seekers)-1, len(a.seekers); c.shardSize > 0 && s >= 0; s-- {
		if a.seekers[s].end = int32(end); int(a.seekers[s].first) == s {
			end = s
		}
	}
	return a
}

// insert gives a seeker a place if there is one for it and for all that have
// one: the wish where it is vacant, so that nobody moves without need.
func (a *assignment) insert(s, wish int32) {
	a.seekers[s].taker = none
	if wish != none && a.domains[wish].left > 0 && a.sibling(s, wish) == none {
		a.shift(s, wish)
		return
	}
	met, visited := len(a.met), len(a.visited)
	if a.expand(s) || a.search(met) {
		a.forget(met, visited)
	}
}

// settle gives a seeker its domain for good: the best of those for which all
// that have a place keep one.
func (a *assignment) settle(c *census, s int32) {
	i := a.seekers[s].slot
	e := &c.entries[i]
	a.fixed = s + 1
	e.domain, e.by, e.told = none, OnlyDomain, true
	if a.seekers[s].at == none {
		return
	}
	a.release(s)
	a.left = append(a.left[:0], c.candidates(int(i))...)
	c.turns(int(i), a.left)
	for {
		best, by, _ := c.choose(a.left)
		if a.place(s, best) {
			e.domain, e.by = best, by
			break
		}
		a.left = slices.DeleteFunc(a.left, func(d int32) bool { return d == best })
	}
	a.forget(0, 0)
}

// place puts a seeker into one domain, if whoever is there can go elsewhere.
func (a *assignment) place(s, d int32) bool {
	a.seekers[s].taker = none
	met, visited := len(a.met), len(a.visited)
	if t := a.sibling(s, d); t != none {
		a.meet(t, s)
	} else if !includes(a.seen, d) && a.visit(d, s) {
		a.forget(met, visited)
		return true
	}
	if !a.search(met) {
		return false
	}
	a.forget(met, visited)
	return true
}
