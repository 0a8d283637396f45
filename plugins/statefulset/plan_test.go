// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// asked is a plan's input as tests write it: a set of so many ordinals from
// the first, and the domains that each rule leaves its ordinals.
type asked struct {
	spread   Spread
	first, n int
	allowed  []string
	rules    []ruled
	homes    map[int]*Home
}

type ruled struct {
	ordinals string
	allowed  []string
}

func (a asked) input(t testing.TB) PlanInput {
	t.Helper()
	policy := &Policy{Spread: &a.spread}
	in := PlanInput{Set: SetKey{Namespace: "prod", Name: "db"}, Policy: policy, Allowed: [][]string{a.allowed}}
	for _, rule := range a.rules {
		ordinals, err := ParseOrdinals(rule.ordinals)
		if err != nil {
			t.Fatal(err)
		}
		policy.Rules = append(policy.Rules, Rule{Ordinals: ordinals, Text: "disk In (fast)"})
		in.Allowed = append(in.Allowed, rule.allowed)
	}
	for ordinal := a.first; ordinal < a.first+a.n; ordinal++ {
		in.Slots = append(in.Slots, SlotFacts{Ordinal: int32(ordinal), Rule: int32(policy.RuleOf(ordinal) + 1), Home: a.homes[ordinal]})
	}
	return in
}

// written is a plan in one line, with a dash for a slot without a domain.
func written(p Plan) string {
	var domains []string
	for placement := range p.All() {
		if placement.Domain == "" {
			placement.Domain = "-"
		}
		domains = append(domains, placement.Domain)
	}
	return strings.Join(domains, " ")
}

func at(domain string) *Home { return &Home{Domain: domain, Tie: RunningPod, Node: "n"} }

func reaching(domains ...string) *Home {
	return &Home{Within: domains, Tie: BoundVolume, Claim: "data", Volume: "pv"}
}

