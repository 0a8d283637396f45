// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// TestMetricsPartlyDown: an HPA has two metrics, and one of their APIs is down.
// The other one may add replicas, and may not take any away.
func TestMetricsPartlyDown(t *testing.T) {
	web := worker("web")
	for name, tc := range map[string]struct {
		component, reason string
		queueLeft         bool // the metric that is left
	}{
		"custom-metrics":   {fixture.MetricsAdapter, "FailedGetPodsMetric", false},
		"resource-metrics": {fixture.MetricsServer, "FailedGetResourceMetric", true},
	} {
		t.Run(name, func(t *testing.T) {
			var usage, queue setter
			// left sets the metric that is left; a pod does 50 of the work.
			left := func(ctx context.Context, t *testing.T, work int64) {
				t.Helper()
				if tc.queueLeft {
					queue(ctx, t, 1000*work)
				} else {
					usage(ctx, t, work)
				}
			}
			testenv.Test(t, features.New("one of two metrics APIs is down").
				Setup(step(func(ctx context.Context, t *testing.T, s scene) {
					s.ownOnly(t, endsComponents)
					s.create(ctx, t, web.Deployment())
					s.awaitReplicas(ctx, t, web.Name, 2)
					// The other tests need it, however this one ends.
					t.Cleanup(func() { s.start(context.WithoutCancel(ctx), t, tc.component) })
					usage, queue = s.usage(ctx, t, web, 80), s.queue(ctx, t, web, 80_000)
					s.create(ctx, t, fixture.Scaler{Name: "web", Target: fixture.Target("Deployment", web.Name), Min: 1, Max: 10, Metrics: []autoscalingv2.MetricSpec{
						fixture.ResourceMetric(corev1.ResourceCPU, fixture.AverageValue("50m")),
						fixture.PodsMetric("queue", fixture.AverageValue("50")),
					}}.HPA())
					s.awaitCurrent(ctx, t, "web", autoscalingv2.ResourceMetricSourceType, autoscalingv2.PodsMetricSourceType)
				})).
				Assess("the metric that is left takes nothing away", step(func(ctx context.Context, t *testing.T, s scene) {
					s.kill(ctx, t, tc.component)
					left(ctx, t, 20)
					t.Log(s.awaitHPA(ctx, t, "web", hpaCondition{"ScalingActive", "False", tc.reason}))
					s.stays(ctx, t, "two replicas", 12*time.Second, s.wantsReplicas(web.Name, 2))
				})).
				Assess("and adds what it asks for", step(func(ctx context.Context, t *testing.T, s scene) {
					left(ctx, t, 280)
					s.awaitReplicas(ctx, t, web.Name, 6)
					s.awaitHPA(ctx, t, "web", hpaCondition{"ScalingActive", "True", "ValidMetricFound"})
				})).
				Assess("both are heard when the API is back", step(func(ctx context.Context, t *testing.T, s scene) {
					s.start(ctx, t, tc.component)
					left(ctx, t, 80)
					s.awaitReplicas(ctx, t, web.Name, 2)
					s.awaitCurrent(ctx, t, "web", autoscalingv2.ResourceMetricSourceType, autoscalingv2.PodsMetricSourceType)
				})).
				Feature())
		})
	}
}

// TestMetricsStuck: an API that answers nobody delays only those who ask it.
func TestMetricsStuck(t *testing.T) {
	web, quick := worker("web"), worker("quick")
	var usage, queue setter
	testenv.Test(t, features.New("the custom metrics API is stuck").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, endsComponents)
			s.create(ctx, t, web.Deployment(), quick.Deployment())
			s.awaitReplicas(ctx, t, web.Name, 2)
			s.awaitReplicas(ctx, t, quick.Name, 2)
			t.Cleanup(func() { s.delayMetrics(context.WithoutCancel(ctx), t, "0s") })
			usage, queue = s.usage(ctx, t, quick, 80), s.queue(ctx, t, web, 80_000)
			for name, metric := range map[string]autoscalingv2.MetricSpec{
				web.Name:   fixture.PodsMetric("queue", fixture.AverageValue("50")),
				quick.Name: fixture.ResourceMetric(corev1.ResourceCPU, fixture.AverageValue("50m")),
			} {
				s.create(ctx, t, fixture.Scaler{Name: name, Target: fixture.Target("Deployment", name), Min: 1, Max: 10, Metrics: []autoscalingv2.MetricSpec{metric}}.HPA())
				s.awaitHPA(ctx, t, name, hpaCondition{"ScalingActive", "True", "ValidMetricFound"})
			}
		})).
		Assess("an HPA on cpu goes on", step(func(ctx context.Context, t *testing.T, s scene) {
			s.delayMetrics(ctx, t, "10m")
			queue(ctx, t, 280_000)
			usage(ctx, t, 280)
			s.awaitReplicas(ctx, t, quick.Name, 6)
		})).
		Assess("one on the queue says why it does not", step(func(ctx context.Context, t *testing.T, s scene) {
			t.Log(s.awaitHPA(ctx, t, web.Name, hpaCondition{"ScalingActive", "False", "FailedGetPodsMetric"}))
			s.stays(ctx, t, "two replicas", 12*time.Second, s.wantsReplicas(web.Name, 2))
		})).
		Assess("and goes on when the API answers", step(func(ctx context.Context, t *testing.T, s scene) {
			s.delayMetrics(ctx, t, "0s")
			s.awaitReplicas(ctx, t, web.Name, 6)
		})).
		Feature())
}

// delayMetrics makes every answer of the metrics adapter take so long. Whoever
// waits for one now gets none.
func (s scene) delayMetrics(ctx context.Context, t *testing.T, delay string) {
	t.Helper()
	s.kill(ctx, t, fixture.MetricsAdapter)
	if err := s.Restart(ctx, fixture.MetricsAdapter, "--delay="+delay); err != nil {
		t.Fatal(err)
	}
}

// wantsReplicas looks at what a Deployment is asked to have.
func (s scene) wantsReplicas(deployment string, want int32) fixture.Look {
	return func(ctx context.Context) (string, bool, error) {
		d, err := s.Kube.AppsV1().Deployments(s.Namespace).Get(ctx, deployment, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		return fmt.Sprintf("%d replicas wanted", *d.Spec.Replicas), *d.Spec.Replicas == want, nil
	}
}
