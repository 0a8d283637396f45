// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestReturnToNode: Required waits for the node and says so, None goes where scores lead.
func TestReturnToNode(t *testing.T) {
	t.Parallel()
	const g ground = "return"
	const field = "home.returnToNode is Required"
	nodes := []*corev1.Node{g.node("1", "zone-a", nil), g.node("2", "zone-a", nil), g.node("3", "zone-a", nil)}
	must := g.on(fixture.Workload{Name: "must", Replicas: 1, CPU: "500m"})
	none := g.on(fixture.Workload{Name: "none", Replicas: 1, CPU: "500m"})
	var home string
	gone := step(func(ctx context.Context, t *testing.T, s scene) {
		s.deleteNode(ctx, t, home)
		s.forceDelete(ctx, t, "must-0")
		s.saysWhy(ctx, t, "must-0", fmt.Sprintf("ordinal 0 of %s/must must return to node %q, which is gone (%s); bring the node back, or change the policy", s.Namespace, home, field))
	})
	testenv.Test(t, features.New("home.returnToNode").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, must.Name, v1alpha1.Placement{Home: &v1alpha1.Home{ReturnToNode: v1alpha1.ReturnRequired}})
			s.policy(ctx, t, none.Name, v1alpha1.Placement{Home: &v1alpha1.Home{ReturnToNode: v1alpha1.ReturnNone}})
			s.create(ctx, t, must.Service(), must.StatefulSet(), none.Service(), none.StatefulSet())
			home = s.awaitSet(ctx, t, must.Name, 1)[0].Node
		})).
		Assess("None: elsewhere, where its node is the worst by score", step(func(ctx context.Context, t *testing.T, s scene) {
			was := s.awaitSet(ctx, t, none.Name, 1)[0].Node
			s.unattractive(ctx, t, g, was)
			s.deletePod(ctx, t, "none-0")
			if is := s.awaitPod(ctx, t, "none-0", corev1.PodRunning).Spec.NodeName; is == was {
				t.Errorf("none-0 is back on %s", is)
			}
			s.deletePod(ctx, t, "load-"+was)
		})).
		Assess("Required: it waits for room, and runs when there is some", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, g.load(home, "4"))
			s.deletePod(ctx, t, "must-0")
			s.saysWhy(ctx, t, "must-0", fmt.Sprintf("ordinal 0 of %s/must must return to node %q (%s), so make room there or change the policy: Insufficient cpu", s.Namespace, home, field))
			s.deletePod(ctx, t, "load-"+home)
			s.awaitOn(ctx, t, "must-0", home)
		})).
		Assess("Required, and the node is gone: it says so", gone).
		Assess("and runs when the node is back", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, g.node(strings.TrimPrefix(home, string(g)+"-"), "zone-a", nil))
			s.awaitOn(ctx, t, "must-0", home)
		})).
		Assess("Required, and the node is gone once more", gone).
		Assess("it runs when the policy lets it", step(func(ctx context.Context, t *testing.T, s scene) {
			s.editPolicy(ctx, t, must.Name, func(spec *v1alpha1.PlacementPolicySpec) { spec.Home.ReturnToNode = v1alpha1.ReturnPreferred })
			if is := s.awaitPod(ctx, t, "must-0", corev1.PodRunning).Spec.NodeName; is == home {
				t.Errorf("must-0 is on node %s, which is gone", is)
			}
		})).
		Feature())
}
