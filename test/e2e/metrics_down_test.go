// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// TestMetricsDown: what is not measured is not scaled, in neither direction and
// however long it takes. The HPAs say why, as upstream's do, and go on by themselves.
func TestMetricsDown(t *testing.T) {
	const outage = 2 * time.Minute
	idle, busy := fixture.Workload{Name: "idle", Replicas: 3, CPU: "100m"}, fixture.Workload{Name: "busy", Replicas: 2, CPU: "100m"}
	both := []fixture.Workload{idle, busy}
	loads := map[string]setter{}
	var numbers *scales
	var down time.Time
	before := map[string][]int32{idle.Name: {3}, busy.Name: {2}}
	testenv.Test(t, features.New("the metrics API is down").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, endsComponents)
			// The other tests need it, however this one ends.
			t.Cleanup(func() { s.start(context.WithoutCancel(ctx), t, fixture.MetricsServer) })
			numbers = s.watchScales(ctx, t)
			for _, w := range both {
				// As many replicas are right for a fifth less, and for a third more: so wrong can no measurement be.
				loads[w.Name] = s.usage(ctx, t, w, 42*int64(w.Replicas))
				s.create(ctx, t, w.Deployment())
				s.awaitReplicas(ctx, t, w.Name, w.Replicas)
				s.create(ctx, t, fixture.Scaler{Name: w.Name, Target: fixture.Target("Deployment", w.Name), Min: 1, Max: 6, CPUPercent: 50}.HPA())
			}
			for _, w := range both {
				s.awaitHPA(ctx, t, w.Name, hpaCondition{"ScalingActive", "True", "ValidMetricFound"})
			}
			s.awaitScales(ctx, t, numbers, before)
		})).
		Assess("the HPAs say so", step(func(ctx context.Context, t *testing.T, s scene) {
			s.kill(ctx, t, fixture.MetricsServer)
			down = time.Now()
			loads[idle.Name](ctx, t, 0)
			loads[busy.Name](ctx, t, 280)
			const words = "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: "
			const condition = "the HPA was unable to compute the replica count: " + words
			for _, w := range both {
				message := s.awaitHPA(ctx, t, w.Name, hpaCondition{"ScalingActive", "False", "FailedGetResourceMetric"})
				if !containsAll(message, []string{condition}) {
					t.Errorf("the condition says %q, want %q in it", message, condition)
				}
				s.awaitEvent(ctx, t, "HorizontalPodAutoscaler", w.Name, "FailedGetResourceMetric", words)
				s.awaitEvent(ctx, t, "HorizontalPodAutoscaler", w.Name, "FailedComputeMetricsReplicas", "invalid metrics (1 invalid out of 1), first error is: ")
				t.Log(message)
			}
		})).
		Assess("and nothing is scaled", step(func(ctx context.Context, t *testing.T, s scene) {
			s.stays(ctx, t, "the replicas", outage-time.Since(down), func(context.Context) (string, bool, error) {
				now, err := numbers.numbers()
				return numbers.since(down), cmp.Equal(now, before), err
			})
			for _, w := range both {
				s.awaitHPA(ctx, t, w.Name, hpaCondition{"ScalingActive", "False", "FailedGetResourceMetric"})
			}
			s.awaitScales(ctx, t, numbers, before)
		})).
		Assess("they go on when it is back", step(func(ctx context.Context, t *testing.T, s scene) {
			back := time.Now()
			s.start(ctx, t, fixture.MetricsServer)
			s.awaitReplicas(ctx, t, idle.Name, 1)
			s.awaitReplicas(ctx, t, busy.Name, 6)
			for _, w := range both {
				s.awaitHPA(ctx, t, w.Name, hpaCondition{"ScalingActive", "True", "ValidMetricFound"})
			}
			t.Logf("acceptance: the metrics API was down for %s; replicas, by the time since its start:\n%s", back.Sub(down).Round(time.Second), numbers.since(back))
		})).
		Feature())
}
