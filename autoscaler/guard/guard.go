// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package guard decides which autoscalers may act, so that no workload is scaled
// both ways: an HPA and a VPA on one target feed each other (the VPA changes the
// requests that the HPA divides by), and two VPAs undo each other's sizes.
//
// What it promises, for any input:
//
//   - of an HPA and a VPA on one target, or of two VPAs, exactly one acts;
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
	claims := map[site][]claim{}
	for _, a := range in.Autoscalers {
		c := newClaim(a, in)
		claims[c.site()] = append(claims[c.site()], c)
	}
	d := Decision{
		Verdicts: make(map[Key]Verdict, len(in.Autoscalers)),
		History:  make(History, len(in.Autoscalers)),
	}
	for _, rivals := range claims {
		settle(rivals, in.Options)
		for _, c := range rivals {
			d.Verdicts[c.Key] = c.verdict(in.Options)
			d.History[c.UID] = c.record()
		}
	}
	return d
}

// settle hands the target to the strongest claims: in order of strength, each one is
// allowed unless it conflicts with one allowed before.
func settle(rivals []claim, opts Options) {
	slices.SortFunc(rivals, stronger)
	for i := range rivals {
		c := &rivals[i]
		c.refused = slices.ContainsFunc(rivals[:i], func(w claim) bool {
			return !w.refused && conflict(&w, c, opts)
		})
	}
	for i := range rivals {
		for j := range rivals {
			if w, l := &rivals[i], &rivals[j]; !w.refused && l.refused && conflict(w, l, opts) {
				w.others = append(w.others, l)
				l.others = append(l.others, w)
			}
		}
	}
}

// stronger orders claims: who holds the target, who acts, who is older. The rest makes
// the order total: timestamps have a resolution of one second.
func stronger(a, b claim) int {
	return cmp.Or(
		cmp.Compare(b.strength, a.strength),
		a.Created.Compare(b.Created),
		strings.Compare(string(a.UID), string(b.UID)),
		strings.Compare(string(a.Kind), string(b.Kind)),
		strings.Compare(a.Name, b.Name),
	)
}

func conflict(a, b *claim, opts Options) bool {
	if a.bystander || b.bystander || !sameGroup(a.target(), b.target()) {
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
