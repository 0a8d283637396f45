// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

const rackLabel = "e2e.berth.dev/rack"

// spreadCase is a set whose policy spreads it, and where it lands: the domains
// in the order of ordinals, "-" for one that waits.
type spreadCase struct {
	spread v1alpha1.Spread
	rules  []v1alpha1.Rule
	// key is the node label that want is about; empty is the zone.
	key     string
	want    string
	waiting map[string][]string // pods that wait, with the words of their reason
}

// TestSpreadFields: each field of spread changes where a set lands.
func TestSpreadFields(t *testing.T) {
	t.Parallel()
	const g ground = "spread"
	// Domains of unequal size: zone-a alone has most of the room.
	nodes := []*corev1.Node{
		g.node("a1", "zone-a", map[string]string{rackLabel: "r1"}), g.node("a2", "zone-a", map[string]string{rackLabel: "r2"}),
		g.node("a3", "zone-a", map[string]string{rackLabel: "r1"}), g.node("b1", "zone-b", map[string]string{rackLabel: "r2"}),
		g.node("c1", "zone-c", map[string]string{rackLabel: "r3"}), g.node("d1", "zone-d", nil),
	}
	abc := []string{"zone-c", "zone-b", "zone-a"} // their order means nothing
	cases := map[string]spreadCase{
		"unequal":    {want: "zone-a zone-b zone-c zone-d zone-a zone-b zone-c zone-d"},
		"subset":     {spread: v1alpha1.Spread{Domains: []string{"zone-d", "zone-b"}}, want: "zone-b zone-d zone-b zone-d zone-b"},
		"contiguous": {spread: v1alpha1.Spread{Domains: abc, Arrangement: v1alpha1.Contiguous, BlockSize: new(int32(2))}, want: "zone-a zone-a zone-b zone-b zone-c zone-c zone-a zone-a"},
		"shards":     {spread: v1alpha1.Spread{Domains: abc, ShardSize: new(int32(3))}, want: "zone-a zone-b zone-c zone-a zone-b zone-c"},
		// Ordinal 2 may not have the zones that ordinals 0 and 1 would take: one of them makes way.
		"shards-4": {
			spread: v1alpha1.Spread{ShardSize: new(int32(3))},
			rules:  []v1alpha1.Rule{onNodes("2", corev1.LabelTopologyZone, "zone-a", "zone-b")},
			want:   "zone-a zone-c zone-b zone-d zone-a zone-b",
		},
		"shards-2": {
			spread:  v1alpha1.Spread{Domains: []string{"zone-a", "zone-b"}, ShardSize: new(int32(3))},
			want:    "zone-a zone-b -",
			waiting: map[string][]string{"shards-2-2": {"zone-a by ordinal 0 of its shard 0-2", "zone-b by ordinal 1 of its shard 0-2"}},
		},
		"cap": {
			spread:  v1alpha1.Spread{Domains: []string{"zone-a", "zone-b"}, MaxPerDomain: new(int32(2))},
			want:    "zone-a zone-b zone-a zone-b -",
			waiting: map[string][]string{"cap-4": {"zone-a holds 2 of at most 2", "zone-b holds 2 of at most 2"}},
		},
		"racks": {spread: v1alpha1.Spread{TopologyKey: rackLabel}, key: rackLabel, want: "r1 r2 r3 r1 r2 r3 r1"},
		"hosts": {
			spread: v1alpha1.Spread{TopologyKey: corev1.LabelHostname}, key: corev1.LabelHostname,
			want: "spread-a1.local spread-a2.local spread-a3.local spread-b1.local spread-c1.local spread-d1.local spread-a1.local",
		},
	}
	testenv.Test(t, features.New("the fields of spread").
		Setup(g.lay(t, nodes...)).
		Assess("each places its set as documented", step(func(ctx context.Context, t *testing.T, s scene) {
			for name, c := range cases {
				s.create(ctx, t, fixture.Policy(name, name, v1alpha1.Placement{Spread: &c.spread, Rules: c.rules}))
			}
			for name := range cases {
				s.awaitPolicy(ctx, t, name, v1alpha1.Accepted, "True")
			}
			for name, c := range cases {
				set := g.on(fixture.Workload{Name: name, Replicas: int32(len(strings.Fields(c.want))), CPU: "50m"})
				s.create(ctx, t, set.Service(), set.StatefulSet())
			}
			for name, c := range cases {
				t.Run(name, func(t *testing.T) { s.awaitSpread(ctx, t, name, c, nodes) })
			}
		})).
		Feature())
}

// onNodes is a rule by which ordinals are on nodes with one of the values of a label.
func onNodes(ordinals, key string, values ...string) v1alpha1.Rule {
	return v1alpha1.Rule{Ordinals: ordinals, NodeSelectorTerms: []v1alpha1.NodeSelectorTerm{{
		MatchExpressions: []v1alpha1.NodeLabelRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values}},
	}}}
}

// awaitSpread waits until the set of a case has landed, and compares.
func (s scene) awaitSpread(ctx context.Context, t *testing.T, set string, c spreadCase, nodes []*corev1.Node) {
	t.Helper()
	want := strings.Fields(c.want)
	running := slices.DeleteFunc(slices.Clone(want), func(domain string) bool { return domain == "-" })
	table := s.awaitRunning(ctx, t, set, len(running))
	if diff := cmp.Diff(c.want, domains(table, nodes, c.key, len(want))); diff != "" {
		t.Errorf("domains of %s (-want +got):\n%s", set, diff)
	}
	for pod, words := range c.waiting {
		t.Log(s.awaitPending(ctx, t, pod, corev1.PodReasonUnschedulable, words...))
	}
}

// TestParallelSpread: pods that are all made at once are bound in any order.
// Each prefix of the set is balanced all the same, and shards stay apart.
func TestParallelSpread(t *testing.T) {
	t.Parallel()
	const g ground = "parallel"
	nodes := g.zones("zone-a", "zone-b", "zone-c", "zone-d")
	sets := map[string]v1alpha1.Spread{
		"plain":  {Domains: []string{"zone-a", "zone-b", "zone-c"}},
		"shards": {ShardSize: new(int32(3))},
	}
	testenv.Test(t, features.New("a set whose pods are made at once").
		Setup(g.lay(t, nodes...)).
		Assess("is balanced up to each ordinal", step(func(ctx context.Context, t *testing.T, s scene) {
			for name, spread := range sets {
				s.policy(ctx, t, name, v1alpha1.Placement{Spread: &spread})
				set := g.on(fixture.Workload{Name: name, Replicas: 12, CPU: "50m", Parallel: true})
				s.create(ctx, t, set.Service(), set.StatefulSet())
			}
			for name := range sets {
				zones := strings.Fields(s.awaitSet(ctx, t, name, 12).Zones())
				if err := balanced(zones); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				for shard := range slices.Chunk(zones, 3) {
					if name == "shards" && len(slices.Compact(slices.Sorted(slices.Values(shard)))) < len(shard) {
						t.Errorf("members of a shard share a zone: %v", shard)
					}
				}
			}
		})).
		Feature())
}

// balanced tells whether the numbers of ordinals per zone differ by one at
// most, up to each ordinal.
func balanced(zones []string) error {
	perZone := map[string]int{}
	for _, zone := range zones {
		perZone[zone] = 0
	}
	for ordinal, zone := range zones {
		perZone[zone]++
		counts := slices.Sorted(maps.Values(perZone))
		if counts[len(counts)-1]-counts[0] > 1 {
			return fmt.Errorf("ordinals 0 to %d of %v are out of balance: %v", ordinal, zones, perZone)
		}
	}
	return nil
}
