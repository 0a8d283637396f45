// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestHoldsAreCounted runs alone, for the metrics are those of the whole
// process: holds that are there, and how each kind of them ended.
func TestHoldsAreCounted(t *testing.T) {
	const g ground = "counted"
	node := func(name string) string { return string(g) + "-" + name }
	db := g.on(fixture.Workload{Name: "db", Replicas: 1, CPU: "1", Claims: []fixture.Claim{{Name: "data", Class: "local"}}})
	cache := g.on(fixture.Workload{Name: "cache", Replicas: 2, CPU: "1"})
	absent := func(ctx context.Context, t *testing.T, s scene) {
		t.Helper()
		s.cordon(ctx, t, true, node("1"))
		s.deletePod(ctx, t, "db-0")
		s.awaitHolds(ctx, t, 1)
	}
	testenv.Test(t, features.New("metrics of holds").
		Setup(g.lay(t, g.node("1", "zone-a", nil))).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "nobody knows where its scheduler listens")
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitSet(ctx, t, db.Name, 1)
			s.awaitHolds(ctx, t, 0)
		})).
		Assess("bound, of a pod that went without a word", step(func(ctx context.Context, t *testing.T, s scene) {
			s.cordon(ctx, t, true, node("1"))
			s.fail(ctx, t, "db-0")
			s.awaitHolds(ctx, t, 1)
			t.Log(s.awaitEvent(ctx, t, "StatefulSet", db.Name, "SlotHoldLate", fmt.Sprintf("ordinal 0 of %s/db on node %q", s.Namespace, node("1"))))
			s.ends(ctx, t, "bound", func() { s.cordon(ctx, t, false, node("1")) })
			s.awaitOn(ctx, t, "db-0", node("1"))
		})).
		Assess("unwanted", step(func(ctx context.Context, t *testing.T, s scene) {
			absent(ctx, t, s)
			s.ends(ctx, t, "unwanted", func() { s.scale(ctx, t, "StatefulSet", db.Name, 0) })
			s.cordon(ctx, t, false, node("1"))
			s.scale(ctx, t, "StatefulSet", db.Name, 1)
			s.awaitOn(ctx, t, "db-0", node("1"))
		})).
		Assess("node_gone", step(func(ctx context.Context, t *testing.T, s scene) {
			absent(ctx, t, s)
			s.ends(ctx, t, "node_gone", func() { s.deleteNode(ctx, t, node("1")) })
		})).
		Assess("expired, when the policy keeps nothing any more", step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, cache.Name, v1alpha1.Placement{})
			s.create(ctx, t, g.node("2", "zone-a", nil), cache.Service(), cache.StatefulSet())
			s.awaitSet(ctx, t, cache.Name, 2)
			s.keepAway(ctx, t, cache.Name, 1)
			s.awaitHolds(ctx, t, 1)
			s.ends(ctx, t, "expired", func() {
				s.editPolicy(ctx, t, cache.Name, func(spec *v1alpha1.PlacementPolicySpec) { spec.Home = &v1alpha1.Home{HoldFor: new(metav1.Duration)} })
			})
		})).
		Assess("node_leaving", step(func(ctx context.Context, t *testing.T, s scene) {
			s.editPolicy(ctx, t, cache.Name, func(spec *v1alpha1.PlacementPolicySpec) { spec.Home = nil })
			s.keepAway(ctx, t, cache.Name, 0)
			s.awaitHolds(ctx, t, 1)
			s.ends(ctx, t, "node_leaving", func() { s.cordon(ctx, t, true, node("2")) })
		})).
		Feature())
}

// fail ends a pod as a kubelet does whose node runs out of memory. The set then
// deletes it.
func (s scene) fail(ctx context.Context, t *testing.T, pod string) {
	t.Helper()
	patch := []byte(`{"status":{"phase":"Failed","reason":"Evicted","message":"the test says so"}}`)
	if _, err := s.Kube.CoreV1().Pods(s.Namespace).Patch(ctx, pod, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// awaitHolds waits until room is kept for so many slots.
func (s scene) awaitHolds(ctx context.Context, t *testing.T, want float64) {
	t.Helper()
	s.until(ctx, t, fmt.Sprintf("berth_holds to be %g", want), func(ctx context.Context) (string, bool, error) {
		is, err := s.SchedulerMetric(ctx, "berth_holds")
		return fmt.Sprint(is), is == want, err
	})
}

// ends demands that the only hold there is ends for the reason.
func (s scene) ends(ctx context.Context, t *testing.T, reason string, cause func()) {
	t.Helper()
	ended := func() (values [2]float64) {
		for i, name := range []string{"berth_holds_released_total", "berth_hold_seconds_count"} {
			value, err := s.SchedulerMetric(ctx, fmt.Sprintf("%s{reason=%q}", name, reason))
			if err != nil {
				t.Fatal(err)
			}
			values[i] = value
		}
		return values
	}
	before := ended()
	cause()
	s.awaitHolds(ctx, t, 0)
	if diff := cmp.Diff([2]float64{before[0] + 1, before[1] + 1}, ended()); diff != "" {
		t.Errorf("holds that ended by reason %s (-want +got):\n%s", reason, diff)
	}
}

// TestHigherPriorityTakesRoom: who is more important does not wait for a slot
// that is away, and the set is told.
func TestHigherPriorityTakesRoom(t *testing.T) {
	t.Parallel()
	const g ground = "taken"
	const node = string(g) + "-1"
	db := g.on(fixture.Workload{Name: "db", Replicas: 2, CPU: "1500m"})
	testenv.Test(t, features.New("a pod of higher priority").
		Setup(g.lay(t, g.node("1", "zone-a", nil))).
		Setup(g.priority(t)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, db.Name, v1alpha1.Placement{})
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitSet(ctx, t, db.Name, 2)
			s.create(ctx, t, g.rival("rival", node, "2500m"))
			s.takeAway(ctx, t, db.Name, "2")
			s.awaitPending(ctx, t, "rival", corev1.PodReasonUnschedulable, "keep room for absent slots of "+s.Namespace+"/db")
		})).
		Assess("takes room that is kept", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, g.urgent("urgent", "2500m"))
			s.awaitOn(ctx, t, "urgent", node)
			t.Log(s.awaitEvent(ctx, t, "StatefulSet", db.Name, "SlotHoldTaken",
				fmt.Sprintf("the room of ordinal 1 of %s/db on node %q went to pod %s/urgent", s.Namespace, node, s.Namespace)))
			apps, err := s.appsOn(ctx, node)
			if diff := cmp.Diff([]string{"db", "urgent"}, apps); err != nil || diff != "" {
				t.Errorf("pods on the node (%v; -want +got):\n%s", err, diff)
			}
		})).
		Feature())
}
