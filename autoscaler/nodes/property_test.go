// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

// randomInput returns a cluster of three zones in any state.
func randomInput(r *rand.Rand) Input {
	in := Input{Now: start, Config: Defaults(), History: History{}}
	for _, zone := range []string{"a", "b", "c"} {
		low := r.Intn(3)
		g := zoneGroup(zone, low, low+r.Intn(6), 0)
		g.Template = template(zone, []string{"4", "8"}[r.Intn(2)])
		for i := range r.Intn(g.Max + 1) {
			n := nodeIn(g, fmt.Sprintf("%s%d", zone, i))
			for j := range r.Intn(3) {
				n.Pods = append(n.Pods, podOf(fmt.Sprintf("run-%s%d-%d", zone, i, j), "1").Node(n.Object.Name).Obj())
			}
			if r.Intn(6) == 0 {
				n = unready(n, time.Duration(r.Intn(30))*time.Minute)
			}
			in.Nodes = append(in.Nodes, n)
			g.Target++
		}
		if g.Target < g.Max && r.Intn(4) == 0 {
			g.Target++
		}
		in.Groups = append(in.Groups, g)
	}
	in.History = emptyFor(time.Duration(r.Intn(20))*time.Minute, in.Nodes...)
	for i := range r.Intn(25) {
		pod := podOf(fmt.Sprintf("web-%d", i), []string{"500m", "1", "3", "6", "9"}[r.Intn(5)])
		if r.Intn(2) == 0 {
			pod.NodeSelector(map[string]string{v1.LabelTopologyZone: string("abc"[r.Intn(3)])})
		}
		if r.Intn(2) == 0 {
			in.Pending = append(in.Pending, pod.Obj())
		} else {
			in.Forecast = append(in.Forecast, pod.Obj())
		}
	}
	return in
}

// kept is a toy that remembers what it placed when Decide has left.
type kept struct {
	*toy
	last toyState
}

func (k *kept) Revert() {
	k.last = k.copied()
	k.toy.Revert()
}

func TestProperties(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	adds, removals, idle := 0, 0, 0
	for range 3000 {
		in := randomInput(r)
		sim := &kept{toy: newToy(in)}
		d := Decide(in, sim)
		adds, removals = adds+len(d.Adds), removals+len(d.Removals)
		if d.Blocked != "" {
			if len(d.Adds)+len(d.Removals) > 0 {
				t.Fatalf("blocked and yet %+v", d)
			}
			continue
		}
		checkSizes(t, in, d)
		checkPods(t, in, d, sim.last)
		if len(in.Pending)+len(in.Forecast) == 0 {
			idle++
		}
		shuffled := in
		shuffled.Groups, shuffled.Nodes = shuffle(r, in.Groups), shuffle(r, in.Nodes)
		shuffled.Pending, shuffled.Forecast = shuffle(r, in.Pending), shuffle(r, in.Forecast)
		// The toy takes the first node that fits, so it gets them in the old order.
		if diff := cmp.Diff(d, Decide(shuffled, newToy(in))); diff != "" {
			t.Fatalf("another order of the input gives another decision (-first +second):\n%s", diff)
		}
	}
	if adds == 0 || removals == 0 || idle == 0 {
		t.Errorf("%d adds, %d removals, %d idle clusters: the stories prove nothing", adds, removals, idle)
	}
}

func shuffle[T any](r *rand.Rand, list []T) []T {
	shuffled := append([]T(nil), list...)
	r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	return shuffled
}

func checkSizes(t *testing.T, in Input, d Decision) {
	t.Helper()
	added, empty := map[string]int{}, map[string]int{}
	for _, add := range d.Adds {
		added[add.Group] = add.Count
	}
	for _, removal := range d.Removals {
		if !removal.Failed {
			empty[removal.Group]++
		}
	}
	for _, g := range in.Groups {
		if n := g.Target + added[g.Name]; added[g.Name] > 0 && n > g.Max {
			t.Fatalf("group %s grows to %d, beyond its maximum %d", g.Name, n, g.Max)
		}
		if n := g.Target - empty[g.Name]; empty[g.Name] > 0 && n < g.Min {
			t.Fatalf("group %s shrinks to %d, below its minimum %d", g.Name, n, g.Min)
		}
		if added[g.Name] > 0 && empty[g.Name] > 0 {
			t.Fatalf("group %s grows and gives up nodes", g.Name)
		}
	}
}

// checkPods replays the placements: every pod is on a node that has room for
// it and is not removed, or is reported; nodes are added for pods only if one
// of them would not have fitted.
func checkPods(t *testing.T, in Input, d Decision, placed toyState) {
	t.Helper()
	for _, n := range placed.nodes {
		if n.free.cpu < 0 || n.free.memory < 0 {
			t.Fatalf("node %s is overcommitted: %+v", n.object.Name, n.free)
		}
	}
	removed := map[string]bool{}
	for _, removal := range d.Removals {
		removed[removal.Node] = true
	}
	for pod, node := range placed.placed {
		if removed[node] {
			t.Fatalf("node %s is removed, though %s was placed on it", node, pod)
		}
	}
	pods := len(in.Pending) + len(in.Forecast)
	if got := len(placed.placed) + len(d.Unhelped); got != pods {
		t.Fatalf("%d of %d pods are placed or reported", got, pods)
	}
	helped := 0
	for _, add := range d.Adds {
		helped += len(add.Pods)
	}
	if d.Placed+helped+len(d.Unhelped) != pods {
		t.Fatalf("%d placed + %d helped + %d unhelped, want %d", d.Placed, helped, len(d.Unhelped), pods)
	}
	for _, add := range d.Adds {
		for _, g := range in.Groups {
			if g.Name == add.Group && len(add.Pods) == 0 && g.Target >= g.Min {
				t.Fatalf("group %s grows for nothing: %+v", g.Name, add)
			}
		}
	}
}

// Among equal nodes and pods that may go anywhere, the nodes on their way are
// enough: the next call adds none. (With pods pinned to zones it may, once: a
// pod that could go elsewhere may take the room of one that cannot.)
func TestAddsAreEnough(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	for range 500 {
		in := randomInput(r)
		for i := range in.Groups {
			in.Groups[i].Template = template("any", "8")
			for j := range in.Nodes {
				in.Nodes[j].Object.Status.Allocatable = in.Groups[i].Template.Status.Allocatable
			}
		}
		for _, pod := range append(in.Pending, in.Forecast...) {
			pod.Spec.NodeSelector = nil
		}
		first := Decide(in, newToy(in))
		for _, add := range first.Adds {
			for i := range in.Groups {
				if g := &in.Groups[i]; g.Name == add.Group {
					g.Target = add.Target
				}
			}
		}
		in.History = first.History
		if second := Decide(in, newToy(in)); len(second.Adds) > 0 {
			t.Fatalf("adds after the adds\nfirst: %+v\nsecond: %+v", first.Adds, second.Adds)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	in := Input{Now: start, Config: Defaults()}
	for _, zone := range []string{"a", "b", "c"} {
		g := zoneGroup(zone, 0, 1000, 33)
		for i := range 33 {
			in.Nodes = append(in.Nodes, nodeIn(g, fmt.Sprintf("%s%d", zone, i)))
		}
		in.Groups = append(in.Groups, g)
	}
	in.Pending = podsOf(1000, "web", "1")
	b.ReportAllocs()
	for b.Loop() {
		sim := newToy(in)
		Decide(in, sim)
		b.ReportMetric(float64(sim.asked), "questions/op")
	}
}
