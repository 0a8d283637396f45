// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"fmt"
	"testing"
)

const nodes = 5000

// large has a pool for each node, and drafts on some.
func large(drafts int) (*Ledger, []map[string]string) {
	l := NewLedger()
	labels := make([]map[string]string, nodes)
	for n := range labels {
		name := fmt.Sprintf("node-%d.example.org", n)
		labels[n] = map[string]string{nodeKey: name, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", zoneKey: string(rune('a' + n%3))}
		l.SetCapacity(local(name, 100*gi+int64(n)<<20))
	}
	for i := range drafts {
		l.Reserve(claim(fmt.Sprint("draft", i), 10*gi), "", labels[i*7%nodes])
	}
	return l, labels
}

// shared has two pools in each zone as well, of another class.
func shared(drafts int) (*Ledger, []map[string]string) {
	l, labels := large(0)
	for _, zone := range []string{"a", "b", "c"} {
		for i := range 2 {
			l.SetCapacity(pooled(fmt.Sprint(zone, i), "zonal", in(zoneKey, zone), 1<<50, -1))
		}
	}
	for i := range drafts {
		l.Reserve(of("zonal", claim(fmt.Sprint("draft", i), 10*gi)), "", labels[i])
	}
	return l, labels
}

// TestNoGarbage: a node that fits costs no memory, whether its answer is
// worked out or remembered.
func TestNoGarbage(t *testing.T) {
	for name, c := range map[string]struct {
		of    func(int) (*Ledger, []map[string]string)
		class string
	}{"one pool": {large, "fast"}, "two pools": {shared, "zonal"}} {
		t.Run(name, func(t *testing.T) {
			l, labels := c.of(100)
			q := l.Ask([]Claim{of(c.class, claim("a", 30*gi)), of(c.class, claim("draft0", 30*gi))})
			if got := testing.AllocsPerRun(100, func() { q.Refuses(labels[0]); q.Score(labels[0]) }); got != 0 {
				t.Errorf("%v allocations for a node that fits", got)
			}
		})
	}
}

// BenchmarkFilter asks one node of 5,000.
func BenchmarkFilter(b *testing.B) {
	for name, c := range map[string]struct {
		of     func(int) (*Ledger, []map[string]string)
		drafts int
		claims []Claim
		refuse bool
	}{
		"local":                   {large, 0, []Claim{claim("a", 30*gi), claim("b", 30*gi)}, false},
		"local/1000drafts":        {large, 1000, []Claim{claim("a", 30*gi), claim("b", 30*gi)}, false},
		"local/refused":           {large, 0, []Claim{claim("a", 200*gi), claim("b", 30*gi)}, true},
		"twoInZone":               {shared, 0, []Claim{of("zonal", claim("a", 30*gi))}, false},
		"twoInZone/1000drafts":    {shared, 1000, []Claim{of("zonal", claim("a", 30*gi))}, false},
		"nowhere/refused":         {large, 0, []Claim{of("none", claim("a", 30*gi))}, true},
		"local/draftOfItsOwn":     {large, 1000, []Claim{claim("draft0", 30*gi)}, false},
		"twoInZone/draftOfItself": {shared, 1000, []Claim{of("zonal", claim("draft0", 30*gi))}, false},
	} {
		b.Run(name, func(b *testing.B) {
			l, labels := c.of(c.drafts)
			q := l.Ask(c.claims)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if got := q.Refuses(labels[i%nodes]); (got != "") != c.refuse {
					b.Fatal(got)
				}
				i++
			}
		})
	}
}

func BenchmarkScore(b *testing.B) {
	l, labels := large(1000)
	q := l.Ask([]Claim{claim("a", 30*gi), claim("b", 30*gi)})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		q.Score(labels[i%nodes])
		i++
	}
}

// BenchmarkLedger is what a cycle and what a driver's report cost.
func BenchmarkLedger(b *testing.B) {
	l, labels := large(1000)
	b.Run("Ask", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.Ask([]Claim{claim("a", 30*gi), claim("b", 30*gi)})
		}
	})
	b.Run("SetCapacity", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			l.SetCapacity(local(labels[i%nodes][nodeKey], int64(i)*gi))
			i++
		}
	})
	b.Run("ReserveRelease", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			l.Reserve(claim("a", 30*gi), "", labels[i%nodes])
			l.Release("prod", "a")
			i++
		}
	})
	b.Run("Checkpoint", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.Checkpoint()()
		}
	})
}
