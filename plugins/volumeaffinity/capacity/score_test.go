// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"fmt"
	"math/rand"
	"testing"
)

func TestWorth(t *testing.T) {
	tests := map[string]struct{ need, remainder, want int64 }{
		"an exact fit":             {60, 0, 33},
		"next to nothing":          {60, 1, 0},
		"half of the need":         {60, 30, 20},
		"one byte short of useful": {60 * gi, 60*gi - 1, 33},
		"as much again":            {60, 60, 50},
		"three times":              {60, 180, 75},
		"plenty":                   {1, 1 << 60, 100},
		"beyond what 64 bits of a hundredfold hold": {1 << 62, 1 << 62, 50},
		"drafts that may be elsewhere":              {60, -10, 33},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := worth(test.need, test.remainder); got != test.want {
				t.Errorf("worth(%d, %d) = %d, want %d", test.need, test.remainder, got, test.want)
			}
		})
	}
}

// TestWorthOrder: more is better among the stranded and among the useful, and
// stranded comes before exact before useful.
func TestWorthOrder(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for range 10_000 {
		need := 2 + rng.Int63n(1<<uint(1+rng.Intn(50)))
		stranded, more := 1+rng.Int63n(need-1), 1+rng.Int63n(need-1)
		useful, roomy := need+rng.Int63n(10*need), need+rng.Int63n(10*need)
		stranded, more, useful, roomy = min(stranded, more), max(stranded, more), min(useful, roomy), max(useful, roomy)
		order := []int64{0, worth(need, stranded), worth(need, more), worth(need, 0), worth(need, useful), worth(need, roomy), maxScore}
		for i := range order[1:] {
			if order[i] > order[i+1] {
				t.Fatalf("need %d: worth of %d, %d, 0, %d and %d is %v", need, stranded, more, useful, roomy, order)
			}
		}
		if worth(need, 0) >= worth(need, need) {
			t.Fatalf("need %d: an exact fit is worth as much as room for another", need)
		}
	}
}

// best places a claim where it scores highest, the first of equals.
func best(l *Ledger, c Claim, nodes int) int {
	q, found, top := l.Ask([]Claim{c}), -1, int64(-1)
	for n := range nodes {
		node := on(fmt.Sprint(n))
		if score := q.Score(node); score > top && q.Refuses(node) == "" {
			found, top = n, score
		}
	}
	return found
}

// TestSpread places equal claims on equal nodes, one after the other, until
// they are full: no node is ever two ahead.
func TestSpread(t *testing.T) {
	for each := range 9 {
		const nodes = 5
		l := NewLedger()
		for n := range nodes {
			l.SetCapacity(local(fmt.Sprint(n), int64(each+1)*10*gi))
		}
		var counts [nodes]int
		for i := range nodes * (each + 1) {
			c := claim(fmt.Sprint(i), 10*gi)
			n := best(l, c, nodes)
			if n < 0 {
				t.Fatalf("room for %d: claim %d finds none", each+1, i)
			}
			l.Reserve(c, fmt.Sprint(n), on(fmt.Sprint(n)))
			if counts[n]++; counts[n] > i/nodes+1 {
				t.Fatalf("room for %d: claims %v after %d", each+1, counts, i+1)
			}
		}
	}
}

func TestScore(t *testing.T) {
	pair := func(a, b int64) *Ledger {
		return newLedger(local("0", a), pooled("slow0", "slow", in(nodeKey, "0"), b, -1))
	}
	q := pair(240, 120).Ask([]Claim{claim("a", 60), of("slow", claim("b", 60))})
	if got := q.Score(on("0")); got != 50 {
		t.Errorf("Score = %d, want that of the worse class, 50", got)
	}
	q = pair(120, 240).Ask([]Claim{claim("a", 60), of("slow", claim("b", 60))})
	if got := q.Score(on("0")); got != 50 {
		t.Errorf("Score = %d, want that of the worse class, 50, in any order", got)
	}
	q = pair(240, 0).Ask([]Claim{claim("a", 60), of("slow", claim("b", 0))})
	if got := q.Score(on("0")); got != 75 {
		t.Errorf("Score = %d, want that of the class of which something is asked, 75", got)
	}
	l := newLedger(local("0", 90), local("1", 60))
	if got := best(l, claim("a", 60), 2); got != 1 {
		t.Errorf("Placed on %d, want the exact fit", got)
	}
	l = newLedger(local("0", 60), local("1", 120))
	if got := best(l, claim("a", 60), 2); got != 1 {
		t.Errorf("Placed on %d, want where room for another remains", got)
	}
	l.Reserve(claim("x", 30), "1", on("1"))
	if got := best(l, claim("a", 60), 2); got != 0 {
		t.Errorf("Placed on %d, want where no draft makes the rest useless", got)
	}
	l = newLedger(pooled("p", "fast", in(nodeKey, "0"), -1, 100))
	l.Reserve(claim("x", 100), "0", on("0"))
	if got := l.Ask([]Claim{claim("a", 100)}).Score(on("0")); got != maxScore {
		t.Errorf("Score = %d of unknown capacity, want %d", got, maxScore)
	}
	l = newLedger(local("0", 60), pooled("p", "fast", in(nodeKey, "0"), 60, -1))
	l.Reserve(claim("x", 30), "0", on("0"))
	if got := l.Ask([]Claim{claim("a", 30)}).Score(on("0")); got != 66 {
		t.Errorf("Score = %d, want that of all pools together, 66", got)
	}
}
