// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

const endsComponents = "it ends components of the cluster"

// TestSchedulerCrash: the scheduler may die at any moment. Nothing moves, and the work goes on.
func TestSchedulerCrash(t *testing.T) {
	db := fixture.Workload{Name: "db", Replicas: 3, CPU: "100m", Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}}
	var before fixture.Table
	testenv.Test(t, features.New("kill -9 of the scheduler").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, endsComponents)
			t.Cleanup(func() { s.start(context.WithoutCancel(ctx), t, fixture.Scheduler) })
			s.create(ctx, t, db.Service(), db.StatefulSet())
			before = s.awaitZones(ctx, t, db.Name, 3)
		})).
		Assess("it comes back to what it left", step(func(ctx context.Context, t *testing.T, s scene) {
			s.kill(ctx, t, fixture.Scheduler)
			s.scale(ctx, t, "StatefulSet", db.Name, 6)
			s.awaitPod(ctx, t, "db-3", corev1.PodPending)
			s.start(ctx, t, fixture.Scheduler)
			after := s.awaitZones(ctx, t, db.Name, 6)
			if diff := cmp.Diff(before, after[:3]); diff != "" {
				t.Errorf("what ran has moved (-want +got):\n%s", diff)
			}
		})).
		Feature())
}

func (s scene) kill(ctx context.Context, t *testing.T, component string) {
	t.Helper()
	if err := s.Kill(ctx, component); err != nil {
		t.Fatal(err)
	}
}

func (s scene) start(ctx context.Context, t *testing.T, component string) {
	t.Helper()
	if err := s.StartComponent(ctx, component); err != nil {
		t.Fatal(err)
	}
}
