// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"cmp"
	"math"
)

// choose picks the best of the candidates that are open to the slot at hand,
// and tells whether there may be more to say about it.
func (c *census) choose(candidates []int32) (place int32, by Decider, told bool) {
	if c.blockSize > 0 {
		if candidates, by, told = c.together(candidates); by != OnlyDomain {
			return candidates[0], by, told
		}
	}
	place, by, barred := c.balanced(candidates)
	return place, by, told || barred
}

// together keeps the candidates that are best for the slot's block, and returns
// what told the best from the others if it is one.
func (c *census) together(candidates []int32) (kept []int32, by Decider, told bool) {
	kept = c.kept[:0]
	best, open := uint64(math.MaxUint64), 0
	for _, d := range candidates {
		t := &c.tallies[d]
		if c.barred(t) {
			told = true
			continue
		}
		open++
		score := c.blockScore(t)
		if score < best {
			best, kept = score, kept[:0]
		}
		if score == best {
			kept = append(kept, d)
		}
	}
	switch c.kept = kept; {
	case len(kept) == open || len(kept) > 1:
		return kept, OnlyDomain, told
	case best < noMates:
		return kept, WithBlock, told
	default:
		return kept, RoomForBlock, told
	}
}

// noMates is where the scores of domains without a slot of the block begin.
const noMates = math.MaxInt32 << 32

// blockScore is least where most of the slot's block is, and of equals where
// its lowest member is; for the first of the block, where there is room for all
// of it.
func (c *census) blockScore(t *tally) uint64 {
	switch {
	case c.blockSize == 0:
		return 0
	case t.block == c.block:
		return uint64(math.MaxInt32-t.mates)<<32 | uint64(t.first)
	case t.all() <= c.atMost-c.rest:
		return noMates
	default:
		return noMates + 1
	}
}

// balanced picks the candidate with the fewest lower slots; of equals the first
// by name that is not due, see turns.
func (c *census) balanced(candidates []int32) (place int32, by Decider, told bool) {
	place = none
	open, best, equals := 0, int32(math.MaxInt32), 0
	for _, d := range candidates {
		t := &c.tallies[d]
		if c.barred(t) {
			told = true
			continue
		}
		open++
		switch lower := t.lower(); {
		case lower < best:
			best, equals, place, by = lower, 1, d, FirstByName
		case lower == best:
			if equals++; c.due(place) && !c.due(d) {
				place, by = d, FirstNotDue
			}
		}
	}
	switch {
	case open < 2:
		return place, OnlyDomain, told
	case equals < 2:
		return place, FewestLower, told
	default:
		return place, by, told
	}
}

// turns finds out which of the domains that are equally good for a slot are
// due: homes of slots that come next, while each of these domains gets one slot
// more. To take one of them would give it two and leave another without, in
// some prefix of the set. Homes beyond that do not count: a slot that is bound
// where it was planned, before lower ones are, must not move these.
func (c *census) turns(i int, candidates []int32) {
	c.at = int32(i) + 1
	if i >= c.last {
		return // no home is above
	}
	best, equals := int32(math.MaxInt32), 0
	for _, d := range candidates {
		if t := &c.tallies[d]; !c.barred(t) {
			switch lower := t.lower(); {
			case lower < best:
				best, equals = lower, 1
			case lower == best:
				equals++
			}
		}
	}
	size := max(c.blockSize, 1)
	for j := c.behind(i, size); equals > 1 && j < len(c.entries); {
		end, free, home := c.behind(j, size), false, false
		for ; j < end; j++ {
			e := &c.entries[j]
			if !e.homed {
				free = true
			} else if t := &c.tallies[e.domain]; t.lower() == best && t.turn != c.at && contains(candidates, e.domain) && !c.barred(t) {
				t.turn, home = c.at, true
			}
		}
		if free || home {
			equals--
		}
	}
}

// behind returns the place of the first slot behind the group of a size that
// the one at i is in.
func (c *census) behind(i, size int) int {
	last := groupOf(int(c.entries[i].ordinal), size).Last
	for i++; i < len(c.entries) && int(c.entries[i].ordinal) <= last; {
		i++
	}
	return i
}

// due tells whether a domain is the home of a slot that comes next.
func (c *census) due(d int32) bool { return c.tallies[d].turn == c.at }

// barred tells whether the shard or the cap keep the slot at hand out.
func (c *census) barred(t *tally) bool { return t.all() >= c.atMost || t.shard == c.shard }

// compare ranks two domains for the slot at hand, the better one first.
func (c *census) compare(a, b int32) int {
	x, y := &c.tallies[a], &c.tallies[b]
	return cmp.Or(cmp.Compare(c.blockScore(x), c.blockScore(y)), cmp.Compare(x.lower(), y.lower()), c.compareTurns(a, b), cmp.Compare(a, b))
}

func (c *census) compareTurns(a, b int32) int {
	switch x, y := c.due(a), c.due(b); {
	case x == y:
		return 0
	case y:
		return -1
	default:
		return 1
	}
}
