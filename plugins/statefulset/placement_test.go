// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlacementString(t *testing.T) {
	ab, abc := []string{"zone-a", "zone-b"}, []string{"zone-a", "zone-b", "zone-c"}
	var racks []string
	for i := range 6 {
		racks = append(racks, fmt.Sprintf("rack-%d", i))
	}
	volume := &Home{Domain: "zone-c", Tie: BoundVolume, Claim: "data-db-0", Volume: "pv-x"}
	tests := map[string]struct {
		asked
		of   int
		want string
	}{
		"as few as elsewhere": {
			asked{n: 5, allowed: ab, homes: map[int]*Home{0: at("zone-a"), 1: at("zone-a")}}, 4,
			"ordinal 4 of prod/db belongs in zone-a (2 of its 4 lower ordinals are there, as few as elsewhere; first by name)",
		},
		"fewest of its lower ordinals": {
			asked{n: 5, allowed: ab, homes: map[int]*Home{0: at("zone-a"), 1: at("zone-a"), 2: at("zone-a")}}, 4,
			"ordinal 4 of prod/db belongs in zone-b (fewest of its lower ordinals: 1 of 4)",
		},
		"homes of the ordinals next": {
			asked{n: 2, allowed: ab, homes: map[int]*Home{1: at("zone-a")}}, 0,
			"ordinal 0 of prod/db belongs in zone-b (the lowest ordinal; first by name, but for homes of the ordinals next)",
		},
		"only one": {
			asked{n: 1, allowed: ab[:1]}, 0,
			"ordinal 0 of prod/db belongs in zone-a (the only domain)",
		},
		"none": {
			asked{n: 1}, 0,
			"ordinal 0 of prod/db has no domain (no node that it may use names a domain)",
		},
		"volume": {
			asked{n: 1, homes: map[int]*Home{0: volume}}, 0,
			`ordinal 0 of prod/db belongs in zone-c (volume "pv-x" of claim "data-db-0" is there)`,
		},
		"volume beside another of the shard": {
			asked{spread: Spread{ShardSize: 3}, n: 3, allowed: abc, homes: map[int]*Home{0: volume, 2: at("zone-c")}}, 0,
			`ordinal 0 of prod/db belongs in zone-c (volume "pv-x" of claim "data-db-0" is there, beside ordinal 2 of its shard 0-2)`,
		},
		"volume over the cap": {
			asked{spread: Spread{MaxPerDomain: 1}, n: 3, allowed: abc, homes: map[int]*Home{0: volume, 2: at("zone-c")}}, 0,
			`ordinal 0 of prod/db belongs in zone-c (volume "pv-x" of claim "data-db-0" is there, which holds 2 of at most 1)`,
		},
		"volume against the rule": {
			asked{n: 1, allowed: abc, rules: []ruled{{"0", ab}}, homes: map[int]*Home{0: volume}}, 0,
			`ordinal 0 of prod/db belongs in zone-c (volume "pv-x" of claim "data-db-0" is there, but rule 1 (ordinals 0: disk In (fast)) allows only zone-a, zone-b)`,
		},
		"volume where nobody may be says nothing about the rule": {
			asked{n: 1, allowed: ab, rules: []ruled{{"0", ab[:1]}}, homes: map[int]*Home{0: volume}}, 0,
			`ordinal 0 of prod/db belongs in zone-c (volume "pv-x" of claim "data-db-0" is there)`,
		},
		"rule with one domain": {
			asked{n: 1, allowed: abc, rules: []ruled{{"0", abc[1:2]}}}, 0,
			"ordinal 0 of prod/db belongs in zone-b (rule 1 (ordinals 0: disk In (fast)) allows only zone-b)",
		},
		"rule that decides": {
			asked{n: 3, allowed: abc, rules: []ruled{{"7", nil}, {"2-", ab}}}, 2,
			"ordinal 2 of prod/db belongs in zone-a (1 of its 2 lower ordinals are there, as few as elsewhere; first by name; rule 2 (ordinals 2-: disk In (fast)) allows only zone-a, zone-b)",
		},
		"rule that does not decide": {
			asked{n: 2, allowed: abc, rules: []ruled{{"0-", ab}}}, 1,
			"ordinal 1 of prod/db belongs in zone-b (fewest of its lower ordinals: 0 of 1)",
		},
		"rule that leaves nothing": {
			asked{n: 1, allowed: abc, rules: []ruled{{"0", nil}}}, 0,
			"ordinal 0 of prod/db has no domain (rule 1 (ordinals 0: disk In (fast)) leaves no domain)",
		},
		"rule where nothing is allowed anyway": {
			asked{n: 1, rules: []ruled{{"0", nil}}}, 0,
			"ordinal 0 of prod/db has no domain (no node that it may use names a domain)",
		},
		"rule with many domains": {
			asked{n: 7, allowed: racks, rules: []ruled{{"1", racks[1:]}}, homes: map[int]*Home{1: at("rack-0")}}, 1,
			`ordinal 1 of prod/db belongs in rack-0 (its pod is on node "n" there, but rule 1 (ordinals 1: disk In (fast)) allows only rack-1, rack-2, rack-3 and 2 more)`,
		},
		"volume with several domains": {
			asked{n: 2, allowed: abc, homes: map[int]*Home{1: reaching("zone-a", "zone-c")}}, 1,
			`ordinal 1 of prod/db belongs in zone-c (fewest of its lower ordinals: 0 of 1; volume "pv" of claim "data" reaches only zone-a, zone-c)`,
		},
		"volume with many domains": {
			asked{n: 1, allowed: racks, homes: map[int]*Home{0: reaching(racks[1:5]...)}}, 0,
			`ordinal 0 of prod/db belongs in rack-1 (the lowest ordinal; first by name; volume "pv" of claim "data" reaches only rack-1, rack-2, rack-3 and 1 more)`,
		},
		"shard": {
			asked{spread: Spread{ShardSize: 3}, n: 6, allowed: abc, homes: map[int]*Home{3: at("zone-a"), 0: at("zone-c"), 1: at("zone-c"), 2: at("zone-c")}}, 4,
			"ordinal 4 of prod/db belongs in zone-b (fewest of its lower ordinals: 0 of 4)",
		},
		"shard that decides": {
			asked{spread: Spread{ShardSize: 2}, n: 4, allowed: abc, homes: map[int]*Home{0: at("zone-a"), 1: at("zone-b"), 3: at("zone-c")}}, 2,
			"ordinal 2 of prod/db belongs in zone-a (1 of its 2 lower ordinals are there, as few as elsewhere; first by name; before it: zone-c by ordinal 3 of its shard 2-3)",
		},
		"shard that leaves one": {
			asked{spread: Spread{ShardSize: 3}, n: 3, allowed: abc}, 2,
			"ordinal 2 of prod/db belongs in zone-c (the only domain left: zone-a by ordinal 0 of its shard 0-2, zone-b by ordinal 1 of its shard 0-2)",
		},
		"cap that decides": {
			asked{spread: Spread{MaxPerDomain: 1}, n: 3, allowed: abc, homes: map[int]*Home{2: at("zone-a")}}, 0,
			"ordinal 0 of prod/db belongs in zone-b (the lowest ordinal; first by name; before it: zone-a holds 1 of at most 1)",
		},
		"cap of higher homes that decides": {
			asked{spread: Spread{MaxPerDomain: 2}, n: 5, allowed: abc, homes: map[int]*Home{0: at("zone-b"), 1: at("zone-c"), 3: at("zone-a"), 4: at("zone-a")}}, 2,
			"ordinal 2 of prod/db belongs in zone-b (1 of its 2 lower ordinals are there, as few as elsewhere; first by name; before it: zone-a holds 2 of at most 2)",
		},
		"all taken": {
			asked{spread: Spread{ShardSize: 3, MaxPerDomain: 2}, n: 7, allowed: abc, homes: map[int]*Home{0: at("zone-b"), 3: at("zone-b"), 4: at("zone-c"), 5: at("zone-a")}}, 6,
			"ordinal 6 of prod/db has no domain (each of its 3 allowed domains is taken: zone-a holds 2 of at most 2, zone-b holds 2 of at most 2, zone-c holds 2 of at most 2)",
		},
		"all taken by the shard and the cap": {
			asked{spread: Spread{ShardSize: 3, MaxPerDomain: 1}, n: 3, allowed: ab, homes: map[int]*Home{1: at("zone-a")}}, 2,
			"ordinal 2 of prod/db has no domain (each of its 2 allowed domains is taken: zone-a by ordinal 1 of its shard 0-2, zone-b by ordinal 0 of its shard 0-2)",
		},
		"the only one taken": {
			asked{spread: Spread{MaxPerDomain: 1}, n: 2, allowed: abc, rules: []ruled{{"0-1", ab[:1]}}}, 1,
			"ordinal 1 of prod/db has no domain (its only allowed domain is taken: zone-a holds 1 of at most 1; rule 1 (ordinals 0-1: disk In (fast)) allows only zone-a)",
		},
		"more taken than named": {
			asked{spread: Spread{MaxPerDomain: 1}, n: 7, allowed: racks}, 6,
			"ordinal 6 of prod/db has no domain (each of its 6 allowed domains is taken: rack-0 holds 1 of at most 1, rack-1 holds 1 of at most 1, rack-2 holds 1 of at most 1 and 3 more)",
		},
		"kept for a higher ordinal": {
			asked{spread: Spread{MaxPerDomain: 1}, n: 2, allowed: abc, rules: []ruled{{"1", ab[:1]}}}, 0,
			"ordinal 0 of prod/db belongs in zone-b (the lowest ordinal; first by name; before it: zone-a is kept for a higher ordinal)",
		},
		"kept for a higher ordinal, one left": {
			asked{spread: Spread{MaxPerDomain: 1}, n: 2, allowed: ab, rules: []ruled{{"1", ab[:1]}}}, 0,
			"ordinal 0 of prod/db belongs in zone-b (the only domain left: zone-a is kept for a higher ordinal)",
		},
		"block": {
			asked{spread: Spread{BlockSize: 2}, n: 4, allowed: abc}, 3,
			"ordinal 3 of prod/db belongs in zone-b (with ordinal 2 of its block 2-3)",
		},
		"block of a higher home": {
			asked{spread: Spread{BlockSize: 2}, n: 4, allowed: abc, homes: map[int]*Home{3: at("zone-c")}}, 2,
			"ordinal 2 of prod/db belongs in zone-c (with ordinal 3 of its block 2-3)",
		},
		"block of a much higher home": {
			asked{spread: Spread{BlockSize: 4}, n: 4, allowed: abc, homes: map[int]*Home{3: at("zone-c")}}, 0,
			"ordinal 0 of prod/db belongs in zone-c (with ordinal 3 of its block 0-3)",
		},
		"first of a block": {
			asked{spread: Spread{BlockSize: 2}, n: 4, allowed: abc}, 2,
			"ordinal 2 of prod/db belongs in zone-b (0 of its 2 lower ordinals are there, as few as elsewhere; first by name)",
		},
		"block split by the cap": {
			asked{spread: Spread{BlockSize: 3, MaxPerDomain: 2}, n: 3, allowed: abc}, 2,
			"ordinal 2 of prod/db belongs in zone-b (0 of its 2 lower ordinals are there, as few as elsewhere; first by name; before it: zone-a holds 2 of at most 2)",
		},
		"block that fits": {
			asked{spread: Spread{BlockSize: 2, MaxPerDomain: 3}, n: 6, allowed: ab, homes: map[int]*Home{0: at("zone-b"), 1: at("z"), 4: at("zone-a"), 5: at("zone-a")}}, 2,
			"ordinal 2 of prod/db belongs in zone-b (room for the rest of its block 2-3)",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			plan := tt.input(t).Plan()
			p, _ := plan.Of(tt.of)
			if diff := cmp.Diff(tt.want, p.String()); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
			for other := range plan.All() {
				if other.Slot == p.Slot && other.String() != p.String() {
					t.Errorf("one by one it is %q, in a row %q", p, other)
				}
			}
		})
	}
}
