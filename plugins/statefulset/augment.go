// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import "math/bits"

// search goes on from the seekers met: each would be put out of its domain and
// looks for another.
func (a *assignment) search(from int) bool {
	for ; from < len(a.met); from++ {
		if a.expand(a.met[from]) {
			return true
		}
	}
	return false
}

// expand looks for another place for a seeker. A place that a sibling has
// would be free if the sibling had another; any other needs room in the domain.
func (a *assignment) expand(s int32) bool {
	its := &a.seekers[s]
	for w, open := range a.row(s) {
		a.targets[w] = open &^ a.seen[w]
	}
	if its.at != none {
		exclude(a.targets, its.at) // that is what its taker wants
	}
	for t := its.first; t < its.end; t++ {
		if d := a.seekers[t].at; t != s && d != none && includes(a.targets, d) {
			exclude(a.targets, d)
			if t >= a.fixed {
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

// visit takes room in a domain for a seeker. Where there is none, any seeker
// there might make some that knows of a domain not seen yet.
func (a *assignment) visit(d, s int32) bool {
	if a.domains[d].left > 0 {
		a.shift(s, d)
		return true
	}
	include(a.seen, d)
	a.visited = append(a.visited, d)
	for t := a.domains[d].head; t != none; t = a.seekers[t].next {
		for w, open := range a.row(t) {
			if open&^a.seen[w] != 0 {
				a.meet(t, s)
				break
			}
		}
	}
	return false
}

// meet queues a seeker whose place another one would take.
func (a *assignment) meet(s, taker int32) {
	if its := &a.seekers[s]; !its.met {
		its.met, its.taker = true, taker
		a.met = append(a.met, s)
	}
}

// forget undoes what was met and seen since.
func (a *assignment) forget(met, visited int) {
	for _, s := range a.met[met:] {
		a.seekers[s].met = false
	}
	for _, d := range a.visited[visited:] {
		exclude(a.seen, d)
	}
	a.met, a.visited = a.met[:met], a.visited[:visited]
}

// shift moves a seeker into a domain with room, its taker into the place it
// leaves, and so on.
func (a *assignment) shift(s, d int32) {
	for s != none {
		before := a.seekers[s].at
		if before != none {
			a.release(s)
		}
		a.take(s, d)
		s, d = a.seekers[s].taker, before
	}
}

// take enters a seeker in a domain; only one that may move yet is listed there.
func (a *assignment) take(s, d int32) {
	its, room := &a.seekers[s], &a.domains[d]
	its.at = d
	room.left--
	if s < a.fixed {
		return
	}
	its.prev, its.next = none, room.head
	if room.head != none {
		a.seekers[room.head].prev = s
	}
	room.head = s
}

// release takes a listed seeker out of its domain.
func (a *assignment) release(s int32) {
	its := &a.seekers[s]
	room := &a.domains[its.at]
	its.at = none
	room.left++
	if its.prev != none {
		a.seekers[its.prev].next = its.next
	} else {
		room.head = its.next
	}
	if its.next != none {
		a.seekers[its.next].prev = its.prev
	}
}

// sibling returns the seeker of the same shard in a domain.
func (a *assignment) sibling(s, d int32) int32 {
	for t := a.seekers[s].first; t < a.seekers[s].end; t++ {
		if t != s && a.seekers[t].at == d {
			return t
		}
	}
	return none
}

// row is what homes leave a seeker.
func (a *assignment) row(s int32) []uint64 { return a.open[int(s)*a.words : (int(s)+1)*a.words] }

// A set of domains is a bit for each.

func includes(set []uint64, d int32) bool { return set[d/64]&(1<<(d%64)) != 0 }

func include(set []uint64, d int32) { set[d/64] |= 1 << (d % 64) }

func exclude(set []uint64, d int32) { set[d/64] &^= 1 << (d % 64) }
