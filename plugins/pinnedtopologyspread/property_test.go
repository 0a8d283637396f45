// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package pinnedtopologyspread

import (
	"fmt"
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread"
	"k8s.io/utils/ptr"
)

var keys = []string{zone, rack, host}

// draw makes some nodes, a few without one of the labels, and members of the
// set, other pods and terminating ones on them.
func draw(random *rand.Rand) []runtime.Object {
	var drawn []runtime.Object
	pick := func(values ...string) string { return values[random.Intn(len(values))] }
	for i := range 1 + random.Intn(8) {
		name := fmt.Sprintf("n%d", i)
		drawn = append(drawn, node(name, map[string]string{
			zone: pick("a", "a", "b", "b", "c", ""), rack: pick("r1", "r2", ""), host: pick(name, name, name, name, ""),
		}))
		for j := range random.Intn(4) {
			w := member(fmt.Sprintf("db-%d-%d", i, j)).Node(name)
			switch random.Intn(6) {
			case 0:
				w.Label("app", "web")
			case 1:
				w.Terminating()
			case 2:
				w.Namespace("test")
			}
			drawn = append(drawn, w.Obj())
		}
	}
	return drawn
}

func drawConstraints(random *rand.Rand) []v1.TopologySpreadConstraint {
	var drawn []v1.TopologySpreadConstraint
	for _, key := range keys {
		for _, action := range []v1.UnsatisfiableConstraintAction{v1.DoNotSchedule, v1.ScheduleAnyway} {
			if random.Intn(5) < 2 {
				c := spread(key, action, int32(1+random.Intn(3)))
				if action == v1.DoNotSchedule && random.Intn(4) == 0 {
					c.MinDomains = ptr.To(int32(1 + random.Intn(4)))
				}
				drawn = append(drawn, c)
			}
		}
	}
	random.Shuffle(len(drawn), func(i, j int) { drawn[i], drawn[j] = drawn[j], drawn[i] })
	return drawn
}

// argsOf are configurations in which the defaults matter to members of the set.
var argsOf = map[string]string{
	"system": "",
	"none":   "defaultingType: List",
	"list": `{"defaultingType": "List", "defaultConstraints": [{"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"},
		{"topologyKey": "kubernetes.io/hostname", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}, {"topologyKey": "example.com/rack", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}]}`,
}

// Where nothing is pinned or planned the plugin is upstream's, in every verdict,
// reason, skip and score, on every node, preemption included.
func TestUnpinnedIsUpstream(t *testing.T) {
	for name, args := range argsOf {
		t.Run(name, func(t *testing.T) {
			none := &pins{}
			stock, ours := build(t, podtopologyspread.Name, args, nil, set()), build(t, Name, args, none, set())
			refused, scored := 0, 0
			for seed := range int64(400) {
				random := rand.New(rand.NewSource(seed))
				drawn := snapshotOf(draw(random)...)
				stock.snapshot.SharedLister, ours.snapshot.SharedLister = drawn, drawn
				pod := spreading(member("db-x").Obj(), drawConstraints(random)...)
				if none.domains = nil; random.Intn(2) == 0 {
					none.domains = map[string]string{"example.com/other": "x"}
				}
				want := stock.try(t, pod)
				if diff := cmp.Diff(want, ours.try(t, pod)); diff != "" {
					t.Fatalf("seed %d (-upstream +ours):\n%s", seed, diff)
				}
				refused, scored = refused+len(want.Refused), scored+len(want.Scores)
			}
			if scored == 0 || refused == 0 {
				t.Errorf("%d refusals and %d scores were compared, want some of both", refused, scored)
			}
		})
	}
}

// Whatever is pinned, a node is refused for a constraint with a choice in it
// and for nothing else, and never where upstream would accept it.
func TestPinnedRefusesByTheRest(t *testing.T) {
	p := &pins{}
	stock, ours := build(t, podtopologyspread.Name, "", nil, set()), build(t, Name, "", p, set())
	cured := 0
	for seed := range int64(1500) {
		random := rand.New(rand.NewSource(seed))
		cluster := draw(random)
		drawn := snapshotOf(cluster...)
		stock.snapshot.SharedLister, ours.snapshot.SharedLister = drawn, drawn
		pod := spreading(member("db-x").Obj(), drawConstraints(random)...)
		p.domains = map[string]string{}
		for _, key := range keys {
			if random.Intn(2) == 0 {
				p.domains[key] = "any"
			}
		}
		upstreams, got := stock.try(t, pod), ours.try(t, pod)
		for _, obj := range cluster {
			node, ok := obj.(*v1.Node)
			if !ok {
				continue
			}
			_, before := upstreams.Refused[node.Name]
			_, after := got.Refused[node.Name]
			if want := !keeps(cluster, pod, node, p.domains); after != want {
				t.Fatalf("seed %d: node %s refused: %v (%s), want %v; pinned %v", seed, node.Name, after, got.Refused[node.Name], want, p.domains)
			}
			if after && !before {
				t.Fatalf("seed %d: node %s is refused, upstream accepts it", seed, node.Name)
			}
			if before && !after {
				cured++
			}
		}
	}
	if cured == 0 {
		t.Error("no refusal of upstream's was cured")
	}
}

// keeps is the documented rule by itself, in one go over all pods: whether the
// pod on the node keeps the hard constraints that are not pinned. Where only
// pinned ones are left none of them is looked at.
func keeps(cluster []runtime.Object, pod *v1.Pod, on *v1.Node, pinned map[string]string) bool {
	var hard []v1.TopologySpreadConstraint
	choice := false
	for _, c := range pod.Spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable == v1.DoNotSchedule {
			_, ok := pinned[c.TopologyKey]
			hard, choice = append(hard, c), choice || !ok
		}
	}
	labelled := func(node *v1.Node) bool {
		for _, c := range hard {
			if _, ok := node.Labels[c.TopologyKey]; !ok {
				return false
			}
		}
		return true
	}
	if !choice {
		return true
	}
	if !labelled(on) {
		return false
	}
	nodes := map[string]*v1.Node{}
	for _, obj := range cluster {
		if node, ok := obj.(*v1.Node); ok && labelled(node) {
			nodes[node.Name] = node
		}
	}
	for _, c := range hard {
		if _, ok := pinned[c.TopologyKey]; ok {
			continue
		}
		counts := map[string]int{}
		for _, node := range nodes {
			counts[node.Labels[c.TopologyKey]] += 0
		}
		for _, obj := range cluster {
			if other, ok := obj.(*v1.Pod); ok && nodes[other.Spec.NodeName] != nil && other.Namespace == pod.Namespace &&
				other.Labels["app"] == "db" && other.DeletionTimestamp == nil {
				counts[nodes[other.Spec.NodeName].Labels[c.TopologyKey]]++
			}
		}
		least := counts[on.Labels[c.TopologyKey]]
		for _, count := range counts {
			least = min(least, count)
		}
		if len(counts) < int(ptr.Deref(c.MinDomains, 1)) {
			least = 0
		}
		if counts[on.Labels[c.TopologyKey]]+1-least > int(c.MaxSkew) {
			return false
		}
	}
	return true
}
