// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Policy is how the slots of a set are placed: a valid PlacementPolicy, or the
// default of a scheduler profile, made ready to be applied. It is never
// changed once made, so that the same pointer means the same policy.
type Policy struct {
	// Name is that of the PlacementPolicy, empty for the default.
	Name string
	// Spread distributes the ordinals over domains; nil leaves them alone.
	Spread *Spread
	// SeparateNodes keeps the slots of a set on different nodes.
	SeparateNodes Separation
	// Rules select nodes for some ordinals; the first that names one counts.
	Rules []Rule
	// Start is the order in which slots come up that were never bound before.
	Start Start
	// Home is what is kept for a slot that is away.
	Home HomePolicy
	// Quorum is how many slots preemption leaves alone.
	Quorum Quorum
}

// HomePolicy is what is kept for a slot that is away. The zero value lets
// slots return where that is possible, holds nothing and releases nothing.
type HomePolicy struct {
	// Return says how much a slot wants the node it was on last.
	Return Return
	// HoldFor is how long the room of a slot is kept that could run elsewhere.
	HoldFor time.Duration
	// ReleaseLostAfter is how long the node of a local volume is gone before its
	// claim is given up; 0 is never.
	ReleaseLostAfter time.Duration
}

// Return says how much a slot wants the node it was on last.
type Return int

// The returns: there if it has room, only there, and wherever.
const (
	ReturnPreferred Return = iota
	ReturnRequired
	ReturnNowhere
)

// Spread distributes the ordinals of a set over the values of a node label.
type Spread struct {
	// TopologyKey is the node label whose values are the domains.
	TopologyKey string
	// Domains are sorted; without them they are those of the nodes.
	Domains []string
	// BlockSize is how many ordinals in a row share a domain (Contiguous); 0
	// puts each into the next one (Interleaved).
	BlockSize int
	// Preferred lets a slot take another domain that rules, shards and caps
	// allow when there is no room in the planned one.
	Preferred bool
	// ShardSize groups ordinals; no two of a group share a domain. 0 is none.
	ShardSize int
	// MaxPerDomain bounds the slots of the set in a domain. 0 is no bound.
	MaxPerDomain int
	// LossAfter is how long a domain is without a ready node before slots
	// without volumes leave it. 0 is for ever.
	LossAfter time.Duration
}

// Separation says whether slots of one set may share a node.
type Separation int

// The separations.
const (
	MayShareNode Separation = iota
	PreferOwnNode
	NeedOwnNode
)

// Start is the order in which slots come up.
type Start struct {
	// Ordered makes a slot wait for the lower ones of its shard or set.
	Ordered bool
	// UntilReady makes it wait until they are ready, not only scheduled.
	UntilReady bool
}

// Rule selects nodes for some ordinals.
type Rule struct {
	Ordinals Ordinals
	// Selects tells whether the rule admits a node.
	Selects func(*corev1.Node) bool
	// Values are the domains that the rule names itself, by topology key, for
	// domains that have no node yet. Nil where it names none.
	Values func(topologyKey string) []string
	// Text is the selection for people.
	Text string
}

// RuleOf returns the place of the first rule that names an ordinal, or -1.
func (p *Policy) RuleOf(ordinal int) int {
	return slices.IndexFunc(p.Rules, func(r Rule) bool { return r.Ordinals.Has(ordinal) })
}

// ShardOf returns the shard of an ordinal; without shards the whole set is one.
func (p *Policy) ShardOf(ordinal int) int {
	if p.Spread == nil || p.Spread.ShardSize <= 0 {
		return 0
	}
	return ordinal / p.Spread.ShardSize
}

// Ordinals is a set of ordinals: ranges, both ends in it.
type Ordinals []OrdinalRange

// OrdinalRange is the ordinals from First to Last.
type OrdinalRange struct{ First, Last int }

// Has tells whether an ordinal is one of them.
func (o Ordinals) Has(ordinal int) bool {
	return slices.ContainsFunc(o, func(r OrdinalRange) bool { return r.First <= ordinal && ordinal <= r.Last })
}

// String is how people write them: "0-2,5,7-".
func (o Ordinals) String() string {
	parts := make([]string, len(o))
	for i, r := range o {
		switch {
		case r.Last == math.MaxInt32:
			parts[i] = fmt.Sprintf("%d-", r.First)
		case r.First == r.Last:
			parts[i] = strconv.Itoa(r.First)
		default:
			parts[i] = fmt.Sprintf("%d-%d", r.First, r.Last)
		}
	}
	return strings.Join(parts, ",")
}

// ParseOrdinals reads numbers and ranges separated by commas: "0", "0-2,5",
// "3-" for 3 and above.
func ParseOrdinals(text string) (Ordinals, error) {
	var ordinals Ordinals
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		from, ok := parseOrdinal(first)
		if !ok {
			return nil, fmt.Errorf("%q is no ordinal; want numbers and ranges like \"0\", \"0-2,5\" or \"3-\"", part)
		}
		to := from
		switch {
		case isRange && last == "":
			to = math.MaxInt32
		case isRange:
			if to, ok = parseOrdinal(last); !ok || to < from {
				return nil, fmt.Errorf("%q is no range of ordinals; want the lower number first, as in \"0-2\"", part)
			}
		}
		ordinals = append(ordinals, OrdinalRange{First: from, Last: to})
	}
	slices.SortFunc(ordinals, func(a, b OrdinalRange) int { return cmp.Compare(a.First, b.First) })
	return ordinals, nil
}
