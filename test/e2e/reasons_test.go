// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestReasons: an ordinal that waits says where it belongs, why, and what
// stands in the way there, in an event and in its condition.
func TestReasons(t *testing.T) {
	t.Parallel()
	const g ground = "reasons"
	// Zones of its own: reasons count every node of a zone.
	nodes := append(g.zones("why-a", "why-b", "why-c"), g.node("b2", "why-b", nil), g.node("b3", "why-b", nil))
	nodes[4].Spec.Taints = append(nodes[4].Spec.Taints, corev1.Taint{Key: "e2e.berth.dev/closed", Effect: corev1.TaintEffectNoSchedule})
	db := g.on(fixture.Workload{Name: "db", Replicas: 4, CPU: "1500m", Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}})
	ordered := g.on(fixture.Workload{Name: "ordered", Replicas: 3, CPU: "50m", Parallel: true})
	testenv.Test(t, features.New("reasons").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, db.Name, v1alpha1.Placement{Spread: &v1alpha1.Spread{}})
			// Who hears of the fifth pod before its claim refuses it for that, and of two refusals in a row the second may
			// have no event: so the claim is there before.
			s.create(ctx, t, db.MemberClaim("data-db-4", nil), db.Service(), db.StatefulSet())
			table := s.awaitSet(ctx, t, db.Name, 4)
			for _, node := range []string{"reasons-why-b", "reasons-b2"} {
				cpu := "3"
				if node == table[1].Node {
					cpu = "2"
				}
				s.create(ctx, t, g.load(node, cpu))
				s.awaitPod(ctx, t, "load-"+node, corev1.PodRunning)
			}
		})).
		Assess("a full zone: the ordinal, its zone, why, and each node there is counted", step(func(ctx context.Context, t *testing.T, s scene) {
			s.scale(ctx, t, "StatefulSet", db.Name, 5)
			s.saysWhy(ctx, t, "db-4", "ordinal 4 of "+s.Namespace+"/db belongs in why-b (1 of its 4 lower ordinals are there",
				"3 nodes there: 2 Insufficient cpu, 1 node(s) had untolerated taint(s)")
		})).
		Assess("a volume: the claim that ties it to its zone is named", step(func(ctx context.Context, t *testing.T, s scene) {
			s.scale(ctx, t, "StatefulSet", db.Name, 3)
			s.awaitSet(ctx, t, db.Name, 3)
			s.cordon(ctx, t, true, "reasons-why-c")
			s.deletePod(ctx, t, "db-2")
			s.saysWhy(ctx, t, "db-2", "ordinal 2 of "+s.Namespace+"/db belongs in why-c (volume ", `of claim "data-db-2" is there`,
				"1 node there: 1 node(s) were unschedulable")
		})).
		Assess("a gate: the ordinal that has to come first is named", step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, ordered.Name, v1alpha1.Placement{
				Start: &v1alpha1.Start{Order: v1alpha1.StartOrdered, Until: v1alpha1.UntilScheduled},
				Rules: []v1alpha1.Rule{onNodes("0", capacityLabel, "on-demand")},
			})
			s.create(ctx, t, ordered.Service(), ordered.StatefulSet())
			says := []string{
				"ordinal 2 of " + s.Namespace + "/ordered starts when every lower ordinal is scheduled, and ordinal 0 was not yet",
				`start.order Ordered of PlacementPolicy "ordered"`,
			}
			t.Log(s.awaitPending(ctx, t, "ordered-2", corev1.PodReasonSchedulingGated, says...))
			s.awaitEvent(ctx, t, "Pod", "ordered-2", "OrdinalGated", says...)
			s.saysWhy(ctx, t, "ordered-0", "not selected by rule 1 (ordinals 0: "+capacityLabel+" In (on-demand))")
		})).
		Assess("once bound, nothing of that is left", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, g.node("demand", "why-a", map[string]string{capacityLabel: "on-demand"}))
			s.awaitSet(ctx, t, ordered.Name, 3)
			for _, pod := range []string{"ordered-0", "ordered-2"} {
				for _, c := range s.awaitPod(ctx, t, pod, corev1.PodRunning).Status.Conditions {
					if c.Type == corev1.PodScheduled && (c.Status != corev1.ConditionTrue || strings.Contains(c.Message, "ordinal")) {
						t.Errorf("condition of %s is %v", pod, c)
					}
				}
			}
		})).
		Feature())
}

// saysWhy waits until a pod that finds no node says so with all the words, in
// its condition and in an event.
func (s scene) saysWhy(ctx context.Context, t *testing.T, pod string, words ...string) {
	t.Helper()
	t.Log(s.awaitPending(ctx, t, pod, corev1.PodReasonUnschedulable, words...))
	s.awaitEvent(ctx, t, "Pod", pod, "FailedScheduling", words...)
}
