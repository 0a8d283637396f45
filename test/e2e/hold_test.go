// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// TestRoomIsKept: on a node that is full but for one slot, pods that wait for
// its room never get it while its set wants the slot, even when the scheduler is
// killed in between; they get it once the set gives the slot up.
func TestRoomIsKept(t *testing.T) {
	const g ground = "hold"
	const rivals = 5
	db := g.on(fixture.Workload{Name: "db", Replicas: 1, CPU: "3", Claims: []fixture.Claim{{Name: "data", Class: "local"}}})
	rival := g.on(fixture.Workload{Name: "rival", CPU: "3"})
	var node string
	testenv.Test(t, features.New("the room of a slot is kept").
		Setup(g.lay(t, g.node("1", "zone-a", nil))).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, endsComponents)
			t.Cleanup(func() { s.start(context.WithoutCancel(ctx), t, fixture.Scheduler) })
			s.create(ctx, t, db.Service(), db.StatefulSet())
			node = s.awaitSet(ctx, t, db.Name, 1)[0].Node
			for i := range rivals {
				name := fmt.Sprint("rival-", i)
				s.create(ctx, t, rival.Pod(name))
				s.awaitPending(ctx, t, name, corev1.PodReasonUnschedulable, "Insufficient cpu")
			}
		})).
		Assess("the slot comes back, again and again", step(func(ctx context.Context, t *testing.T, s scene) {
			for range 10 {
				s.deletePod(ctx, t, "db-0")
				s.awaitOn(ctx, t, "db-0", node)
			}
		})).
		Assess("the slot comes back after the scheduler was dead", step(func(ctx context.Context, t *testing.T, s scene) {
			s.kill(ctx, t, fixture.Scheduler)
			s.deletePod(ctx, t, "db-0")
			s.start(ctx, t, fixture.Scheduler)
			s.awaitOn(ctx, t, "db-0", node)
		})).
		Assess("on a cordoned node, too", step(func(ctx context.Context, t *testing.T, s scene) {
			s.cordon(ctx, t, true, node)
			s.deletePod(ctx, t, "db-0")
			s.awaitPending(ctx, t, "db-0", corev1.PodReasonUnschedulable, "unschedulable")
			s.cordon(ctx, t, false, node)
			s.awaitOn(ctx, t, "db-0", node)
		})).
		Assess("the room is free when the set gives the slot up", step(func(ctx context.Context, t *testing.T, s scene) {
			s.scale(ctx, t, "StatefulSet", db.Name, 0)
			s.until(ctx, t, "one of the rivals to be placed", func(ctx context.Context) (string, bool, error) {
				refused, err := s.refusedPods(ctx, rival)
				return fmt.Sprint(refused, " wait"), refused == rivals-1, err
			})
		})).
		Feature())
}
