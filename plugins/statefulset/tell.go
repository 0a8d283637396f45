// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import "slices"

// tell adds to a placement what kept the slot at hand out of other domains.
func (c *census) tell(i int, p *Placement) {
	e := &c.entries[i]
	switch {
	case !e.told:
		return
	case e.homed:
		c.tellHome(i, p)
		return
	}
	candidates := c.candidates(i)
	c.turns(i, candidates)
	for _, d := range candidates {
		if !c.before(d, e) {
			continue
		}
		if len(p.Bars) == maxNamed {
			p.More++
			continue
		}
		p.Bars = append(p.Bars, c.bar(i, d, p.Shard))
	}
	if c.ruled(i) {
		p.Rule = c.narrowing(c.entries[i].rule)
	}
}

// tellHome adds what the home of the slot at hand goes against.
func (c *census) tellHome(i int, p *Placement) {
	e := &c.entries[i]
	if c.shardSize > 0 {
		if member, ok := c.neighbour(i, e.domain, p.Shard); ok {
			p.Bars = append(p.Bars, Bar{Domain: p.Domain, By: ShardMember, Ordinal: member})
		}
	}
	if t := &c.tallies[e.domain]; t.homes > c.atMost {
		p.Bars = append(p.Bars, Bar{Domain: p.Domain, By: DomainFull, Holds: int(t.homes)})
	}
	if c.unruled(i) {
		p.Rule = c.narrowing(c.entries[i].rule)
	}
}

// breaks tells whether a home goes against the shard, the cap or the rule.
func (c *census) breaks(i int) bool {
	t := &c.tallies[c.entries[i].domain]
	return t.homes > c.atMost || (c.shardSize > 0 && t.members > 1) || c.unruled(i)
}

// unruled tells whether a home is in a domain that only the slot's rule
// forbids. One that nobody may have, since its nodes are gone, says nothing
// about the rule.
func (c *census) unruled(i int) bool {
	rule, domain := c.entries[i].rule, c.entries[i].domain
	return rule > 0 && contains(c.domainsOf(0), domain) && !contains(c.domainsOf(rule), domain)
}

// before tells whether the slot at hand would be in d rather than where it is.
func (c *census) before(d int32, e *entry) bool {
	if d == e.domain {
		return false
	}
	if e.domain == none || e.by == OnlyDomain {
		return true
	}
	return c.compare(d, e.domain) < 0
}

// ruled tells whether the slot at hand would be elsewhere without its rule.
func (c *census) ruled(i int) bool {
	rule, e := c.entries[i].rule, &c.entries[i]
	return rule > 0 && slices.ContainsFunc(c.domainsOf(0), func(d int32) bool {
		return c.before(d, e) && !contains(c.domainsOf(rule), d)
	})
}

// bar says what keeps the slot at hand out of a domain.
func (c *census) bar(i int, d int32, shard OrdinalRange) Bar {
	bar, t := Bar{Domain: c.domains[d], By: KeptForHigher}, &c.tallies[d]
	switch {
	case c.shardSize > 0 && t.shard == c.shard:
		bar.By = ShardMember
		bar.Ordinal, _ = c.neighbour(i, d, shard)
	case t.all() >= c.atMost:
		bar.By, bar.Holds = DomainFull, int(t.all())
	}
	return bar
}

// narrowing says what a rule leaves its slots.
func (p *Plan) narrowing(rule int32) *Narrowing {
	n := &Narrowing{Number: int(rule)}
	if p.policy != nil && n.Number <= len(p.policy.Rules) {
		n.Ordinals, n.Text = p.policy.Rules[n.Number-1].Ordinals, p.policy.Rules[n.Number-1].Text
	}
	for _, d := range p.domainsOf(rule) {
		if len(n.Allows) < maxNamed {
			n.Allows = append(n.Allows, p.domains[d])
		} else {
			n.More++
		}
	}
	return n
}

// neighbour returns the lowest other slot of a shard or block that is in a
// domain: at home, or planned before slot i.
func (p *Plan) neighbour(i int, domain int32, group OrdinalRange) (int, bool) {
	j, _ := p.find(group.First)
	for ; j < len(p.entries) && int(p.entries[j].ordinal) <= group.Last; j++ {
		if e := &p.entries[j]; j != i && e.domain == domain && (e.homed || j < i) {
			return int(p.entries[j].ordinal), true
		}
	}
	return 0, false
}

// fallback ranks the domains, but for its own, that are open to the slot at
// hand where only homes count.
func (c *census) fallback(i int) []string {
	e := &c.entries[i]
	var open []int32
	candidates := c.candidates(i)
	c.turns(i, candidates)
	for _, d := range candidates {
		t := &c.tallies[d]
		if sibling := c.shardSize > 0 && t.shard == c.shard && t.members > 0; d != e.domain && t.homes < c.atMost && !sibling {
			open = append(open, d)
		}
	}
	slices.SortFunc(open, c.compare)
	var domains []string
	for _, d := range open {
		domains = append(domains, c.domains[d])
	}
	return domains
}
