// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"iter"
	"math/bits"
	"slices"
)

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
	slots []int32  // places in the plan's entries
	shard []int32  // by slot, the number of its shard; nil without shards
	open  []uint64 // the domains that homes leave each slot, words for each
	words int

	at         []int32 // domain by slot, or none
	fixed      int     // slots before this one have their domain for good
	room       []int32 // by domain
	head       []int32 // by domain, the first of the slots in it that may move
	next, prev []int32 // by slot, the others there

	// What a search has seen; a search that failed leaves it to the next, since
	// what led nowhere still does.
	seen    []uint64 // domains
	met     []bool   // slots
	takes   []int32  // by slot met, the one that takes its place
	queue   []int32  // slots met
	visited []int32  // domains seen
	targets []uint64
}

// assign plans the free slots again where taking the best, slot by slot, left
// one without a domain.
func (p *Plan) assign() {
	a := newAssignment(p.census())
	better := false
	for s := range a.slots {
		before := p.entries[a.slots[s]].domain
		a.insert(int32(s), before)
		better = better || (a.at[s] != none && before == none)
	}
	if !better {
		return // as good as it gets
	}
	a.forget(0, 0)
	c, s := p.census(), 0
	for i := range p.entries {
		c.enter(i)
		if s < len(a.slots) && int(a.slots[s]) == i {
			a.settle(c, int32(s))
			s++
		}
		c.take(i)
	}
}

// newAssignment returns the free slots of a plan, none of them in a domain.
func newAssignment(c *census) *assignment {
	a := &assignment{words: (len(c.domains) + 63) / 64, room: make([]int32, len(c.domains)), head: make([]int32, len(c.domains))}
	for d := range c.domains {
		a.room[d], a.head[d] = c.atMost-c.tallies[d].homes, none
	}
	for i := range c.entries {
		c.enter(i)
		e := &c.entries[i]
		if e.homed {
			continue
		}
		a.slots = append(a.slots, int32(i))
		if c.shardSize > 0 {
			a.shard = append(a.shard, c.shard)
		}
		a.open = append(a.open, make([]uint64, a.words)...)
		row := a.open[len(a.open)-a.words:]
		for _, d := range c.candidates(i) {
			// Nothing is taken in this census, so that only homes bar.
			if !c.barred(d) {
				row[d/64] |= 1 << (d % 64)
			}
		}
	}
	n := len(a.slots)
	a.at, a.next, a.prev, a.takes = make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n)
	for s := range a.at {
		a.at[s] = none
	}
	a.met, a.seen, a.targets = make([]bool, n), make([]uint64, a.words), make([]uint64, a.words)
	return a
}

// insert gives a slot a place if there is one for it and for all that have
// one: the wish where it is vacant, so that nobody moves without need.
func (a *assignment) insert(s, wish int32) {
	a.takes[s] = none
	if wish != none && a.room[wish] > 0 && a.sibling(s, wish) == none {
		a.shift(s, wish)
		return
	}
	slots, domains := len(a.queue), len(a.visited)
	if a.expand(s) || a.search(slots) {
		a.forget(slots, domains)
	}
}

// settle gives a slot its domain for good: the best of those for which all
// that have a place keep one.
func (a *assignment) settle(c *census, s int32) {
	e := &c.entries[a.slots[s]]
	a.fixed = int(s) + 1
	e.domain, e.by, e.told = none, OnlyDomain, true
	if a.at[s] == none {
		return
	}
	a.room[a.at[s]]++
	a.unlink(s)
	for left := slices.Clone(c.candidates(int(a.slots[s]))); ; {
		best, by, _ := c.choose(left)
		if a.place(s, best) {
			e.domain, e.by = best, by
			break
		}
		left = slices.DeleteFunc(left, func(d int32) bool { return d == best })
	}
	a.forget(0, 0)
}

