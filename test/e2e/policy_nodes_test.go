// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// capacityLabel is how clouds tell nodes that they may take back.
const capacityLabel = "e2e.berth.dev/capacity"

// load is a pod that fills a part of a node, so that the default scores are
// against it.
func (g ground) load(node, cpu string) *corev1.Pod {
	pod := g.on(fixture.Workload{Name: "load", CPU: cpu}).Pod("load-" + node)
	pod.Spec.NodeName = node
	return pod
}

// TestSeparateNodes: slots of a set share a node never, rather not, or as the room is.
func TestSeparateNodes(t *testing.T) {
	t.Parallel()
	const g ground = "apart"
	nodes := []*corev1.Node{g.node("a1", "zone-a", nil), g.node("a2", "zone-a", nil), g.node("b1", "zone-b", nil), g.node("c1", "zone-c", nil)}
	set := func(name string, replicas int32) fixture.Workload {
		return g.on(fixture.Workload{Name: name, Replicas: replicas, CPU: "50m"})
	}
	never, rather, may := set("never", 5), set("rather", 5), set("may", 4)
	abc := &v1alpha1.Spread{Domains: []string{"zone-a", "zone-b", "zone-c"}}
	testenv.Test(t, features.New("separateNodes").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			// Without a say in it, two slots in zone-a are both on a1.
			s.create(ctx, t, g.load("apart-a2", "3"))
			s.awaitPod(ctx, t, "load-apart-a2", corev1.PodRunning)
			s.policy(ctx, t, never.Name, v1alpha1.Placement{SeparateNodes: v1alpha1.SeparateRequired})
			s.policy(ctx, t, rather.Name, v1alpha1.Placement{SeparateNodes: v1alpha1.SeparatePreferred, Spread: abc})
			s.policy(ctx, t, may.Name, v1alpha1.Placement{SeparateNodes: v1alpha1.SeparateNone, Spread: abc})
			for _, set := range []fixture.Workload{never, rather, may} {
				s.create(ctx, t, set.Service(), set.StatefulSet())
			}
		})).
		Assess("Required leaves a slot without a node of its own waiting", step(func(ctx context.Context, t *testing.T, s scene) {
			table := s.awaitRunning(ctx, t, never.Name, 4)
			nodes := slices.Sorted(slices.Values(nodesOf(table)[:4]))
			if diff := cmp.Diff([]string{"apart-a1", "apart-a2", "apart-b1", "apart-c1"}, nodes); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
			t.Log(s.awaitPending(ctx, t, "never-4", corev1.PodReasonUnschedulable, "4 node(s) with another slot of "+s.Namespace+"/never"))
		})).
		Assess("it gets the next node there is", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, g.node("d1", "zone-d", nil))
			if diff := cmp.Diff("apart-d1", s.awaitRunning(ctx, t, never.Name, 5)[4].Node); diff != "" {
				t.Errorf("node of never-4 (-want +got):\n%s", diff)
			}
		})).
		Assess("Preferred shares a node only where it has to", step(func(ctx context.Context, t *testing.T, s scene) {
			want := []string{"apart-a1", "apart-b1", "apart-c1", "apart-a2", "apart-b1"}
			if diff := cmp.Diff(want, nodesOf(s.awaitSet(ctx, t, rather.Name, 5))); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})).
		Assess("None does not care", step(func(ctx context.Context, t *testing.T, s scene) {
			want := []string{"apart-a1", "apart-b1", "apart-c1", "apart-a1"}
			if diff := cmp.Diff(want, nodesOf(s.awaitSet(ctx, t, may.Name, 4))); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})).
		Feature())
}

// nodesOf are the nodes that a set is on, in the order of its ordinals.
func nodesOf(table fixture.Table) []string {
	nodes := make([]string, len(table))
	for i, row := range table {
		nodes[i] = row.Node
	}
	return nodes
}

// TestRules: the first rule that names an ordinal selects its nodes, and with
// them its zones.
func TestRules(t *testing.T) {
	t.Parallel()
	const g ground = "rules"
	spot, demand := map[string]string{capacityLabel: "spot"}, map[string]string{capacityLabel: "on-demand"}
	nodes := []*corev1.Node{
		g.node("a-spot", "zone-a", spot), g.node("b-spot", "zone-b", spot), g.node("c-spot", "zone-c", spot),
		g.node("b-demand", "zone-b", demand), g.node("c-demand", "zone-c", demand),
	}
	claims := []fixture.Claim{{Name: "data", Class: "zonal"}}
	seed := g.on(fixture.Workload{Name: "seed", Replicas: 5, CPU: "50m", Claims: claims})
	first := g.on(fixture.Workload{Name: "first", Replicas: 4, CPU: "50m"})
	none := g.on(fixture.Workload{Name: "none", Replicas: 2, CPU: "50m", Parallel: true})
	testenv.Test(t, features.New("rules").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			// The default scores are against the nodes that the rules want.
			for _, node := range []string{"rules-b-demand", "rules-c-demand"} {
				s.create(ctx, t, g.load(node, "3"))
				s.awaitPod(ctx, t, "load-"+node, corev1.PodRunning)
			}
			rules := map[string][]v1alpha1.Rule{
				seed.Name:  {onNodes("0", capacityLabel, "on-demand")},
				first.Name: {onNodes("0,2-", capacityLabel, "spot"), onNodes("0-1", capacityLabel, "on-demand")},
				none.Name:  {onNodes("1", capacityLabel, "reserved")},
			}
			for _, set := range []fixture.Workload{seed, first, none} {
				s.policy(ctx, t, set.Name, v1alpha1.Placement{Spread: &v1alpha1.Spread{}, Rules: rules[set.Name]})
				s.create(ctx, t, set.Service(), set.StatefulSet())
			}
		})).
		Assess("ordinal 0 is where its rule has nodes, and the others keep the balance", step(func(ctx context.Context, t *testing.T, s scene) {
			want := []string{"rules-b-demand", "rules-a-spot", "rules-c-spot", "rules-a-spot", "rules-b-spot"}
			if diff := cmp.Diff(want, nodesOf(s.awaitSet(ctx, t, seed.Name, 5))); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})).
		Assess("of two rules for one ordinal the first counts", step(func(ctx context.Context, t *testing.T, s scene) {
			want := []string{"rules-a-spot", "rules-b-demand", "rules-c-spot", "rules-a-spot"}
			if diff := cmp.Diff(want, nodesOf(s.awaitSet(ctx, t, first.Name, 4))); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})).
		Assess("an ordinal whose rule has no node waits, and says which rule", step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitRunning(ctx, t, none.Name, 1)
			t.Log(s.awaitPending(ctx, t, "none-1", corev1.PodReasonUnschedulable, "ordinal 1 of", "rule 1", capacityLabel, "reserved"))
		})).
		Assess("it runs once there is one", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, g.node("c-reserved", "zone-c", map[string]string{capacityLabel: "reserved"}))
			if diff := cmp.Diff("rules-c-reserved", s.awaitSet(ctx, t, none.Name, 2)[1].Node); diff != "" {
				t.Errorf("node of none-1 (-want +got):\n%s", diff)
			}
		})).
		Feature())
}
