// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"

	storagev1 "k8s.io/api/storage/v1"
)

func TestReason(t *testing.T) {
	another := func(left, largest int64) *storagev1.CSIStorageCapacity {
		return pooled("q", "fast", in(nodeKey, "n"), left, largest)
	}
	tests := map[string]struct {
		pools  []*storagev1.CSIStorageCapacity
		drafts []int64
		claims []int64
		want   string
	}{
		"none":     {claims: []int64{1}, want: `node(s) without storage of class "fast"`},
		"one":      {pools: []*storagev1.CSIStorageCapacity{local("n", 50*gi)}, claims: []int64{60 * gi}, want: `has 50Gi left, and claim a needs 60Gi`},
		"nothing":  {pools: []*storagev1.CSIStorageCapacity{local("n", 0)}, claims: []int64{60 * gi}, want: `has 0 left, and claim a needs 60Gi`},
		"promised": {pools: []*storagev1.CSIStorageCapacity{local("n", 100*gi)}, drafts: []int64{20 * gi}, claims: []int64{60 * gi, 60 * gi}, want: `has 100Gi left, 20Gi of it promised to other pods, and claims a (60Gi), b (60Gi) need 120Gi`},
		"all":      {pools: []*storagev1.CSIStorageCapacity{local("n", 60*gi)}, drafts: []int64{40 * gi, 40 * gi}, claims: []int64{gi}, want: `has 60Gi left, all of it promised to other pods, and claim a needs 1Gi`},
		"just all": {pools: []*storagev1.CSIStorageCapacity{local("n", 60*gi)}, drafts: []int64{60 * gi}, claims: []int64{gi}, want: `has 60Gi left, all of it promised to other pods, and claim a needs 1Gi`},
		"largest":  {pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", in(nodeKey, "n"), 100*gi, 50*gi)}, claims: []int64{60 * gi}, want: `has 100Gi left, at most 50Gi for one volume, and claim a needs 60Gi`},
		"unknown":  {pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", in(nodeKey, "n"), -1, 50*gi)}, claims: []int64{60 * gi}, want: `takes volumes of at most 50Gi, and claim a needs 60Gi`},
		"pools":    {pools: []*storagev1.CSIStorageCapacity{local("n", 80*gi), another(80*gi, -1)}, drafts: []int64{gi}, claims: []int64{60 * gi, 60 * gi, 30 * gi}, want: `has 160Gi left, at most 80Gi for one volume, in 2 pools, 1Gi of it promised to other pods, and claims a (60Gi), b (60Gi), c (30Gi) need 150Gi`},
		"no end":   {pools: []*storagev1.CSIStorageCapacity{local("n", 10), another(-1, 50*gi)}, claims: []int64{60 * gi}, want: `takes volumes of at most 50Gi, in 2 pools, and claim a needs 60Gi`},
		"many":     {pools: []*storagev1.CSIStorageCapacity{local("n", 3*gi)}, claims: []int64{gi, gi, gi, gi, gi, gi}, want: `has 3Gi left, and claims a (1Gi), b (1Gi), c (1Gi), d (1Gi), 2 more need 6Gi`},
		"rounded":  {pools: []*storagev1.CSIStorageCapacity{local("n", 98*gi+1)}, claims: []int64{99*gi + 1}, want: `has over 95Gi left, and claim a needs 106300440577`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger(test.pools...)
			for i, bytes := range test.drafts {
				l.Reserve(claim(fmt.Sprint(i), bytes), "n", on("n"))
			}
			var claims []Claim
			for i, bytes := range test.claims {
				claims = append(claims, claim(string(rune('a'+i)), bytes))
			}
			slices.Reverse(claims) // in whatever order they come
			want := test.want
			if !strings.HasPrefix(want, "node(s)") {
				want = `node(s) without enough storage: class "fast" ` + want
			}
			if diff := cmp.Diff(want, l.Ask(claims).Refuses(on("n"))); diff != "" {
				t.Errorf("Refuses (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAbout: no size is overstated, "over" is said where something is left
// out, and a few texts do for all sizes.
func TestAbout(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	texts := make(map[string]bool)
	for i := range 100_000 {
		bytes := rng.Int63n(1 << uint(1+rng.Intn(62)))
		if i < 10_000 {
			bytes = rng.Int63n(10 * 1024 * gi)
			texts[about(bytes)] = true
		}
		text, over := strings.CutPrefix(about(bytes), "over ")
		said := resource.MustParse(text)
		if got := said.Value(); got > bytes || over != (got < bytes) || float64(got) < 0.66*float64(bytes) {
			t.Fatalf("about(%d) = %q", bytes, about(bytes))
		}
	}
	if len(texts) > 80 {
		t.Errorf("%d texts for ten thousand sizes", len(texts))
	}
	for bytes, want := range map[int64]string{0: "0", 1023: "1023", 1024: "1Ki", 3 * gi / 2: "1.5Gi", 64 * gi: "64Gi", 120 * gi: "120Gi", 128 * gi: "over 100Gi", math.MaxInt64: "over 7.5Ei"} {
		if got := about(bytes); got != want {
			t.Errorf("about(%d) = %q, want %q", bytes, got, want)
		}
	}
}
