// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestGateFollows: a pod at a gate says for whom it waits now, not for whom it
// waited first.
func TestGateFollows(t *testing.T) {
	t.Parallel()
	const g ground = "follow"
	db := g.on(fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Parallel: true})
	testenv.Test(t, features.New("a gate whose reason changes").
		Setup(g.lay(t, g.zones("zone-a", "zone-b")...)).
		Assess("names the ordinal that is missing now", step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, db.Name, v1alpha1.Placement{
				Start: &v1alpha1.Start{Order: v1alpha1.StartOrdered, Until: v1alpha1.UntilScheduled},
				Rules: []v1alpha1.Rule{onNodes("0", capacityLabel, "on-demand"), onNodes("1", capacityLabel, "reserved")},
			})
			s.create(ctx, t, db.Service(), db.StatefulSet())
			t.Log(s.awaitPending(ctx, t, "db-2", corev1.PodReasonSchedulingGated, "ordinal 0 was not yet"))
			s.create(ctx, t, g.node("demand", "zone-a", map[string]string{capacityLabel: "on-demand"}))
			t.Log(s.awaitPending(ctx, t, "db-2", corev1.PodReasonSchedulingGated, "ordinal 1 was not yet"))
		})).
		Feature())
}
