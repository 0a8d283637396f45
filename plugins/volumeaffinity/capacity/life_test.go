// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDraftLife(t *testing.T) {
	l := newLedger(local("n", 100))
	fits := func(bytes int64) bool { return l.Ask([]Claim{claim("new", bytes)}).Refuses(on("n")) == "" }
	expect := func(step string, left int64) {
		t.Helper()
		if !fits(left) || fits(left+1) {
			t.Errorf("%s: want exactly %d left", step, left)
		}
	}
	expect("fresh", 100)
	l.Reserve(claim("a", 30), "n", on("n"))
	expect("reserved", 70)
	l.Reserve(claim("a", 20), "n", on("n"))
	expect("reserved again", 80)
	l.Reserve(claim("b", 30), "n", on("n"))
	expect("and another", 50)
	l.Reserve(claim("a", 20), "m", on("m"))
	expect("moved away", 70)
	if node, ok := l.Drafted("prod", "a"); !ok || node != "m" {
		t.Errorf("Drafted = %q, %v, want m", node, ok)
	}
	l.SetCapacity(local("n", 60))
	expect("less is left", 30)
	l.SetCapacity(local("n", 29))
	expect("the draft does not fit any more", 29)
	l.SetCapacity(local("n", 60))
	expect("it fits again", 30)
	l.DeleteCapacity("csi", "n")
	if fits(0) {
		t.Error("Fits where no pool is")
	}
	l.SetCapacity(local("n", 60))
	expect("the pool is back", 30)
	l.Release("prod", "b")
	l.Release("prod", "b")
	expect("released", 60)
	if node, ok := l.Drafted("prod", "b"); ok {
		t.Errorf("Drafted = %q of a released claim", node)
	}
	l.SetCapacity(pooled("n", "slow", in(nodeKey, "n"), 60, -1))
	if fits(0) {
		t.Error("Fits in a pool that went to another class")
	}
}

func TestCheckpoint(t *testing.T) {
	l := newLedger(local("n", 100))
	l.Reserve(claim("kept", 10), "n", on("n"))
	l.Reserve(claim("moved", 10), "n", on("n"))
	l.Reserve(claim("released", 10), "n", on("n"))
	before := l.Ask([]Claim{claim("new", 71)}).Refuses(on("n"))

	outer := l.Checkpoint()
	l.Release("prod", "released")
	inner := l.Checkpoint()
	l.Reserve(claim("moved", 50), "m", on("m"))
	l.Reserve(claim("made", 10), "n", on("n"))
	inner()
	if _, ok := l.Drafted("prod", "made"); ok {
		t.Error("The inner checkpoint left a draft")
	}
	if _, ok := l.Drafted("prod", "released"); ok {
		t.Error("The inner checkpoint put back what was released before it")
	}
	outer()
	if diff := cmp.Diff(before, l.Ask([]Claim{claim("new", 71)}).Refuses(on("n"))); diff != "" {
		t.Errorf("After the checkpoint (-want +got):\n%s", diff)
	}
	if got := l.Ask([]Claim{claim("new", 70)}).Refuses(on("n")); got != "" {
		t.Errorf("Refuses = %q, want none", got)
	}
}

// world is a ledger's state, written down plainly.
type world struct {
	pools  map[string]*storagev1.CSIStorageCapacity
	drafts map[string]Claim
	nodes  map[string]map[string]string // of the drafts, by claim
}

func (w world) clone() world {
	return world{maps.Clone(w.pools), maps.Clone(w.drafts), maps.Clone(w.nodes)}
}

// ledger starts one from nothing.
func (w world) ledger() *Ledger {
	l := NewLedger()
	for _, name := range slices.Sorted(maps.Keys(w.pools)) {
		l.SetCapacity(w.pools[name])
	}
	for _, name := range slices.Sorted(maps.Keys(w.drafts)) {
		l.Reserve(w.drafts[name], "", w.nodes[name])
	}
	return l
}

// sums are what the pools count of their drafts.
func (l *Ledger) sums() map[string][3]int64 {
	sums := make(map[string][3]int64)
	for name, p := range l.pools {
		sums[name.Name] = [3]int64{int64(len(p.drafts)), p.promised, int64(p.roaming)}
	}
	return sums
}

// randomPool overlaps with others in all ways there are.
func randomPool(rng *rand.Rand, name string) *storagev1.CSIStorageCapacity {
	var s metav1.LabelSelector
	if rng.Intn(2) == 0 {
		s.MatchLabels = map[string]string{zoneKey: string(rune('a' + rng.Intn(2)))}
	}
	if rng.Intn(2) == 0 {
		s.MatchExpressions = in(nodeKey, fmt.Sprint(rng.Intn(4)), fmt.Sprint(rng.Intn(4))).MatchExpressions
	}
	if rng.Intn(6) == 0 {
		s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: nodeKey, Operator: metav1.LabelSelectorOpNotIn, Values: []string{"0"}})
	}
	topology := &s
	if rng.Intn(12) == 0 {
		topology = nil
	}
	class := "fast"
	if rng.Intn(8) == 0 {
		class = "slow"
	}
	return pooled(name, class, topology, int64(rng.Intn(14))-1, int64(rng.Intn(24))-12)
}

