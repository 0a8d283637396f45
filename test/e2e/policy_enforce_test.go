// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestEnforcement: where the planned zone has no room, Required waits and
// Preferred takes the next best one that the rest of the policy allows.
func TestEnforcement(t *testing.T) {
	t.Parallel()
	const g ground = "enforce"
	nodes := g.zones("zone-a", "zone-b", "zone-c")
	spread := func(enforcement v1alpha1.Enforcement, shardSize *int32) v1alpha1.Placement {
		return v1alpha1.Placement{Spread: &v1alpha1.Spread{Enforcement: enforcement, ShardSize: shardSize}}
	}
	waits := g.on(fixture.Workload{Name: "waits", Replicas: 3, CPU: "500m", Parallel: true})
	takes := g.on(fixture.Workload{Name: "takes", Replicas: 3, CPU: "500m"})
	shard := g.on(fixture.Workload{Name: "shard", Replicas: 3, CPU: "500m"})
	full := g.on(fixture.Workload{Name: "full", CPU: "3800m"}).Pod("full")
	full.Spec.NodeName = "enforce-zone-b"
	// awaitPlaces compares where a set is, but for those of its ordinals that wait.
	awaitPlaces := func(ctx context.Context, t *testing.T, s scene, set string, running, ordinals int, want string) {
		t.Helper()
		if diff := cmp.Diff(want, domains(s.awaitRunning(ctx, t, set, running), nodes, "", ordinals)); diff != "" {
			t.Errorf("zones of %s (-want +got):\n%s", set, diff)
		}
	}
	testenv.Test(t, features.New("enforcement").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, waits.Name, spread(v1alpha1.Required, nil))
			s.policy(ctx, t, takes.Name, spread(v1alpha1.Preferred, nil))
			s.policy(ctx, t, shard.Name, spread(v1alpha1.Preferred, new(int32(3))))
			s.create(ctx, t, full)
			s.awaitPod(ctx, t, full.Name, corev1.PodRunning)
		})).
		Assess("Required waits for a full zone", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, waits.Service(), waits.StatefulSet())
			awaitPlaces(ctx, t, s, waits.Name, 2, 3, "zone-a - zone-c")
			t.Log(s.awaitPending(ctx, t, "waits-1", corev1.PodReasonUnschedulable, "belongs in zone-b", "Insufficient cpu"))
		})).
		Assess("Preferred takes the next best zone", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, takes.Service(), takes.StatefulSet())
			awaitPlaces(ctx, t, s, takes.Name, 3, 3, "zone-a zone-c zone-a")
		})).
		Assess("Preferred does not put members of a shard together", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, shard.Service(), shard.StatefulSet())
			awaitPlaces(ctx, t, s, shard.Name, 2, 3, "zone-a zone-c -")
			t.Log(s.awaitPending(ctx, t, "shard-2", corev1.PodReasonUnschedulable, "belongs in zone-b", "ordinal 0 of its shard", "ordinal 1 of its shard"))
		})).
		Assess("the zone has room: who waits goes there, who runs stays", step(func(ctx context.Context, t *testing.T, s scene) {
			s.deletePod(ctx, t, full.Name)
			awaitPlaces(ctx, t, s, waits.Name, 3, 3, "zone-a zone-b zone-c")
			awaitPlaces(ctx, t, s, shard.Name, 3, 3, "zone-a zone-c zone-b")
			s.scale(ctx, t, "StatefulSet", takes.Name, 4)
			awaitPlaces(ctx, t, s, takes.Name, 4, 4, "zone-a zone-c zone-a zone-b")
		})).
		Assess("a cordoned zone is the same", step(func(ctx context.Context, t *testing.T, s scene) {
			s.cordon(ctx, t, true, "enforce-zone-b")
			s.scale(ctx, t, "StatefulSet", waits.Name, 5)
			s.scale(ctx, t, "StatefulSet", takes.Name, 5)
			awaitPlaces(ctx, t, s, waits.Name, 4, 5, "zone-a zone-b zone-c zone-a -")
			t.Log(s.awaitPending(ctx, t, "waits-4", corev1.PodReasonUnschedulable, "belongs in zone-b", "unschedulable"))
			awaitPlaces(ctx, t, s, takes.Name, 5, 5, "zone-a zone-c zone-a zone-b zone-c")
			s.cordon(ctx, t, false, "enforce-zone-b")
			awaitPlaces(ctx, t, s, waits.Name, 5, 5, "zone-a zone-b zone-c zone-a zone-b")
		})).
		Feature())
}

