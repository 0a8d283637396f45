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
	grouped bool // there are shards or blocks

	// The shard at hand: its number, none without shards, and the first ordinal
	// behind it.
	shardSize, shardEnd int
	shard               int32
	// The block at hand, and how many of its slots are not settled yet.
	blockSize, blockEnd int
	block, rest         int32

	at   int32 // the slot at hand, from 1, as turns sees it
	last int   // the place of the last slot with a home

	reached, kept []int32 // the last answers of reachable and together
}

// tally is what a census knows of a domain.
type tally struct {
	balance uint64 // slots below the one at hand, then these and homes of higher ones
	homes   int32
	// shard is the last one with a slot there, and members are those of its
	// slots that have their home there.
	shard, members int32
	// mates are the slots of the block there, the first of them the lowest.
	block, mates, first int32
	turn                int32 // the last slot for which the domain was due, from 1
}

// aLower is one slot more among the lower ones of a tally's balance.
const aLower = 1 << 32

func (t *tally) lower() int32 { return int32(t.balance >> 32) }

func (t *tally) all() int32 { return int32(t.balance & (aLower - 1)) }

// census returns the counts before the first slot: those of the homes.
func (p *Plan) census() *census {
	spread := p.spread()
	c := &census{
		Plan: p, tallies: make([]tally, len(p.domains)), atMost: p.atMost(),
		shardSize: spread.ShardSize, blockSize: spread.BlockSize, shard: none,
		grouped: spread.ShardSize > 0 || spread.BlockSize > 0,
	}
	for c.last = len(p.entries) - 1; c.last >= 0 && !p.entries[c.last].homed; {
		c.last--
	}
	for d, homes := range p.counts {
		c.tallies[d].homes, c.tallies[d].balance = homes, uint64(homes)
	}
	return c
}

// enter comes to a slot. With the first of a shard or block it looks ahead for
// the homes of the others.
func (c *census) enter(i int) {
	if c.grouped {
		c.enterGroup(i)
	}
}

func (c *census) enterGroup(i int) {
	ordinal := int(c.entries[i].ordinal)
	if c.shardSize > 0 && ordinal >= c.shardEnd {
		c.shard, c.shardEnd = int32(i)+1, groupOf(ordinal, c.shardSize).Last+1
		for j := i; j < len(c.entries) && int(c.entries[j].ordinal) < c.shardEnd; j++ {
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
		for j := i; j < len(c.entries) && int(c.entries[j].ordinal) < c.blockEnd; j++ {
			if e := &c.entries[j]; e.homed {
				c.tallies[e.domain].join(c.block, c.entries[j].ordinal)
			} else {
				c.rest++
			}
		}
	}
}

// take leaves a slot behind, in its domain.
func (c *census) take(i int) {
	e := &c.entries[i]
	if e.domain != none {
		t := &c.tallies[e.domain]
		e.inDomain = t.lower()
		t.balance += aLower
		if !e.homed {
			t.balance++
		}
	}
	if c.grouped && !e.homed {
		c.takeOfGroup(i)
	}
}

func (c *census) takeOfGroup(i int) {
	c.rest--
	e := &c.entries[i]
	if e.domain == none {
		return
	}
	t := &c.tallies[e.domain]
	if c.shardSize > 0 {
		t.shard, t.members = c.shard, 0
	}
	if c.blockSize > 0 {
		t.join(c.block, c.entries[i].ordinal)
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
// it.
func (c *census) candidates(i int) []int32 {
	e := &c.entries[i]
	if !e.bound {
		return c.domainsOf(e.rule)
	}
	return c.reachable(c.home(i).Within, c.domainsOf(e.rule))
}

// reachable narrows the allowed domains to those that a volume reaches, even to
// ones that are not allowed: the volume is there, and a slot that waits for
// elsewhere would wait for ever.
func (c *census) reachable(within []string, allowed []int32) []int32 {
	c.reached = c.reached[:0]
	for _, domain := range within {
		place, _ := slices.BinarySearch(c.domains, domain)
		c.reached = append(c.reached, int32(place))
	}
	c.reached = distinct(c.reached)
	if slices.ContainsFunc(c.reached, func(d int32) bool { return contains(allowed, d) }) {
		c.reached = slices.DeleteFunc(c.reached, func(d int32) bool { return !contains(allowed, d) })
	}
	return c.reached
}

func contains(places []int32, place int32) bool {
	_, found := slices.BinarySearch(places, place)
	return found
}
