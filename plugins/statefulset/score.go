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

// balanced picks the candidate with the fewest lower slots, then the fewest of
// all, then the first by name. What tells the best from the next best tells it
// from all.
func (c *census) balanced(candidates []int32) (place int32, by Decider, told bool) {
	place = none
	best, next := uint64(math.MaxUint64), uint64(math.MaxUint64)
	for _, d := range candidates {
		t := &c.tallies[d]
		switch {
		case c.barred(t):
			told = true
		case t.balance < best:
			best, next, place = t.balance, best, d
		default:
			next = min(next, t.balance)
		}
	}
	switch {
	case next == math.MaxUint64:
		return place, OnlyDomain, told
	case best == next:
		return place, FirstByName, told
	case best/aLower == next/aLower:
		return place, FewestInAll, told
	default:
		return place, FewestLower, told
	}
}

// barred tells whether the shard or the cap keep the slot at hand out.
func (c *census) barred(t *tally) bool { return t.all() >= c.atMost || t.shard == c.shard }

// compare ranks two domains for the slot at hand, the better one first.
func (c *census) compare(a, b int32) int {
	x, y := &c.tallies[a], &c.tallies[b]
	return cmp.Or(cmp.Compare(c.blockScore(x), c.blockScore(y)), cmp.Compare(x.balance, y.balance), cmp.Compare(a, b))
}