// place puts a slot into one domain, if whoever is there can go elsewhere.
func (a *assignment) place(s, d int32) bool {
	a.takes[s] = none
	slots, domains := len(a.queue), len(a.visited)
	if t := a.sibling(s, d); t != none {
		a.meet(t, s)
	} else if a.seen[d/64]&(1<<(d%64)) == 0 && a.visit(d, s) {
		a.forget(slots, domains)
		return true
	}
	found := a.search(slots)
	if found {
		a.forget(slots, domains)
	}
	return found
}

// search goes on from the slots met.
func (a *assignment) search(from int) bool {
	for ; from < len(a.queue); from++ {
		if a.expand(a.queue[from]) {
			return true
		}
	}
	return false
}

// expand looks for another place for a slot. A place that a sibling has would
// be free if the sibling had another; any other needs room in the domain.
func (a *assignment) expand(s int32) bool {
	for w := range a.targets {
		a.targets[w] = a.open[int(s)*a.words+w] &^ a.seen[w]
	}
	if d := a.at[s]; d != none {
		a.targets[d/64] &^= 1 << (d % 64) // that is what another one wants
	}
	for t := range a.siblings(s) {
		if d := a.at[t]; d != none && a.targets[d/64]&(1<<(d%64)) != 0 {
			a.targets[d/64] &^= 1 << (d % 64)
			if int(t) >= a.fixed {
				a.meet(t, s)
			}
		}
	}
	for w, targets := range a.targets {
		for ; targets != 0; targets &= targets - 1 {
			if a.visit(int32(w*64+bits.TrailingZeros64(targets)), s) {
				return true
			}
		}
	}
	return false
}

// visit takes room in a domain for a slot. Where there is none, any slot there
// might make some.
func (a *assignment) visit(d, s int32) bool {
	if a.room[d] > 0 {
		a.shift(s, d)
		return true
	}
	a.seen[d/64] |= 1 << (d % 64)
	a.visited = append(a.visited, d)
	for t := a.head[d]; t != none; t = a.next[t] {
		a.meet(t, s)
	}
	return false
}

// meet queues a slot whose place another one would take.
func (a *assignment) meet(t, taker int32) {
	if !a.met[t] {
		a.met[t], a.takes[t] = true, taker
		a.queue = append(a.queue, t)
	}
}

// shift moves a slot into a domain with room, the one that takes its place
// there, and so on.
func (a *assignment) shift(s, d int32) {
	a.room[d]--
	for s != none {
		left := a.at[s]
		if left != none {
			a.unlink(s)
		}
		a.link(s, d)
		s, d = a.takes[s], left
	}
}

func (a *assignment) link(s, d int32) {
	a.at[s] = d
	if int(s) < a.fixed {
		return
	}
	a.prev[s], a.next[s] = none, a.head[d]
	if a.head[d] != none {
		a.prev[a.head[d]] = s
	}
	a.head[d] = s
}

func (a *assignment) unlink(s int32) {
	if a.prev[s] != none {
		a.next[a.prev[s]] = a.next[s]
	} else {
		a.head[a.at[s]] = a.next[s]
	}
	if a.next[s] != none {
		a.prev[a.next[s]] = a.prev[s]
	}
	a.at[s] = none
}

// forget undoes what was seen since.
func (a *assignment) forget(slots, domains int) {
	for _, s := range a.queue[slots:] {
		a.met[s] = false
	}
	for _, d := range a.visited[domains:] {
		a.seen[d/64] &^= 1 << (d % 64)
	}
	a.queue, a.visited = a.queue[:slots], a.visited[:domains]
}

// sibling returns the slot of the same shard in a domain.
func (a *assignment) sibling(s, d int32) int32 {
	for t := range a.siblings(s) {
		if a.at[t] == d {
			return t
		}
	}
	return none
}

// siblings yields the other slots of a slot's shard.
func (a *assignment) siblings(s int32) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		if a.shard == nil {
			return
		}
		for t := s - 1; t >= 0 && a.shard[t] == a.shard[s]; t-- {
			if !yield(t) {
				return
			}
		}
		for t := s + 1; int(t) < len(a.shard) && a.shard[t] == a.shard[s]; t++ {
			if !yield(t) {
				return
			}
		}
	}
}
