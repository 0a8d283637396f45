// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// wanted is a volume to come, and the node it is for.
type wanted struct {
	bytes int64
	node  map[string]string
}

// takes tells in plain words whether a pool may hold the volume.
func takes(c *storagev1.CSIStorageCapacity, w wanted) bool {
	selector, err := metav1.LabelSelectorAsSelector(c.NodeTopology)
	if err != nil || !selector.Matches(labels.Set(w.node)) || c.StorageClassName != "fast" {
		return false
	}
	if c.MaximumVolumeSize != nil {
		return w.bytes <= c.MaximumVolumeSize.Value()
	}
	return c.Capacity != nil && w.bytes <= c.Capacity.Value()
}

// overfull tells whether the volumes in a pool are too much for it.
func overfull(c *storagev1.CSIStorageCapacity, sum int64) bool {
	if c.Capacity == nil {
		return false
	}
	room := c.Capacity.Value()
	if c.MaximumVolumeSize != nil {
		room = max(room, c.MaximumVolumeSize.Value())
	}
	return sum > room
}

// divisible tries every way to give each volume a pool.
func divisible(pools []*storagev1.CSIStorageCapacity, volumes []wanted) bool {
	sums, used := make([]int64, len(pools)), make([]bool, len(pools))
	var try func(i int) bool
	try = func(i int) bool {
		if i == len(volumes) {
			return !slices.ContainsFunc(pools, func(c *storagev1.CSIStorageCapacity) bool {
				j := slices.Index(pools, c)
				return used[j] && overfull(c, sums[j])
			})
		}
		for j, c := range pools {
			if !takes(c, volumes[i]) {
				continue
			}
			was := used[j]
			sums[j], used[j] = sums[j]+volumes[i].bytes, true
			if try(i + 1) {
				return true
			}
			sums[j], used[j] = sums[j]-volumes[i].bytes, was
		}
		return false
	}
	return try(0)
}

// competitors are the drafts that share a pool with one of the volumes, or
// with a competitor, in any number of steps.
func competitors(pools []*storagev1.CSIStorageCapacity, volumes, drafts []wanted) []wanted {
	in, reached := make([]bool, len(drafts)), make([]bool, len(pools))
	for j, c := range pools {
		// Also a pool too small for the claim: the node reaches it.
		reached[j] = slices.ContainsFunc(volumes, func(w wanted) bool { return takes(c, wanted{0, w.node}) })
	}
	for range len(drafts) + 1 {
		for i, d := range drafts {
			for j, c := range pools {
				in[i] = in[i] || (reached[j] && takes(c, d))
			}
			for j, c := range pools {
				reached[j] = reached[j] || (in[i] && takes(c, d))
			}
		}
	}
	var found []wanted
	for i, d := range drafts {
		if in[i] {
			found = append(found, d)
		}
	}
	return found
}

// TestOracle compares with trying everything.
func TestOracle(t *testing.T) {
	fits, searched := 0, 0
	const rounds = 6_000
	for seed := range int64(rounds) {
		rng := rand.New(rand.NewSource(seed))
		l := NewLedger()
		var pools []*storagev1.CSIStorageCapacity
		for i := range 1 + rng.Intn(4) {
			p := randomPool(rng, fmt.Sprint(i))
			pools = append(pools, p)
			l.SetCapacity(p)
		}
		var drafts, asked []wanted
		for i := range rng.Intn(5) {
			d := wanted{int64(rng.Intn(7)), randomNode(rng)}
			drafts = append(drafts, d)
			l.Reserve(claim(fmt.Sprint("draft", i), d.bytes), "", d.node)
		}
		node := randomNode(rng)
		var claims []Claim
		for i := range 1 + rng.Intn(3) {
			bytes := int64(rng.Intn(9))
			asked = append(asked, wanted{bytes, node})
			claims = append(claims, claim(fmt.Sprint("claim", i), bytes))
		}
		// Drafts of the claims themselves, made before, change nothing.
		for i := range rng.Intn(len(claims) + 1) {
			l.Reserve(claim(claims[i].Name, int64(rng.Intn(14))), "", randomNode(rng))
		}
		rivals := competitors(pools, asked, drafts)
		want := divisible(pools, append(slices.Clone(asked), rivals...))
		if got := l.Ask(claims).Refuses(node); (got == "") != want {
			t.Fatalf("seed %d: Refuses = %q, want none: %v", seed, got, want)
		}
		if want {
			fits++
		}
		if len(rivals) > 0 {
			searched++
		}
	}
	if min(fits, rounds-fits, searched) < rounds/10 {
		t.Errorf("Of %d stories %d fit and %d have rivals: too few to mean much", rounds, fits, searched)
	}
}

// TestSearchLimit has volumes of even sizes for bins of odd ones. They fit by
// the sums and not in truth, which can be shown for a few of them only.
func TestSearchLimit(t *testing.T) {
	hard := func(volumes int) *packing {
		rng := rand.New(rand.NewSource(1))
		var s packing
		var sum int64
		for range volumes {
			v := volume{bytes: 2 * (1000 + rng.Int63n(1000)), bins: []int{0, 1}}
			sum += v.bytes
			s.volumes = append(s.volumes, v)
		}
		half := sum/2 | 1
		s.bins = []int64{half, sum - half}
		return &s
	}
	tests := map[string]struct {
		packing *packing
		fits    bool
		tries   int // at most
	}{
		"40, too many":   {hard(40), true, searchLimit + 1},
		"40 by the sums": {hard(40), false, 0},
		"40 by one":      {hard(40), false, 0},
		"40 equal":       {&packing{bins: []int64{195, 205}}, false, 1000},
	}
	for n := 2; n <= 13; n++ {
		tests[fmt.Sprint(n)] = struct {
			packing *packing
			fits    bool
			tries   int
		}{hard(n), false, searchLimit}
	}
	tests["40 by the sums"].packing.bins[0] -= 2
	tests["40 by one"].packing.volumes[20].bins = nil
	for range 40 {
		tests["40 equal"].packing.volumes = append(tests["40 equal"].packing.volumes, volume{10, []int{0, 1}})
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if fits := test.packing.possible(); fits != test.fits || test.packing.tries > test.tries {
				t.Errorf("possible = %v after %d tries, want %v after %d at most", fits, test.packing.tries, test.fits, test.tries)
			}
		})
	}
}
