// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"math/rand"
	"testing"
)

// A slot that comes to be where it was planned changes the plan of no other,
// so it does not matter which of them comes first: a set that is bound out of
// order lands as one that is bound in order, every prefix of it in balance.
func TestPlanWhateverComesFirst(t *testing.T) {
	r := rand.New(rand.NewSource(11))
	kinds := []struct {
		name string
		set  func(a *asked, domains int)
		most int // plans of 2000 that may depend on the order where homes are from an earlier plan
	}{
		{"interleaved", func(*asked, int) {}, 0},
		{"cap", func(a *asked, domains int) { a.spread.MaxPerDomain = (a.n-1)/domains + 1 + r.Intn(2) }, 0},
		// What homes of an earlier plan leave of a shard or a block may differ by
		// who of it comes first.
		{"shards", func(a *asked, domains int) { a.spread.ShardSize = 1 + r.Intn(domains) }, 40},
		{"blocks", func(a *asked, _ int) { a.spread.BlockSize = 1 + r.Intn(4) }, 10},
	}
	for _, kind := range kinds {
		for _, old := range []bool{false, true} {
			moved := 0
			for range 2000 {
				domains := 1 + r.Intn(4)
				a := asked{n: 1 + r.Intn(14), allowed: letters[:domains], homes: map[int]*Home{}}
				kind.set(&a, domains)
				for range a.n {
					if old && r.Intn(3) == 0 {
						a.homes[r.Intn(a.n)] = at(letters[r.Intn(domains+1)])
					}
				}
				want := written(a.input(t).Plan())
				for _, ordinal := range r.Perm(a.n) {
					placement, _ := a.input(t).Plan().Of(ordinal)
					if placement.Domain == "" || placement.Home.Domain != "" {
						continue
					}
					a.homes[ordinal] = at(placement.Domain)
					if got := written(a.input(t).Plan()); got != want {
						moved++
						break
					}
				}
			}
			if moved > 0 && (!old || moved > kind.most) {
				t.Errorf("%s, old homes %t: %d plans of 2000 depend on the order", kind.name, old, moved)
			}
		}
	}
}
