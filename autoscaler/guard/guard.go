// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package guard decides which autoscalers may act, so that no workload is scaled
// both ways: an HPA and a VPA on one target feed each other (the VPA changes the
// requests that the HPA divides by), and two VPAs undo each other's sizes.
//
// What it promises, for any input:
//
//   - of an HPA and a VPA on one target, or of two VPAs, exactly one acts, however each of
//     them refers to it: see [Autoscaler.Owner] and [Autoscaler.Selects];
//   - the one that already acts goes on; of two new ones, the older;
//   - the answer does not depend on the order of the input, and a holder keeps its
//     target for as long as it exists and asks for it, whatever its status says;
//   - a refusal ends in the first decision after the conflict has ended.
//
// Two HPAs on one target are left to the horizontal engine, which reports their
// ambiguous selectors as autoscaling/v2 does.
//
// Whether another controller has all HPAs is another question: see JudgeCanary.
package guard

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Input is one observation of all autoscalers, and what the last decision left.
type Input struct {
	Autoscalers []Autoscaler
	Options     Options
	// History is Decision.History of the previous call, nil in a new process.
	History History
}

// Options are the relaxations people can ask for.
type Options struct {
	// AllowRecommendOnly leaves VPAs with update mode Off out of every conflict.
	AllowRecommendOnly bool
	// OptedOut are the namespaces in which an HPA and a VPA may share a target.
	// Two VPAs never may.
	OptedOut sets.Set[string]
	// Recommender is the name of the VPAs that this process runs. A refusal of any
	// other VPA cannot stop it, and its message says so.
	Recommender string
}

// Decision holds one verdict for every autoscaler of the input.
type Decision struct {
	Verdicts map[Key]Verdict
	History  History
}

// Decide settles every conflict among the autoscalers.
func Decide(in Input) Decision {
	claims := make([]*claim, len(in.Autoscalers))
	for i, a := range in.Autoscalers {
		claims[i] = newClaim(a, in)
	}
	slices.SortFunc(claims, stronger)
	sites := map[site][]stake{}
	for _, c := range claims {
		c.settle(sites, in.Options)
	}
	d := Decision{
		Verdicts: make(map[Key]Verdict, len(claims)),
		History:  make(History, len(claims)),
	}
	for _, c := range claims {
		d.Verdicts[c.Key] = c.verdict(in.Options)
		d.History[c.UID] = c.record()
	}
	return d
}

// settle comes to each claim in the order of their strength: it is allowed unless it conflicts
// with one allowed before. Sites are where those before have met it.
func (c *claim) settle(sites map[site][]stake, opts Options) {
	before := c.rivals(sites, opts)
	c.refused = slices.ContainsFunc(before, func(s stake) bool { return !s.refused })
	for _, s := range before {
		if s.refused != c.refused {
			c.face(s.claim, s.at)
			s.face(c, s.at)
		}
	}
	for _, place := range c.places() {
		sites[c.site(place)] = append(sites[c.site(place)], stake{c, place})
	}
}

// rivals are the claims at any place of this one that conflict with it, each once, strongest first.
func (c *claim) rivals(sites map[site][]stake, opts Options) []stake {
	var rivals []stake
	for _, place := range c.places() {
		for _, s := range sites[c.site(place)] {
			if sameGroup(place, s.at) && conflict(c, s.claim, opts) {
				rivals = append(rivals, s)
			}
		}
	}
	// Of several places the first is where they meet.
	slices.SortStableFunc(rivals, func(a, b stake) int { return stronger(a.claim, b.claim) })
	return slices.CompactFunc(rivals, func(a, b stake) bool { return a.claim == b.claim })
}

// stronger orders claims: who holds the target, who acts, who is older. The rest makes
// the order total: timestamps have a resolution of one second.
func stronger(a, b *claim) int {
	return cmp.Or(
		cmp.Compare(b.strength, a.strength),
		a.Created.Compare(b.Created),
		strings.Compare(string(a.UID), string(b.UID)),
		strings.Compare(string(a.Kind), string(b.Kind)),
		strings.Compare(a.Name, b.Name),
	)
}

// conflict tells whether two claims that meet exclude each other.
func conflict(a, b *claim, opts Options) bool {
	if a.bystander || b.bystander {
		return false
	}
	if a.Kind == HPA && b.Kind == HPA {
		return false
	}
	return a.Kind == b.Kind || !opts.OptedOut.Has(a.Namespace)
}

// Standing is what an earlier decision said of an autoscaler.
type Standing int

const (
	// Unknown: nothing was said that still matters.
	Unknown Standing = iota
	// Refused: it was not acted on, so its status proves no work.
	Refused
	// Bystander: it was left out of the conflict, so it did not hold the target.
	Bystander
	// Holds: it was the one that acts.
	Holds
)

// History is what must be remembered between decisions.
type History map[UID]Record

// Record is the standing of one autoscaler on the target that it named at the time.
type Record struct {
	Target   Target
	Standing Standing
}
