// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import "slices"

// census counts the slots of a set by domain while it goes through them in
// ordinal order, and ranks domains for the slot at hand by these counts. It
// goes through them once to plan, and again to explain: what was decided is
// judged by the very counts it was decided by.
type census struct {
	*Plan
	tallies []tally // by domain
	atMost  int32

	// The shard at hand: its number, none without shards, and the first ordinal
	// behind it.
	shardSize, shardEnd int
	shard               int32
	// The block at hand, and how many of its slots are not settled yet.
	blockSize, blockEnd int
	block, rest         int32

	reached []int32 // the last answer of candidates
}

// tally is what a census knows of a domain.
type tally struct {
	lower int32 // slots below the one at hand
	all   int32 // these, and homes of higher ones
	homes int32
	// shard is the last one with a slot there, and members are those of its
	// slots that have their home there.
	shard, members int32
	// mates are the slots of the block there, the first of them the lowest.
	block, mates, first int32
}

// census returns the counts before the first slot: those of the homes.
func (p *Plan) census() *census {
	spread := p.spread()
	c := &census{
		Plan: p, tallies: make([]tally, len(p.domains)), atMost: p.atMost(),
		shardSize: spread.ShardSize, blockSize: spread.BlockSize, shard: none,
	}
	for d, homes := range p.homes {
		c.tallies[d].homes, c.tallies[d].all = homes, homes
	}
	return c
}

// enter comes to a slot. With the first of a shard or block it looks ahead for
// the homes of the others.
func (c *census) enter(i int) {
	ordinal := int(c.slots[i].Ordinal)
	if c.shardSize > 0 && ordinal >= c.shardEnd {
		c.shard, c.shardEnd = int32(i)+1, groupOf(ordinal, c.shardSize).Last+1
		for j := i; j < len(c.slots) && int(c.slots[j].Ordinal) < c.shardEnd; j++ {
			if e := &c.entries[j]; e.homed {
				t := &c.tallies[e.domain]
				if t.shard != c.shard {
					t.shard, t.members = c.shard, 0
				}
				t.members++
			}
		}
	}
	if c.blockSize > 0 && ordinal >= c.blockEnd {
		c.block, c.blockEnd, c.rest = int32(i)+1, groupOf(ordinal, c.blockSize).Last+1, 0
		for j := i; j < len(c.slots) && int(c.slots[j].Ordinal) < c.blockEnd; j++ {
			if e := &c.entries[j]; e.homed {
				c.tallies[e.domain].join(c.block, c.slots[j].Ordinal)
			} else {
				c.rest++
			}
		}
	}
}

// take leaves a slot behind, in its domain.
func (c *census) take(i int) {
	e := &c.entries[i]
	if !e.homed {
		c.rest--
	}
	if e.domain == none {
		return
	}
	t := &c.tallies[e.domain]
	e.inDomain = t.lower
	t.lower++
	if e.homed {
		return
	}
	t.all++
	if c.shardSize > 0 {
		t.shard, t.members = c.shard, 0
	}
	if c.blockSize > 0 {
		t.join(c.block, c.slots[i].Ordinal)
	}
}

func (t *tally) join(block, ordinal int32) {
	if t.block != block {
		t.block, t.mates, t.first = block, 0, ordinal
	}
	t.mates++
	t.first = min(t.first, ordinal)
}

// candidates returns the domains that the rule and the volumes of a slot leave
// it. A volume that reaches several narrows the choice to them, even to ones
// that are not allowed: the volume is there, and a slot that waits for
// elsewhere would wait for ever.
func (c *census) candidates(i int) []int32 {
	slot := &c.slots[i]
	allowed := c.domainsOf(slot.Rule)
	if slot.Home == nil || len(slot.Home.Within) == 0 {
		return allowed
	}
	c.reached = c.reached[:0]
	for _, domain := range slot.Home.Within {
		place, _ := slices.BinarySearch(c.domains, domain)
		c.reached = append(c.reached, int32(place))
	}
	c.reached = distinct(c.reached)
	both := slices.ContainsFunc(c.reached, func(d int32) bool { return contains(allowed, d) })
	if both {
		c.reached = slices.DeleteFunc(c.reached, func(d int32) bool { return !contains(allowed, d) })
	}
	return c.reached
}

func contains(places []int32, place int32) bool {
	_, found := slices.BinarySearch(places, place)
	return found
}

// barred tells whether the shard or the cap keep the slot at hand out.
func (c *census) barred(d int32) bool {
	t := &c.tallies[d]
	return t.all >= c.atMost || t.shard == c.shard
}

// choose picks the best of the candidates that are open to the slot at hand,
// and tells whether there may be more to say about it.
func (c *census) choose(candidates []int32) (best int32, by Decider, told bool) {
	best, by = none, OnlyDomain
	var leader *tally
	for _, d := range candidates {
		t := &c.tallies[d]
		if t.all >= c.atMost || t.shard == c.shard {
			told = true
			continue
		}
		if leader == nil {
			best, leader = d, t
			continue
		}
		order, decider := c.compare(t, leader)
		if order < 0 {
			best, leader, by = d, t, decider
		} else {
			by = max(by, decider)
		}
	}
	return best, by, told
}

// compare ranks two domains for the slot at hand, the better one first, and
// returns the rule that makes the difference. Equals go by name.
func (c *census) compare(have, other *tally) (int32, Decider) {
	if c.blockSize > 0 {
		if order, by := c.compareBlock(have, other); order != 0 {
			return order, by
		}
	}
	return compareCounts(have, other)
}

func compareCounts(have, other *tally) (int32, Decider) {
	if have.lower != other.lower {
		return have.lower - other.lower, FewestLower
	}
	if have.all != other.all {
		return have.all - other.all, FewestInAll
	}
	return 0, FirstByName
}

// compareBlock keeps blocks together: where most of the block is, and of
// equals where its lowest member is; for its first member where there is room
// for all of it.
func (c *census) compareBlock(have, other *tally) (int32, Decider) {
	mine, its := int32(0), int32(0)
	if have.block == c.block {
		mine = have.mates
	}
	if other.block == c.block {
		its = other.mates
	}
	if mine != its {
		return its - mine, WithBlock
	}
	if mine > 0 {
		return have.first - other.first, WithBlock
	}
	if fits, itFits := have.all <= c.atMost-c.rest, other.all <= c.atMost-c.rest; fits != itFits {
		if fits {
			return -1, RoomForBlock
		}
		return 1, RoomForBlock
	}
	return 0, OnlyDomain
}
