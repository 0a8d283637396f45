// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestRetainedClaims: a set goes from ten to three and back, and each node that
// comes is in the zone where the claim of its ordinal is.
func TestRetainedClaims(t *testing.T) {
	t.Parallel()
	const g ground = "kept"
	db := g.on(fixture.Workload{Name: "db", Replicas: 10, CPU: "3", Parallel: true, Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}})
	var before fixture.Table
	var came *arrivals
	testenv.Test(t, features.New("a set whose claims outlive its slots").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			came = s.watchArrivals(ctx, t, forLabel+"="+string(g))
		})).
		Assess("has ten nodes for ten slots", step(func(ctx context.Context, t *testing.T, s scene) {
			begin := time.Now()
			s.policy(ctx, t, db.Name, v1alpha1.Placement{})
			s.create(ctx, t, db.Service(), db.StatefulSet())
			before = s.awaitSet(ctx, t, db.Name, 10)
			s.judgeKept(ctx, t, came, begin, before, 10)
		})).
		Assess("loses seven slots and their nodes", step(func(ctx context.Context, t *testing.T, s scene) {
			s.scale(ctx, t, "StatefulSet", db.Name, 3)
			s.awaitNodes(ctx, t, string(g), 3)
		})).
		Assess("gets seven nodes where the claims are", step(func(ctx context.Context, t *testing.T, s scene) {
			begin := time.Now()
			s.scale(ctx, t, "StatefulSet", db.Name, 10)
			after := s.awaitSet(ctx, t, db.Name, 10)
			for i, row := range after {
				if row.Volume != before[i].Volume || row.Zone != before[i].Zone {
					t.Errorf("ordinal %d is in %s with volume %s, and was in %s with %s", row.Ordinal, row.Zone, row.Volume, before[i].Zone, before[i].Volume)
				}
			}
			s.judgeKept(ctx, t, came, begin, after[3:], 7)
		})).
		Teardown(step(func(ctx context.Context, t *testing.T, s scene) {
			s.scale(ctx, t, "StatefulSet", db.Name, 0)
		})).
		Feature())
}

// judgeKept demands that so many nodes came, one for each slot, in its zone.
func (s scene) judgeKept(ctx context.Context, t *testing.T, came *arrivals, begin time.Time, slots fixture.Table, want int) {
	t.Helper()
	nodes, err := came.since(begin)
	if err != nil {
		t.Fatal(err)
	}
	zones := map[string]int{}
	for _, row := range slots {
		zones[row.Zone]++
	}
	t.Logf("acceptance: %d nodes came for %d slots: %s", len(nodes), len(slots), perZone(nodes))
	if len(nodes) != want {
		t.Errorf("%d nodes came, want %d", len(nodes), want)
	}
	for _, n := range nodes {
		if zones[n.zone]--; zones[n.zone] < 0 {
			t.Errorf("node %s came in %s, where no slot needs it", n.name, n.zone)
		}
	}
	if err := s.allUsed(ctx, nodes); err != nil {
		t.Error(err)
	}
}

// TestPluginsAskForNodes: nodes come for pods that the scheduler's own plugins would let onto nodes that are there,
// and Berth's do not.
func TestPluginsAskForNodes(t *testing.T) {
	t.Parallel()
	const g ground = "only"
	planned := g.on(fixture.Workload{Name: "planned", Replicas: 3, CPU: "100m", Parallel: true})
	db := g.on(fixture.Workload{Name: "db", Replicas: 1, CPU: "3", Parallel: true, Claims: []fixture.Claim{{Name: "data", Class: "local"}}})
	rival := g.on(fixture.Workload{Name: "rival", CPU: "3500m"})
	var home string
	testenv.Test(t, features.New("pods that Berth's plugins alone refuse").
		Setup(g.lay(t, g.node("a", "zone-a", nil), g.node("b", "zone-b", nil))).
		Assess("a slot whose planned zone has no node", step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, planned.Name, v1alpha1.Placement{Spread: &v1alpha1.Spread{Domains: []string{"zone-a", "zone-b", "zone-c"}, Enforcement: v1alpha1.Required}})
			s.create(ctx, t, planned.Service(), planned.StatefulSet())
			if zones := s.awaitSet(ctx, t, planned.Name, 3).Zones(); zones != "zone-a zone-b zone-c" {
				t.Errorf("zones %s, want a, b and c", zones)
			}
		})).
		Assess("pods beside room that is held for an absent slot", step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, db.Name, v1alpha1.Placement{SeparateNodes: v1alpha1.SeparateRequired})
			s.create(ctx, t, db.Service(), db.StatefulSet())
			home = s.awaitSet(ctx, t, db.Name, 1)[0].Node
			s.keepAway(ctx, t, db.Name, 0)
			// One for each of the other two nodes that are there, and one more.
			for _, name := range []string{"rival-1", "rival-2", "rival-3"} {
				s.create(ctx, t, rival.Pod(name))
			}
			s.until(ctx, t, "three rivals to run", s.readyPods(rival, 3))
			s.nobodyOn(ctx, t, home, rival)
		})).
		Assess("a slot beside the volume of its absent sibling", step(func(ctx context.Context, t *testing.T, s scene) {
			s.scale(ctx, t, "StatefulSet", db.Name, 2)
			s.awaitRunning(ctx, t, db.Name, 1)
			s.nobodyOn(ctx, t, home, db)
		})).
		Feature())
}

// nobodyOn demands that no pod of a workload runs on a node.
func (s scene) nobodyOn(ctx context.Context, t *testing.T, node string, w fixture.Workload) {
	t.Helper()
	pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: w.Selector()})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Spec.NodeName == node {
			t.Errorf("pod %s is on node %s", pod.Name, node)
		}
	}
}
