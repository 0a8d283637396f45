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

// troubled returns a random cluster with totals, expanders and groups whose
// nodes do not come or whose providers talk nonsense.
func troubled(r *rand.Rand) Input {
	in := randomInput(r)
	in.Seed = r.Uint64()
	all := Expanders()
	for _, i := range r.Perm(len(all))[:r.Intn(3)] {
		in.Config.Expanders = append(in.Config.Expanders, all[i])
	}
	in.Config.BalanceSimilarGroups = r.Intn(2) == 0
	if r.Intn(2) == 0 {
		in.Config.MaxNodesTotal = len(in.Nodes) + r.Intn(4)
	}
	if r.Intn(2) == 0 {
		in.Config.MaxCores = int64(4*len(in.Nodes) + r.Intn(20))
	}
	if r.Intn(2) == 0 {
		in.Config.MaxMemory = int64(16*len(in.Nodes)+r.Intn(80)) << 30
	}
	in.History.MissingSince = map[string][]time.Time{}
	for i := range in.Groups {
		g := &in.Groups[i]
		g.Priority, g.PricePerHour, g.PriceKnown = r.Intn(2), r.Float64(), r.Intn(3) > 0
		for range r.Intn(4) {
			g.Target++
			in.History.MissingSince[g.Name] = append(in.History.MissingSince[g.Name], start.Add(-time.Duration(r.Intn(20))*time.Minute))
		}
		switch r.Intn(8) {
		case 0:
			g.Failing = []Failing{{Count: 1 + r.Intn(3), Reason: "stock"}}
		case 1:
			g.Options.MaxNodeProvisionTime = time.Duration(1+r.Intn(30)) * time.Minute
		case 2:
			g.Target = -r.Intn(3)
		case 3:
			g.Max = g.Min - 1
		}
	}
	return in
}

func TestAddProperties(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	adds, forgone, bounded := 0, 0, 0
	for i := range 1000 {
		in := troubled(r)
		d := Decide(in, newToy(in))
		if d.Blocked != "" {
			continue
		}
		adds, forgone = adds+len(d.Adds), forgone+len(d.Forgo)
		checkTotals(t, in, d, &bounded)
		checkForgone(t, in, d)
		if i%10 == 0 {
			shuffled := in
			shuffled.Groups, shuffled.Pending = shuffle(r, in.Groups), shuffle(r, in.Pending)
			if diff := cmp.Diff(d, Decide(shuffled, newToy(in))); diff != "" {
				t.Fatalf("another order of the input gives another decision (-first +second):\n%s", diff)
			}
		}
	}
	if adds == 0 || forgone == 0 || bounded == 0 {
		t.Errorf("%d adds, %d forgone, %d bounded: the stories prove nothing", adds, forgone, bounded)
	}
}

// checkTotals counts what there will be.
func checkTotals(t *testing.T, in Input, d Decision, bounded *int) {
	t.Helper()
	if len(d.Adds) == 0 {
		return
	}
	nodes, cores, memory := 0, int64(0), int64(0)
	count := func(n *v1.Node, times int) {
		nodes += times
		cores += int64(times) * n.Status.Capacity.Cpu().Value()
		memory += int64(times) * n.Status.Capacity.Memory().Value()
	}
	for _, n := range in.Nodes {
		count(n.Object, 1)
	}
	for _, add := range d.Adds {
		for _, g := range in.Groups {
			if g.Name == add.Group {
				count(g.Template, add.Count)
				if add.Target > g.Max || add.Target-add.Count != g.Target {
					t.Fatalf("group %s of %d nodes, maximum %d: %+v", g.Name, g.Target, g.Max, add)
				}
			}
		}
	}
	config := in.Config
	if config.MaxNodesTotal > 0 && nodes > config.MaxNodesTotal || config.MaxCores > 0 && cores > config.MaxCores || config.MaxMemory > 0 && memory > config.MaxMemory {
		t.Fatalf("%d nodes, %d cores, %d bytes after adds: %+v", nodes, cores, memory, config)
	}
	if config.MaxNodesTotal > 0 && nodes == config.MaxNodesTotal {
		*bounded++
	}
}

// checkForgone replays who never came: machines that failed, and nodes missing for too long.
func checkForgone(t *testing.T, in Input, d Decision) {
	t.Helper()
	count := map[string]int{}
	for _, forgo := range d.Forgo {
		count[forgo.Group] += forgo.Count
		if forgo.Count <= 0 || forgo.Reason == "" {
			t.Fatalf("forgone: %+v", forgo)
		}
	}
	for _, g := range in.Groups {
		limit, registered, lost := in.Config.MaxNodeProvisionTime, 0, 0
		if g.Options.MaxNodeProvisionTime > 0 {
			limit = g.Options.MaxNodeProvisionTime
		}
		for _, n := range in.Nodes {
			if n.Group == g.Name {
				registered++
			}
		}
		for _, failing := range g.Failing {
			lost += failing.Count
		}
		for _, since := range in.History.MissingSince[g.Name] {
			if start.Sub(since) > limit {
				lost++
			}
		}
		if most := min(lost, max(0, g.Target-registered)); count[g.Name] > most {
			t.Fatalf("%d nodes of group %s are forgone, want at most %d", count[g.Name], g.Name, most)
		}
		if count[g.Name] > 0 && grown(d)[g.Name] > 0 {
			t.Fatalf("group %s forgoes %d nodes and grows by %d", g.Name, count[g.Name], grown(d)[g.Name])
		}
	}
}

// Zones of one machine type that can all help end with sizes that differ by at
// most one, where one of them grew.
func TestBalanceProperty(t *testing.T) {
	r := rand.New(rand.NewSource(4))
	for range 1000 {
		in := Input{Now: start, Config: Defaults()}
		in.Config.BalanceSimilarGroups = true
		in.Config.Expanders = []Expander{Expanders()[r.Intn(len(Expanders()))]}
		for _, zone := range []string{"a", "b", "c", "d"}[:2+r.Intn(3)] {
			g := zoneGroup(zone, 0, r.Intn(12), 0)
			for i := range r.Intn(g.Max + 1) {
				in.Nodes = append(in.Nodes, nodeIn(g, fmt.Sprintf("%s%d", zone, i), podOf("full", "4").Obj()))
				g.Target++
			}
			in.Groups = append(in.Groups, g)
		}
		in.Pending = podsOf(r.Intn(30), "web", []string{"1", "2", "3"}[r.Intn(3)])
		d := Decide(in, newToy(in))
		size := map[string]int{}
		for _, g := range in.Groups {
			size[g.Name] = g.Target + grown(d)[g.Name]
		}
		for _, g := range in.Groups {
			for _, other := range in.Groups {
				if grown(d)[g.Name] > 0 && size[other.Name] < other.Max && size[g.Name] > size[other.Name]+1 {
					t.Fatalf("group %s has %d nodes, %s %d: %+v", g.Name, size[g.Name], other.Name, size[other.Name], d.Adds)
				}
			}
		}
	}
}
