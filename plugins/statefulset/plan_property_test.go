// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const stories = 2000

var letters = []string{"a", "b", "c", "d", "e", "f", "g"}

// some returns a few of the values, in any order.
func some(r *rand.Rand, values []string, atLeast int) []string {
	chosen := slices.Clone(values)
	r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	return chosen[:min(len(chosen), atLeast+r.Intn(len(chosen)+1-atLeast))]
}

// randomSet makes a set without homes, caps and rules.
func randomSet(r *rand.Rand) asked {
	return asked{first: r.Intn(3) * 5, n: 1 + r.Intn(40), allowed: some(r, letters, 1)}
}

// randomAsked makes a set of up to so many slots and domains with any policy,
// and anything that may have happened to it.
func randomAsked(r *rand.Rand, slots, domains int) asked {
	a := asked{first: r.Intn(4), n: 1 + r.Intn(slots), allowed: some(r, letters[:domains], 0), homes: map[int]*Home{}}
	if r.Intn(2) == 0 {
		a.spread.MaxPerDomain = 1 + r.Intn(1+a.n/2)
	}
	switch r.Intn(3) {
	case 0:
		a.spread.ShardSize = 1 + r.Intn(domains)
	case 1:
		a.spread.BlockSize = 1 + r.Intn(4)
	}
	if r.Intn(2) == 0 {
		for _, ordinals := range some(r, []string{"0", "1-2,5", "3-", "2,4,6"}, 1) {
			a.rules = append(a.rules, ruled{ordinals, some(r, a.allowed, 0)})
		}
	}
	for ordinal := a.first; ordinal < a.first+a.n; ordinal++ {
		switch r.Intn(8) {
		case 0:
			a.homes[ordinal] = at(letters[r.Intn(domains)])
		case 1:
			a.homes[ordinal] = reaching(some(r, letters[:domains], 1)...)
		}
	}
	return a
}

func TestEveryPrefixIsBalanced(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range stories {
		a := randomSet(r)
		// Shards and caps that can be kept do not disturb the balance.
		a.spread = Spread{ShardSize: r.Intn(len(a.allowed) + 1), MaxPerDomain: (a.n-1)/len(a.allowed) + 1}
		counts := map[string]int{}
		for _, d := range a.allowed {
			counts[d] = 0
		}
		for p := range a.input(t).Plan().All() {
			counts[p.Domain]++
			values := slices.Collect(maps.Values(counts))
			if slices.Max(values)-slices.Min(values) > 1 {
				t.Fatalf("after %s the domains hold %v\nasked %+v", p.Slot, counts, a)
			}
		}
	}
}

func TestBlocksStayTogetherWhereTheyCan(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	whole, split := 0, 0
	for range stories {
		a := randomSet(r)
		a.spread.BlockSize = 2 + r.Intn(3)
		a.spread.MaxPerDomain = a.spread.BlockSize + r.Intn(2*a.spread.BlockSize)
		counts, blocks := map[string]int{}, map[int][]Placement{}
		for p := range a.input(t).Plan().All() {
			blocks[p.Block.First] = append(blocks[p.Block.First], p)
		}
		for _, first := range slices.Sorted(maps.Keys(blocks)) {
			block := blocks[first]
			roomy := slices.ContainsFunc(a.allowed, func(d string) bool { return counts[d]+len(block) <= a.spread.MaxPerDomain })
			together := !slices.ContainsFunc(block, func(p Placement) bool { return p.Domain != block[0].Domain })
			if roomy && (!together || block[0].Domain == "") {
				t.Fatalf("there was room for block %s, but it is %v\nasked %+v", block[0].Block, block, a)
			}
			if together {
				whole++
			} else {
				split++
			}
			for _, p := range block {
				counts[p.Domain]++
			}
		}
	}
	if whole == 0 || split == 0 {
		t.Errorf("%d blocks whole and %d split: the stories are too tame", whole, split)
	}
}

func TestHomesAreKeptWhateverTheDomains(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	for range stories {
		a := randomAsked(r, 20, 5)
		for _, domains := range [][]string{a.allowed, append(slices.Clone(a.allowed), "h"), a.allowed[min(1, len(a.allowed)):], nil} {
			a.allowed = domains
			plan := a.input(t).Plan()
			for ordinal, home := range a.homes {
				if p, _ := plan.Of(ordinal); home.Domain != "" && p.Domain != home.Domain {
					t.Fatalf("%s moved from its home %s with domains %v", p, home.Domain, domains)
				}
			}
		}
	}
}

func TestSamePlanForSameFacts(t *testing.T) {
	r := rand.New(rand.NewSource(4))
	for range stories {
		in := randomAsked(r, 20, 5).input(t)
		shuffled := in
		shuffled.Allowed = nil
		for _, domains := range in.Allowed {
			again := slices.Concat(domains, domains[:len(domains)/2])
			r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
			shuffled.Allowed = append(shuffled.Allowed, again)
		}
		if diff := cmp.Diff(slices.Collect(in.Plan().All()), slices.Collect(shuffled.Plan().All())); diff != "" {
			t.Fatalf("the order of the domains changes the plan (-want +got):\n%s", diff)
		}
	}
}

