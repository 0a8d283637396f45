// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"cmp"
	"fmt"
	"math/bits"
	"math/rand"
	"slices"
	"strings"
	"testing"
)

// oracle plans as the rules are written down, by trying everything: for each
// slot in order the first in rank of the domains with which as many can still
// be placed, the lower ordinals first.
type oracle struct {
	in      PlanInput
	domains []string // of each slot so far, homes of all; empty is none
	most    int      // the most slots that were ever placed together
}

func (o *oracle) plan() string {
	o.domains = make([]string, len(o.in.Slots))
	for i, slot := range o.in.Slots {
		if slot.Home != nil {
			o.domains[i] = slot.Home.Domain
		}
	}
	goal := o.best(0, 0)
	if bits.OnesCount(uint(goal)) != o.most {
		return "the first in order are not the most"
	}
	var placed uint
	for i := range o.in.Slots {
		if o.homed(i) {
			continue
		}
		ranked := o.open(i)
		slices.SortFunc(ranked, func(a, b string) int { return o.rank(i, a, b) })
		for _, d := range ranked {
			o.domains[i] = d
			if next := placed | o.bit(i); o.best(i+1, next) == goal {
				placed = next
				break
			}
			o.domains[i] = ""
		}
	}
	var text []string
	for _, d := range o.domains {
		text = append(text, cmp.Or(d, "-"))
	}
	return strings.Join(text, " ")
}

// bit weighs lower ordinals more than all higher ones together.
func (o *oracle) bit(i int) uint { return 1 << (len(o.in.Slots) - i) }

func (o *oracle) homed(i int) bool {
	return o.in.Slots[i].Home != nil && o.in.Slots[i].Home.Domain != ""
}

// best returns the slots that can be placed together, given those below i.
func (o *oracle) best(i int, placed uint) uint {
	if i == len(o.in.Slots) {
		o.most = max(o.most, bits.OnesCount(placed))
		return placed
	}
	if o.homed(i) {
		return o.best(i+1, placed)
	}
	best := o.best(i+1, placed)
	for _, d := range o.open(i) {
		o.domains[i] = d
		best = max(best, o.best(i+1, placed|o.bit(i)))
		o.domains[i] = ""
	}
	return best
}

// open are the domains that slot i may take.
func (o *oracle) open(i int) []string {
	slot, spread := o.in.Slots[i], o.in.Policy.Spread
	allowed := distinct(slices.Clone(o.in.Allowed[slot.Rule]))
	if slot.Home != nil && len(slot.Home.Within) > 0 {
		both := slices.DeleteFunc(slices.Clone(allowed), func(d string) bool { return !slices.Contains(slot.Home.Within, d) })
		if allowed = both; len(both) == 0 {
			allowed = slices.Clone(slot.Home.Within)
		}
	}
	return slices.DeleteFunc(allowed, func(d string) bool {
		n := 0
		for j, other := range o.domains {
			if other != d {
				continue
			}
			if n++; o.group(i, j, spread.ShardSize) {
				return true
			}
		}
		return spread.MaxPerDomain > 0 && n >= spread.MaxPerDomain
	})
}

// group tells whether two slots are in one group of a size.
func (o *oracle) group(i, j, size int) bool {
	return size > 0 && int(o.in.Slots[i].Ordinal)/size == int(o.in.Slots[j].Ordinal)/size
}

// rank compares domains for slot i.
func (o *oracle) rank(i int, a, b string) int {
	x, y := o.score(i, a), o.score(i, b)
	return cmp.Or(slices.Compare(x, y), strings.Compare(a, b))
}

// score is what slot i looks at in a domain, less is better.
func (o *oracle) score(i int, d string) []int {
	spread := o.in.Policy.Spread
	var mates, first, rest, lower, all int
	for j, other := range o.domains {
		mate := o.group(i, j, spread.BlockSize)
		if mate && !o.homed(j) && j >= i {
			rest++
		}
		if other != d || (j >= i && !o.homed(j)) {
			continue
		}
		all++
		if j < i {
			lower++
		}
		if mate {
			if mates++; mates == 1 {
				first = j
			}
		}
	}
	cramped := 0
	if mates == 0 && spread.BlockSize > 0 && spread.MaxPerDomain > 0 && all+rest > spread.MaxPerDomain {
		cramped = 1
	}
	return []int{-mates, first, cramped, lower, o.due(i, d)}
}

// lower counts the slots below i in a domain.
func (o *oracle) lower(i int, d string) int {
	n := 0
	for _, other := range o.domains[:i] {
		if other == d {
			n++
		}
	}
	return n
}

// due is 1 for one of the equally good domains that is the home of a slot that
// comes while each of them gets one slot, or block, more.
func (o *oracle) due(i int, domain string) int {
	var equals []string
	for _, d := range o.open(i) {
		switch have := o.lower(i, d); {
		case len(equals) == 0 || have < o.lower(i, equals[0]):
			equals = []string{d}
		case have == o.lower(i, equals[0]):
			equals = append(equals, d)
		}
	}
	size := max(o.in.Policy.Spread.BlockSize, 1)
	to := len(equals)
	for j := i + 1; j < len(o.in.Slots) && to > 1; {
		if o.group(i, j, size) {
			j++
			continue
		}
		spends := false
		for begin := j; j < len(o.in.Slots) && o.group(begin, j, size); j++ {
			at := slices.Index(equals, o.domains[j])
			if !o.homed(j) {
				spends = true
			} else if at >= 0 {
				if equals[at] == domain {
					return 1
				}
				equals[at], spends = "", true
			}
		}
		if spends {
			to--
		}
	}
	return 0
}

func TestPlanIsTheBestThereIs(t *testing.T) {
	r := rand.New(rand.NewSource(9))
	complete, exact := 0, 0
	for range stories {
		a := randomAsked(r, 7, 4)
		in := a.input(t)
		plan := in.Plan()
		want := (&oracle{in: in}).plan()
		if got := written(plan); got != want {
			t.Fatalf("the plan is %s, want %s\nspread %+v\nallowed %v\nslots %s", got, want, a.spread, in.Allowed, facts(in))
		}
		if !strings.Contains(want, "-") {
			complete++
		}
		for p := range plan.All() {
			if slices.ContainsFunc(p.Bars, func(b Bar) bool { return b.By == KeptForHigher }) {
				exact++
				break
			}
		}
	}
	if complete < stories/10 || complete > stories*9/10 || exact < stories/100 {
		t.Errorf("%d of %d plans are complete and %d needed exactness: the stories are too tame", complete, stories, exact)
	}
}

// facts writes what a plan was made of.
func facts(in PlanInput) string {
	var text []string
	for _, slot := range in.Slots {
		home := "free"
		if slot.Home != nil {
			home = cmp.Or(slot.Home.Domain, strings.Join(slot.Home.Within, "|"))
		}
		text = append(text, fmt.Sprintf("%d/%d:%s", slot.Ordinal, slot.Rule, home))
	}
	return strings.Join(text, " ")
}
