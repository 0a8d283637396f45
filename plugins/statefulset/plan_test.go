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

// domainsOf writes a plan as the demo does: one letter per ordinal.
func domainsOf(p Plan) string {
	var letters []string
	for placement := range p.All() {
		letters = append(letters, placement.Domain)
	}
	return strings.Join(letters, " ")
}

func at(domain string) *Home { return &Home{Domain: domain, Tie: RunningPod, Node: "n"} }

func TestPlan(t *testing.T) {
	abc := []string{"c", "a", "b", "a"}
	tests := map[string]struct {
		in   PlanInput
		want string
	}{
		"interleaved":                              {PlanInput{Replicas: 7, Domains: abc}, "a b c a b c a"},
		"one domain":                               {PlanInput{Replicas: 3, Domains: []string{"a"}}, "a a a"},
		"no replicas, one asked":                   {PlanInput{Asked: 0, Domains: abc}, "a"},
		"start is the first":                       {PlanInput{Start: 5, Replicas: 4, Asked: 5, Domains: abc}, "a b c a"},
		"asked before the set grew":                {PlanInput{Replicas: 2, Asked: 4, Domains: abc}, "a b c a b"},
		"asked below the start":                    {PlanInput{Start: 5, Replicas: 2, Asked: 1, Domains: abc}, "a b c"},
		"asked far beyond any set":                 {PlanInput{Replicas: 2, Asked: 2_000_000_000, Domains: abc}, "a b c"},
		"homes stay, others fill":                  {PlanInput{Replicas: 5, Domains: abc, Homes: map[int]*Home{0: at("b"), 1: at("b")}}, "b b a c a"},
		"higher homes break the tie":               {PlanInput{Replicas: 3, Domains: abc, Homes: map[int]*Home{1: at("a"), 2: at("b")}}, "c a b"},
		"home outside the domains":                 {PlanInput{Replicas: 3, Domains: abc, Homes: map[int]*Home{1: at("z")}}, "a z b"},
		"home beyond the set":                      {PlanInput{Replicas: 2, Domains: abc, Homes: map[int]*Home{7: at("a")}}, "a b"},
		"volume in two domains":                    {PlanInput{Replicas: 3, Domains: abc, Homes: map[int]*Home{0: {Within: []string{"c", "b"}}}}, "b a c"},
		"volume in domains that are not the set's": {PlanInput{Replicas: 2, Domains: abc, Homes: map[int]*Home{1: {Within: []string{"z", "y"}}}}, "a y"},
		"nowhere":          {PlanInput{Replicas: 2}, " "},
		"nowhere but home": {PlanInput{Replicas: 2, Homes: map[int]*Home{1: at("a")}}, " a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, domainsOf(tt.in.Plan())); diff != "" {
				t.Errorf("domains (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanIsBounded(t *testing.T) {
	plan := PlanInput{Replicas: 2_000_000_000, Asked: 1_999_999_999, Domains: []string{"a", "b"}}.Plan()
	if got := len(plan.entries); got != MaxOrdinals+1 {
		t.Errorf("%d placements, want %d", got, MaxOrdinals+1)
	}
	if p, ok := plan.Of(1_999_999_999); !ok || p.Domain == "" {
		t.Errorf("the ordinal asked about is not planned: %v, %t", p, ok)
	}
}

func TestPlacementString(t *testing.T) {
	set := SetKey{"prod", "db"}
	tests := map[string]struct {
		in   PlanInput
		want string
	}{
		"fewest lower": {
			PlanInput{Set: set, Replicas: 5, Asked: 4, Domains: []string{"zone-a", "zone-b"}, Homes: map[int]*Home{0: at("zone-a"), 1: at("zone-a")}},
			"ordinal 4 of prod/db belongs in zone-a (2 of its 4 lower ordinals are there, as few as elsewhere; first by name)",
		},
		"fewest of its lower ordinals": {
			PlanInput{Set: set, Replicas: 5, Asked: 4, Domains: []string{"zone-a", "zone-b"}, Homes: map[int]*Home{0: at("zone-a"), 1: at("zone-a"), 2: at("zone-a")}},
			"ordinal 4 of prod/db belongs in zone-b (fewest of its lower ordinals: 1 of 4)",
		},
		"fewest in all": {
			PlanInput{Set: set, Replicas: 2, Asked: 0, Domains: []string{"zone-a", "zone-b"}, Homes: map[int]*Home{1: at("zone-a")}},
			"ordinal 0 of prod/db belongs in zone-b (0 of its 0 lower ordinals are there, as few as elsewhere; fewest of all ordinals)",
		},
		"only one": {
			PlanInput{Set: set, Asked: 0, Domains: []string{"zone-a"}},
			"ordinal 0 of prod/db belongs in zone-a (the only domain)",
		},
		"volume": {
			PlanInput{Set: set, Asked: 0, Homes: map[int]*Home{0: {Domain: "zone-c", Tie: BoundVolume, Claim: "data-db-0", Volume: "pv-x"}}},
			`ordinal 0 of prod/db belongs in zone-c (volume "pv-x" of claim "data-db-0" is there)`,
		},
		"none": {PlanInput{Set: set, Asked: 0}, "ordinal 0 of prod/db has no domain (no domain is allowed)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, _ := tt.in.Plan().Of(tt.in.Asked)
			if diff := cmp.Diff(tt.want, p.String()); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
		})
	}
}

// randomInput makes a set of up to 40 ordinals over up to 6 domains, a share
// of them with homes.
func randomInput(r *rand.Rand, homes bool) PlanInput {
	all := []string{"a", "b", "c", "d", "e", "f", "g"}
	in := PlanInput{
		Set: SetKey{"ns", "set"}, Start: r.Intn(3) * 5, Replicas: 1 + r.Intn(40),
		Domains: all[:1+r.Intn(6)], Homes: map[int]*Home{},
	}
	in.Asked = in.Start + r.Intn(in.Replicas)
	if homes {
		for i := range in.Replicas {
			if r.Intn(3) == 0 {
				in.Homes[in.Start+i] = at(all[r.Intn(len(all))])
			}
		}
	}
	return in
}

const stories = 2000

func TestEveryPrefixIsBalanced(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range stories {
		in := randomInput(r, false)
		counts := map[string]int{}
		for _, d := range in.Domains {
			counts[d] = 0
		}
		for p := range in.Plan().All() {
			counts[p.Domain]++
			values := slices.Collect(maps.Values(counts))
			if slices.Max(values)-slices.Min(values) > 1 {
				t.Fatalf("after %s the domains hold %v\ninput %+v", p.Slot, counts, in)
			}
		}
	}
}

func TestHomesAreKeptWhateverTheDomains(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	for range stories {
		in := randomInput(r, true)
		for _, domains := range [][]string{in.Domains, append(slices.Clone(in.Domains), "h"), in.Domains[1:], nil} {
			in.Domains = domains
			plan := in.Plan()
			for ordinal, home := range in.Homes {
				if p, _ := plan.Of(ordinal); p.Domain != home.Domain {
					t.Fatalf("%s moved from its home %s with domains %v", p, home.Domain, domains)
				}
			}
		}
	}
}

func TestSamePlanForSameFacts(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	for range stories {
		in := randomInput(r, true)
		shuffled := in
		shuffled.Domains = slices.Clone(in.Domains)
		r.Shuffle(len(shuffled.Domains), func(i, j int) {
			shuffled.Domains[i], shuffled.Domains[j] = shuffled.Domains[j], shuffled.Domains[i]
		})
		shuffled.Homes = maps.Clone(in.Homes)
		if diff := cmp.Diff(slices.Collect(in.Plan().All()), slices.Collect(shuffled.Plan().All())); diff != "" {
			t.Fatalf("the order of the domains changes the plan (-want +got):\n%s", diff)
		}
	}
}

// Whoever carries out a plan ordinal by ordinal, in order, never changes it.
func TestPlanIsStableWhileItIsCarriedOut(t *testing.T) {
	r := rand.New(rand.NewSource(4))
	for range stories {
		in := randomInput(r, false)
		want := domainsOf(in.Plan())
		for p := range in.Plan().All() {
			in.Homes[p.Slot.Ordinal] = at(p.Domain)
			if got := domainsOf(in.Plan()); got != want {
				t.Fatalf("with %s done the plan turns from %s into %s", p.Slot, want, got)
			}
		}
	}
}

// Scaling never moves the ordinals that stay.
func TestScalingKeepsThePrefix(t *testing.T) {
	r := rand.New(rand.NewSource(5))
	for range stories {
		in := randomInput(r, false)
		before := domainsOf(in.Plan())
		in.Replicas += 1 + r.Intn(10)
		if after := domainsOf(in.Plan()); !strings.HasPrefix(after, before) {
			t.Fatalf("growing turns %s into %s", before, after)
		}
	}
}

func BenchmarkPlan1000(b *testing.B) {
	in := PlanInput{Set: SetKey{"ns", "db"}, Replicas: 1000, Asked: 999, Domains: []string{"a", "b", "c"}, Homes: map[int]*Home{}}
	for i := range 999 {
		in.Homes[i] = at(in.Domains[i%3])
	}
	b.ReportAllocs()
	for b.Loop() {
		in.Plan()
	}
}