func TestPlan(t *testing.T) {
	abc := []string{"c", "a", "b", "a"}
	tests := map[string]struct {
		asked
		want string
	}{
		"interleaved":                               {asked{n: 7, allowed: abc}, "a b c a b c a"},
		"one domain":                                {asked{n: 3, allowed: []string{"a"}}, "a a a"},
		"no slots":                                  {asked{allowed: abc}, ""},
		"the lowest ordinal is the first":           {asked{first: 5, n: 4, allowed: abc}, "a b c a"},
		"homes stay, others fill":                   {asked{n: 5, allowed: abc, homes: map[int]*Home{0: at("b"), 1: at("b")}}, "b b a c a"},
		"higher homes break the tie":                {asked{n: 3, allowed: abc, homes: map[int]*Home{1: at("a"), 2: at("b")}}, "c a b"},
		"home outside the domains":                  {asked{n: 3, allowed: abc, homes: map[int]*Home{1: at("z")}}, "a z b"},
		"home outside the domains, first by name":   {asked{n: 3, allowed: []string{"b", "c"}, homes: map[int]*Home{1: at("a")}}, "b a c"},
		"a home that names no domain is none":       {asked{n: 2, allowed: abc, homes: map[int]*Home{0: {Tie: RunningPod, Node: "n"}}}, "a b"},
		"volume in two domains":                     {asked{n: 3, allowed: abc, homes: map[int]*Home{0: reaching("c", "b")}}, "b a c"},
		"volume in domains that are not the set's":  {asked{n: 2, allowed: abc, homes: map[int]*Home{1: reaching("z", "y")}}, "a y"},
		"volume in one domain that is the set's":    {asked{n: 2, allowed: abc, homes: map[int]*Home{1: reaching("z", "a")}}, "a a"},
		"nowhere":                                   {asked{n: 2}, "- -"},
		"nowhere but home":                          {asked{n: 2, homes: map[int]*Home{1: at("a")}}, "- a"},
		"rule":                                      {asked{n: 4, allowed: abc, rules: []ruled{{"0", []string{"b"}}}}, "b a c a"},
		"rule that leaves nothing":                  {asked{n: 3, allowed: abc, rules: []ruled{{"1", nil}}}, "a - b"},
		"first rule that names it":                  {asked{n: 3, allowed: abc, rules: []ruled{{"1", []string{"c"}}, {"0-1", []string{"b"}}}}, "b c a"},
		"rule of a home":                            {asked{n: 2, allowed: abc, rules: []ruled{{"0", []string{"b"}}}, homes: map[int]*Home{0: at("c")}}, "c a"},
		"shard":                                     {asked{spread: Spread{ShardSize: 2}, n: 5, allowed: []string{"a", "b", "c"}, homes: map[int]*Home{0: at("a"), 1: at("b"), 4: at("c")}}, "a b c a c"},
		"shard of a higher home":                    {asked{spread: Spread{ShardSize: 2}, n: 4, allowed: []string{"a", "b"}, homes: map[int]*Home{1: at("a"), 3: at("a")}}, "b a b a"},
		"shards are by absolute ordinals":           {asked{spread: Spread{ShardSize: 3}, first: 2, n: 4, allowed: []string{"a", "b", "c"}, homes: map[int]*Home{3: at("a")}}, "b a c b"},
		"shard larger than the domains":             {asked{spread: Spread{ShardSize: 3}, n: 6, allowed: []string{"a", "b"}}, "a b - a b -"},
		"homes break a shard":                       {asked{spread: Spread{ShardSize: 3}, n: 3, allowed: abc, homes: map[int]*Home{0: at("a"), 1: at("a")}}, "a a b"},
		"cap":                                       {asked{spread: Spread{MaxPerDomain: 1}, n: 4, allowed: abc}, "a b c -"},
		"cap with homes":                            {asked{spread: Spread{MaxPerDomain: 2}, n: 5, allowed: abc, homes: map[int]*Home{3: at("a"), 4: at("a")}}, "b c b a a"},
		"homes break the cap":                       {asked{spread: Spread{MaxPerDomain: 1}, n: 3, allowed: []string{"a", "b"}, homes: map[int]*Home{1: at("a"), 2: at("a")}}, "b a a"},
		"domains of unequal room":                   {asked{spread: Spread{MaxPerDomain: 2}, n: 5, allowed: abc, homes: map[int]*Home{4: at("b")}}, "a b c a b"},
		"corner of a rule":                          {asked{spread: Spread{MaxPerDomain: 1}, n: 2, allowed: []string{"a", "b"}, rules: []ruled{{"1", []string{"a"}}}}, "b a"},
		"corner of a shard":                         {asked{spread: Spread{ShardSize: 3}, n: 6, allowed: abc, rules: []ruled{{"2,5", []string{"a"}}}}, "b c a b c a"},
		"corner of a volume":                        {asked{spread: Spread{MaxPerDomain: 2}, n: 4, allowed: []string{"a", "b"}, homes: map[int]*Home{2: reaching("a"), 3: reaching("a", "z")}}, "b b a a"},
		"corner with moves in a row":                {asked{spread: Spread{MaxPerDomain: 1}, n: 3, allowed: abc, rules: []ruled{{"0", []string{"a", "b"}}, {"1", []string{"b", "c"}}, {"2", []string{"a"}}}}, "b c a"},
		"lower ordinals first where room is scarce": {asked{spread: Spread{MaxPerDomain: 1}, n: 4, allowed: []string{"a", "b"}, rules: []ruled{{"1-2", []string{"a"}}}}, "b a - -"},
		"lower ordinal moves for one in the middle": {asked{spread: Spread{MaxPerDomain: 1}, n: 3, allowed: []string{"a", "b"}, rules: []ruled{{"1", []string{"a"}}, {"2", []string{"b"}}}}, "b a -"},
		"contiguous":                                {asked{spread: Spread{BlockSize: 2}, n: 8, allowed: abc}, "a a b b c c a a"},
		"blocks are by absolute ordinals":           {asked{spread: Spread{BlockSize: 2}, first: 1, n: 4, allowed: abc}, "a b b c"},
		"block of a higher home":                    {asked{spread: Spread{BlockSize: 3}, n: 4, allowed: abc, homes: map[int]*Home{2: at("c")}}, "c c c a"},
		"most of the block":                         {asked{spread: Spread{BlockSize: 4}, n: 4, allowed: abc, homes: map[int]*Home{0: at("a"), 1: at("b"), 2: at("b")}}, "a b b b"},
		"lowest of the block":                       {asked{spread: Spread{BlockSize: 3}, n: 3, allowed: abc, homes: map[int]*Home{0: at("b"), 1: at("a")}}, "b a b"},
		"block at home elsewhere":                   {asked{spread: Spread{BlockSize: 3}, n: 3, allowed: abc, homes: map[int]*Home{0: at("z")}}, "z a a"},
		"cap splits a block":                        {asked{spread: Spread{BlockSize: 3, MaxPerDomain: 2}, n: 6, allowed: abc}, "a a b c c b"},
		"block goes where it stays together":        {asked{spread: Spread{BlockSize: 2, MaxPerDomain: 3}, n: 6, allowed: []string{"a", "b"}, homes: map[int]*Home{0: at("b"), 1: at("z"), 4: at("a"), 5: at("a")}}, "b z b b a a"},
		"a lower slot leads its block":              {asked{spread: Spread{BlockSize: 5}, n: 5, allowed: abc, rules: []ruled{{"0", []string{"b"}}}, homes: map[int]*Home{1: at("a"), 2: at("a"), 3: at("b")}}, "b a a b b"},
		"the rest of a block stays together":        {asked{spread: Spread{BlockSize: 3, MaxPerDomain: 3}, n: 8, allowed: []string{"a", "b"}, rules: []ruled{{"3", nil}}, homes: map[int]*Home{0: at("b"), 1: at("z"), 2: at("z"), 6: at("a"), 7: at("a")}}, "b z z - b b a a"},
		"block of one rule":                         {asked{spread: Spread{BlockSize: 2}, n: 4, allowed: abc, rules: []ruled{{"1", []string{"c"}}}}, "a c b b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, written(tt.input(t).Plan())); diff != "" {
				t.Errorf("domains (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanOfWhatIsNotPlanned(t *testing.T) {
	plan := asked{first: 2, n: 2, allowed: []string{"a"}}.input(t).Plan()
	for _, ordinal := range []int{-1, 0, 1, 4, 1 << 40} {
		if p, ok := plan.Of(ordinal); ok {
			t.Errorf("ordinal %d is planned: %s", ordinal, p)
		}
	}
	if p, ok := plan.Of(3); !ok || p.Slot.Ordinal != 3 || p.Lower != 1 || p.InDomain != 1 {
		t.Errorf("ordinal 3: %+v, %t", p, ok)
	}
}

// Whoever makes an input may use its parts again.
func TestPlanKeepsWhatItWasMadeOf(t *testing.T) {
	in := asked{n: 3, allowed: []string{"c", "b", "a"}, homes: map[int]*Home{1: at("a")}}.input(t)
	plan := in.Plan()
	if in.Allowed[0][0] != "c" {
		t.Errorf("planning changed its input: %v", in.Allowed)
	}
	in.Slots[1], in.Allowed[0][2] = SlotFacts{Ordinal: 9}, "z"
	if got, want := written(plan), "b a c"; got != want {
		t.Errorf("the plan turned into %q with its input, want %q", got, want)
	}
	if p, ok := plan.Of(1); !ok || p.Home.Domain != "a" {
		t.Errorf("the home of ordinal 1 turned into %+v with its input", p.Home)
	}
}

func TestFallback(t *testing.T) {
	abcd := []string{"d", "c", "b", "a"}
	tests := map[string]struct {
		asked
		of   int
		want []string
	}{
		"the others, by rank":               {asked{spread: Spread{Preferred: true}, n: 6, allowed: abcd}, 5, []string{"c", "d", "a"}},
		"homes of the ordinals next":        {asked{spread: Spread{Preferred: true}, n: 2, allowed: abcd, homes: map[int]*Home{1: at("b")}}, 0, []string{"c", "d", "b"}},
		"required has none":                 {asked{n: 6, allowed: abcd}, 5, nil},
		"at home":                           {asked{spread: Spread{Preferred: true}, n: 2, allowed: abcd, homes: map[int]*Home{1: at("b")}}, 1, nil},
		"a rule's":                          {asked{spread: Spread{Preferred: true}, n: 3, allowed: abcd, rules: []ruled{{"2", []string{"a", "d"}}}}, 2, []string{"a"}},
		"a volume's":                        {asked{spread: Spread{Preferred: true}, n: 3, allowed: abcd, homes: map[int]*Home{2: reaching("b", "z", "a")}}, 2, []string{"b"}},
		"shard members' homes bar":          {asked{spread: Spread{Preferred: true, ShardSize: 4}, n: 4, allowed: abcd, homes: map[int]*Home{0: at("a"), 3: at("c")}}, 1, []string{"d"}},
		"planned shard members do not":      {asked{spread: Spread{Preferred: true, ShardSize: 4}, n: 4, allowed: abcd}, 2, []string{"d", "a", "b"}},
		"homes of another shard do not":     {asked{spread: Spread{Preferred: true, ShardSize: 2}, n: 4, allowed: abcd, homes: map[int]*Home{0: at("a")}}, 2, []string{"d", "a", "b"}},
		"domains full of homes":             {asked{spread: Spread{Preferred: true, MaxPerDomain: 1}, n: 4, allowed: abcd, homes: map[int]*Home{0: at("a"), 3: at("b")}}, 1, []string{"d"}},
		"domains full of planned slots":     {asked{spread: Spread{Preferred: true, MaxPerDomain: 1}, n: 4, allowed: abcd}, 1, []string{"c", "d", "a"}},
		"no domain, no other":               {asked{spread: Spread{Preferred: true, MaxPerDomain: 1}, n: 5, allowed: abcd}, 4, nil},
		"the block's domain before another": {asked{spread: Spread{Preferred: true, BlockSize: 4}, n: 4, allowed: abcd, homes: map[int]*Home{0: at("d"), 1: at("d"), 2: at("c")}}, 3, []string{"c", "a", "b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, ok := tt.input(t).Plan().Of(tt.of)
			if diff := cmp.Diff(tt.want, p.Fallback); diff != "" || !ok {
				t.Errorf("fallback of %s (-want +got):\n%s", p, diff)
			}
		})
	}
}
