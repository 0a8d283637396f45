// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"
	"strings"
)

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
	// Fallback are the other domains that a slot without a home may take when
	// the spread is Preferred, the best first. A slot without Domain has none:
	// it would take what is planned for a lower ordinal.
	Fallback []string

	// Shard and Block are the ordinals of the slot's, where the policy has
	// them; AtMost is its cap on the slots of a domain.
	Shard, Block OrdinalRange
	AtMost       int
	// Beside is the lowest other ordinal of the block in Domain, when By is
	// WithBlock.
	Beside int
	// Bars are what keeps the slot out of domains that it would take before
	// Domain, or what a home in Domain goes against: a few, and More are left
	// out.
	Bars []Bar
	More int
	// Rule is the rule that decided, or that the home goes against.
	Rule *Narrowing
}

// Bar is what keeps a slot out of a domain.
type Bar struct {
	Domain string
	By     Barrier
	// Ordinal is that of the ShardMember.
	Ordinal int
	// Holds is how many slots of the set the DomainFull has.
	Holds int
}

// Barrier is a kind of Bar.
type Barrier int

// The barriers in the order in which they are looked at.
const (
	// ShardMember is in the domain.
	ShardMember Barrier = iota
	// DomainFull holds as many slots as the policy allows, or more.
	DomainFull
	// KeptForHigher is a domain that a higher ordinal needs, which could not
	// have another.
	KeptForHigher
)

// Narrowing is what a rule of the policy leaves its slots.
type Narrowing struct {
	// Number counts from 1.
	Number   int
	Ordinals Ordinals
	Text     string
	// Allows are a few of the allowed domains, and More are left out.
	Allows []string
	More   int
}

// Decider is the rule that chose the domain of a slot without a home.
type Decider int32

// The rules in their order, after the case where there was nothing to choose.
const (
	OnlyDomain Decider = iota
	WithBlock
	RoomForBlock
	FewestLower
	FirstNotDue
	FirstByName
)

// String says the rule inside a reason.
func (d Decider) String() string {
	return [...]string{
		"the only domain", "most of its block", "room for the rest of its block",
		"fewest of its lower ordinals", "first by name, but for homes of the ordinals next", "first by name",
	}[d]
}

// maxNamed is how many domains a reason names before it counts the others.
const maxNamed = 3

// String reads well inside a reason: "ordinal 5 of prod/db belongs in zone-c
// (fewest of its lower ordinals: 1 of 5)".
func (p Placement) String() string {
	if p.Domain == "" {
		return fmt.Sprintf("%s has no domain (%s)", p.Slot, p.Why())
	}
	return fmt.Sprintf("%s belongs in %s (%s)", p.Slot, p.Domain, p.Why())
}

// Why explains the placement in a few words, for the end of a reason.
func (p Placement) Why() string {
	switch {
	case p.Home.Domain != "":
		return p.Home.why() + p.against()
	case p.Domain == "" && len(p.Bars) == 0:
		return p.nothingAllowed()
	case p.Domain == "" && len(p.Bars) == 1:
		return "its only allowed domain is taken: " + p.bars() + p.narrowed()
	case p.Domain == "":
		return fmt.Sprintf("each of its %d allowed domains is taken: %s%s", len(p.Bars)+p.More, p.bars(), p.narrowed())
	case p.By == OnlyDomain && len(p.Bars) > 0:
		return "the only domain left: " + p.bars() + p.narrowed()
	case p.By == OnlyDomain && p.Rule != nil && len(p.Home.Within) == 0:
		return p.Rule.String()
	case len(p.Bars) > 0:
		return p.choice() + "; before it: " + p.bars() + p.narrowed()
	default:
		return p.choice() + p.narrowed()
	}
}

// choice says how Domain differs from the others that were left.
func (p Placement) choice() string {
	switch p.By {
	case OnlyDomain:
		return p.By.String()
	case WithBlock:
		return fmt.Sprintf("with ordinal %d of its block %s", p.Beside, p.Block)
	case RoomForBlock:
		return fmt.Sprintf("%s %s", p.By, p.Block)
	case FewestLower:
		return fmt.Sprintf("%s: %d of %d", p.By, p.InDomain, p.Lower)
	default:
		if p.Lower == 0 {
			return "the lowest ordinal; " + p.By.String()
		}
		return fmt.Sprintf("%d of its %d lower ordinals are there, as few as elsewhere; %s", p.InDomain, p.Lower, p.By)
	}
}

// nothingAllowed says why a slot has no domain to begin with.
func (p Placement) nothingAllowed() string {
	if p.Rule != nil {
		return p.Rule.String()
	}
	return "no node that it may use names a domain"
}

// narrowed says what the slot's rule and its volumes leave it.
func (p Placement) narrowed() string {
	var text string
	if p.Rule != nil {
		text += "; " + p.Rule.String()
	}
	if len(p.Home.Within) > 0 {
		within := p.Home.Within
		text += fmt.Sprintf("; volume %q of claim %q reaches only %s", p.Home.Volume, p.Home.Claim,
			list(within[:min(len(within), maxNamed)], max(len(within)-maxNamed, 0)))
	}
	return text
}

// bars says what stands in the way, domain by domain.
func (p Placement) bars() string {
	texts := make([]string, len(p.Bars))
	for i, bar := range p.Bars {
		switch bar.By {
		case ShardMember:
			texts[i] = fmt.Sprintf("%s by ordinal %d of its shard %s", bar.Domain, bar.Ordinal, p.Shard)
		case DomainFull:
			texts[i] = fmt.Sprintf("%s holds %d of at most %d", bar.Domain, bar.Holds, p.AtMost)
		case KeptForHigher:
			texts[i] = bar.Domain + " is kept for a higher ordinal"
		}
	}
	return list(texts, p.More)
}

// against says what the policy would not have allowed: the data is where it is.
func (p Placement) against() string {
	var text string
	for _, bar := range p.Bars {
		if bar.By == ShardMember {
			text += fmt.Sprintf(", beside ordinal %d of its shard %s", bar.Ordinal, p.Shard)
		} else {
			text += fmt.Sprintf(", which holds %d of at most %d", bar.Holds, p.AtMost)
		}
	}
	if p.Rule != nil {
		text += ", but " + p.Rule.String()
	}
	return text
}

// String reads well inside a reason: "rule 1 (ordinals 0: capacity In
// (on-demand)) allows only zone-b".
func (n *Narrowing) String() string {
	var selection string
	if n.Text != "" {
		selection = ": " + n.Text
	}
	rule := fmt.Sprintf("rule %d (ordinals %s%s)", n.Number, n.Ordinals, selection)
	if len(n.Allows) == 0 {
		return rule + " leaves no domain"
	}
	return rule + " allows only " + list(n.Allows, n.More)
}

// list writes a few of many.
func list(texts []string, more int) string {
	text := strings.Join(texts, ", ")
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// String is how people write the range: "0-2", "5", "7-".
func (r OrdinalRange) String() string { return Ordinals{r}.String() }
