// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A plan that follows homes one by one is the plan that is made of all of them
// at once, in every word.
func TestRehomeIsPlanningAnew(t *testing.T) {
	kept, abcd := 0, []string{"a", "b", "c", "d"}
	for seed := range int64(3000) {
		random := rand.New(rand.NewSource(seed))
		in := PlanInput{Set: db, Policy: byZone(), Allowed: [][]string{abcd[:1+random.Intn(4)], {"b", "c"}}}
		switch random.Intn(4) {
		case 0:
			in.Policy.Spread.ShardSize = 2 + random.Intn(2)
		case 1:
			in.Policy.Spread.BlockSize = 1 + random.Intn(3)
		case 2:
			in.Policy.Spread.MaxPerDomain = 1 + random.Intn(4)
		}
		for ordinal := range 1 + random.Intn(9) {
			slot := SlotFacts{Ordinal: int32(ordinal), Home: &Home{}, Rule: int32(random.Intn(6) / 5)}
			if random.Intn(3) == 0 {
				slot.Home = &Home{Tie: RunningPod, Domain: string(rune('a' + random.Intn(5))), Node: "n"}
			}
			in.Slots = append(in.Slots, slot)
		}
		plan := in.Plan()
		for step := range 12 {
			i := random.Intn(len(in.Slots))
			home := &Home{Tie: Tie(1 + random.Intn(4)), Node: fmt.Sprint(step)}
			home.Domain = string(rune('a' + random.Intn(5)))
			if placement, _ := plan.Of(int(in.Slots[i].Ordinal)); placement.Domain != "" && random.Intn(4) > 0 {
				home.Domain = placement.Domain
			}
			in.Slots = slices.Clone(in.Slots)
			in.Slots[i].Home = home
			anew := in.Plan()
			if !plan.rehome(i, in.Slots) {
				plan = anew
				continue
			}
			kept++
			if diff := cmp.Diff(slices.Collect(anew.All()), slices.Collect(plan.All())); diff != "" {
				t.Fatalf("seed %d: ordinal %d got home %+v (-anew +followed):\n%s", seed, i, *home, diff)
			}
			for _, slot := range in.Slots {
				want, _ := anew.Of(int(slot.Ordinal))
				got, _ := plan.Of(int(slot.Ordinal))
				if want.String() != got.String() {
					t.Fatalf("seed %d: ordinal %d: %s, made anew %s", seed, slot.Ordinal, got, want)
				}
			}
		}
	}
	if kept < 1000 {
		t.Errorf("a plan was kept %d times: the test proves little", kept)
	}
}