// keeps fails the test where a slot without a home breaks the policy.
func keeps(t *testing.T, in PlanInput, plan Plan) {
	t.Helper()
	placements := slices.Collect(plan.All())
	holds := map[string]int{}
	for _, p := range placements {
		holds[p.Domain]++
	}
	spread := in.Policy.Spread
	for i, p := range placements {
		if p.Home.Domain != "" || p.Domain == "" {
			continue
		}
		if allowed := in.Allowed[in.Slots[i].Rule]; !slices.Contains(allowed, p.Domain) && !slices.Contains(p.Home.Within, p.Domain) {
			t.Fatalf("%s, which is not of %v", p, allowed)
		}
		if spread.MaxPerDomain > 0 && holds[p.Domain] > spread.MaxPerDomain {
			t.Fatalf("%s, with %d there of at most %d", p, holds[p.Domain], spread.MaxPerDomain)
		}
		for _, other := range placements {
			if spread.ShardSize > 0 && other.Slot != p.Slot && other.Shard == p.Shard && other.Domain == p.Domain {
				t.Fatalf("%s, and %s", p, other)
			}
		}
	}
}

func TestShardsCapsAndRulesAreKept(t *testing.T) {
	r := rand.New(rand.NewSource(5))
	for range stories {
		in := randomAsked(r, 30, 6).input(t)
		keeps(t, in, in.Plan())
	}
}

// Whoever carries out a plan ordinal by ordinal, in order, never changes it.
func TestPlanIsStableWhileItIsCarriedOut(t *testing.T) {
	r := rand.New(rand.NewSource(6))
	for range stories / 4 {
		in := randomAsked(r, 20, 5).input(t)
		plan := in.Plan()
		want := written(plan)
		for p := range plan.All() {
			if p.Domain == "" {
				continue
			}
			i := slices.IndexFunc(in.Slots, func(s SlotFacts) bool { return int(s.Ordinal) == p.Slot.Ordinal })
			in.Slots[i].Home = at(p.Domain)
			if got := written(in.Plan()); got != want {
				t.Fatalf("with %s done the plan turns from %s into %s", p, want, got)
			}
		}
	}
}

// Scaling never moves the ordinals that stay, where the policy can be kept.
func TestScalingKeepsThePrefix(t *testing.T) {
	r := rand.New(rand.NewSource(7))
	for range stories {
		a := randomSet(r)
		a.spread = Spread{MaxPerDomain: a.n + 10}
		if r.Intn(2) == 0 {
			a.spread.BlockSize = 1 + r.Intn(4)
		} else {
			a.spread.ShardSize = r.Intn(len(a.allowed) + 1)
		}
		before := written(a.input(t).Plan())
		a.n += 1 + r.Intn(10)
		if after := written(a.input(t).Plan()); !strings.HasPrefix(after, before) {
			t.Fatalf("growing turns %s into %s", before, after)
		}
	}
}

// Every reason is short, and what it says of other slots is so.
func TestReasonsAreTrue(t *testing.T) {
	r := rand.New(rand.NewSource(8))
	seen := map[Barrier]int{}
	for range stories {
		in := randomAsked(r, 20, 6).input(t)
		plan := in.Plan()
		all := slices.Collect(plan.All())
		for _, p := range all {
			if why := p.Why(); len(why) == 0 || len(why) > 400 {
				t.Fatalf("a reason of %d letters: %s", len(why), why)
			}
			one, _ := plan.Of(p.Slot.Ordinal)
			if diff := cmp.Diff(p, one); diff != "" {
				t.Fatalf("in a row and one by one (-row +one):\n%s", diff)
			}
			for _, bar := range p.Bars {
				seen[bar.By]++
				if !isSo(bar, p, all) {
					t.Fatalf("%s: %+v is not so: %s", p, bar, written(plan))
				}
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("seen barriers %v, want all three", seen)
	}
}

// isSo tells whether what a bar says of other slots is so.
func isSo(bar Bar, p Placement, all []Placement) bool {
	holds, member := 0, false
	for _, other := range all {
		if other.Domain != bar.Domain {
			continue
		}
		holds++
		if other.Slot.Ordinal == bar.Ordinal && other.Slot != p.Slot && other.Shard == p.Shard {
			member = other.Home.Domain != "" || other.Lower < p.Lower
		}
	}
	switch bar.By {
	case ShardMember:
		return member
	case DomainFull:
		return bar.Holds == holds && holds >= p.AtMost
	default: // KeptForHigher
		return p.Domain != "" && p.Home.Domain == "" && slices.ContainsFunc(all[p.Lower+1:], func(other Placement) bool {
			return other.Domain == bar.Domain
		})
	}
}