// TestDomainLoss: a zone without a ready node leaves the plan after a while,
// for slots without volumes, and comes back with its node.
func TestDomainLoss(t *testing.T) {
	t.Parallel()
	const (
		g     ground = "loss"
		after        = 20 * time.Second
	)
	// Zones of its own: another node in one of them would keep it from being lost.
	nodes := g.zones("loss-a", "loss-b", "loss-c")
	placement := v1alpha1.Placement{Spread: &v1alpha1.Spread{OnDomainLoss: &v1alpha1.DomainLoss{After: metav1.Duration{Duration: after}}}}
	cache := g.on(fixture.Workload{Name: "cache", Replicas: 3, CPU: "50m", Parallel: true})
	db := g.on(fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Parallel: true, Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}})
	testenv.Test(t, features.New("a zone that is lost").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			for _, set := range []fixture.Workload{cache, db} {
				s.policy(ctx, t, set.Name, placement)
				s.create(ctx, t, set.Service(), set.StatefulSet())
			}
			for _, set := range []fixture.Workload{cache, db} {
				if diff := cmp.Diff("loss-a loss-b loss-c", s.awaitSet(ctx, t, set.Name, 3).Zones()); diff != "" {
					t.Fatalf("zones of %s (-want +got):\n%s", set.Name, diff)
				}
			}
		})).
		Assess("until then its ordinals wait for it", step(func(ctx context.Context, t *testing.T, s scene) {
			s.unready(ctx, t, "loss-loss-b")
			s.awaitRefusalOn(ctx, t, "loss-loss-b", "untolerated taint")
			s.deletePod(ctx, t, "cache-1")
			s.deletePod(ctx, t, "db-1")
			// The event, which stays: the pod itself may be let go before anybody looks.
			t.Log(s.awaitEvent(ctx, t, "Pod", "cache-1", "FailedScheduling", "ordinal 1 of", "belongs in loss-b", "untolerated taint"))
		})).
		Assess("then one without a volume goes elsewhere", step(func(ctx context.Context, t *testing.T, s scene) {
			begin := time.Now()
			if diff := cmp.Diff("loss-a loss-c loss-c", s.awaitSet(ctx, t, cache.Name, 3).Zones()); diff != "" {
				t.Errorf("zones of %s (-want +got):\n%s", cache.Name, diff)
			}
			t.Logf("it was let go after %s more", time.Since(begin).Round(100*time.Millisecond))
		})).
		Assess("and one with a volume waits for it", step(func(ctx context.Context, t *testing.T, s scene) {
			t.Log(s.awaitPending(ctx, t, "db-1", corev1.PodReasonUnschedulable, "belongs in loss-b", "data-db-1"))
		})).
		Assess("the zone comes back into the plan with its node, and nobody moves", step(func(ctx context.Context, t *testing.T, s scene) {
			s.ready(ctx, t, "loss-loss-b")
			if diff := cmp.Diff("loss-a loss-b loss-c", s.awaitSet(ctx, t, db.Name, 3).Zones()); diff != "" {
				t.Errorf("zones of %s (-want +got):\n%s", db.Name, diff)
			}
			s.scale(ctx, t, "StatefulSet", cache.Name, 4)
			if diff := cmp.Diff("loss-a loss-c loss-c loss-b", s.awaitSet(ctx, t, cache.Name, 4).Zones()); diff != "" {
				t.Errorf("zones of %s (-want +got):\n%s", cache.Name, diff)
			}
		})).
		Feature())
}