func randomNode(rng *rand.Rand) map[string]string {
	return map[string]string{nodeKey: fmt.Sprint(rng.Intn(4)), zoneKey: string(rune('a' + rng.Intn(2)))}
}

// TestHistoryIsForgotten plays random stories: whatever happened, the ledger
// answers as one that has just been told how things are, and a question as on
// the day it was made.
func TestHistoryIsForgotten(t *testing.T) {
	for seed := range int64(60) {
		rng := rand.New(rand.NewSource(seed))
		l, w := NewLedger(), world{map[string]*storagev1.CSIStorageCapacity{}, map[string]Claim{}, map[string]map[string]string{}}
		var restore func()
		var then world
		for step := range 60 {
			name := fmt.Sprint(rng.Intn(6))
			old := l.Ask([]Claim{claim("0", 3), claim("new", 2)})
			node := randomNode(rng)
			before := old.Refuses(node)
			switch rng.Intn(8) {
			case 0, 1, 2:
				w.pools[name] = randomPool(rng, name)
				l.SetCapacity(w.pools[name])
			case 3:
				delete(w.pools, name)
				l.DeleteCapacity("csi", name)
			case 4, 5:
				w.drafts[name], w.nodes[name] = claim(name, int64(rng.Intn(8))), randomNode(rng)
				l.Reserve(w.drafts[name], "", w.nodes[name])
			case 6:
				delete(w.drafts, name)
				l.Release("prod", name)
			case 7:
				if restore == nil {
					restore, then = l.Checkpoint(), w.clone()
					break
				}
				restore()
				restore, w.drafts, w.nodes = nil, then.drafts, then.nodes
			}
			if diff := cmp.Diff(before, old.Refuses(node)); diff != "" {
				t.Fatalf("seed %d, step %d: the question changed (-want +got):\n%s", seed, step, diff)
			}
			asked := []Claim{claim("0", int64(rng.Intn(8))), claim("new", int64(rng.Intn(8))), of("slow", claim("slow", 1))}[:1+rng.Intn(3)]
			fresh := w.ledger()
			if diff := cmp.Diff(fresh.sums(), l.sums()); diff != "" {
				t.Fatalf("seed %d, step %d: sums (-want +got):\n%s", seed, step, diff)
			}
			got, want := l.Ask(asked), fresh.Ask(asked)
			for range 3 {
				node := randomNode(rng)
				if diff := cmp.Diff(want.Refuses(node), got.Refuses(node)); diff != "" {
					t.Fatalf("seed %d, step %d: refused (-want +got):\n%s", seed, step, diff)
				}
				if diff := cmp.Diff(want.Score(node), got.Score(node)); diff != "" {
					t.Fatalf("seed %d, step %d: score (-want +got):\n%s", seed, step, diff)
				}
			}
		}
		for name := range w.pools {
			l.DeleteCapacity("csi", name)
		}
		if len(l.pools)+len(l.indexes) != 0 {
			t.Fatalf("seed %d: %d pools and %d indexes are left of nothing", seed, len(l.pools), len(l.indexes))
		}
	}
}

// TestConcurrent has writers, askers and shared questions at once.
func TestConcurrent(t *testing.T) {
	l := NewLedger()
	for i := range 4 {
		l.SetCapacity(pooled(fmt.Sprint(i), "fast", in(nodeKey, fmt.Sprint(i), fmt.Sprint(i+1)), 10, -1))
	}
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			rng := rand.New(rand.NewSource(int64(g)))
			for range 300 {
				name := fmt.Sprint(g, rng.Intn(3))
				node := fmt.Sprint(rng.Intn(5))
				l.Reserve(claim(name, int64(rng.Intn(5))), node, on(node))
				i := rng.Intn(4)
				l.SetCapacity(pooled(fmt.Sprint(i), "fast", in(nodeKey, fmt.Sprint(i), fmt.Sprint(i+1)), int64(10+rng.Intn(5)), -1))
				q := l.Ask([]Claim{claim("new", 4), claim("other", 7)})
				want := q.Refuses(on(node))
				var readers sync.WaitGroup
				for range 3 {
					readers.Go(func() {
						if got := q.Refuses(on(node)); got != want {
							t.Errorf("Refuses = %q, and %q before", got, want)
						}
						q.Score(on(node))
					})
				}
				l.Release("prod", name)
				readers.Wait()
			}
		})
	}
	all.Wait()
	for i := range 4 {
		l.SetCapacity(pooled(fmt.Sprint(i), "fast", in(nodeKey, fmt.Sprint(i), fmt.Sprint(i+1)), 10, -1))
	}
	if got := l.Ask([]Claim{claim("new", 10), claim("other", 10)}).Refuses(on("1")); got != "" {
		t.Errorf("Refuses = %q after all drafts were released", got)
	}
}
