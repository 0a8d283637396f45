// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/test/fixture"
)

// window is a stabilization window in the middle of which an autoscaler ends: so
// long that the next one has decided within it, on a busy machine too.
const window = 45 * time.Second

// bounded are three HPAs that have reason to go far at once. Steady may not go down for a window,
// rising and falling may go one pod at a time; the time for the next pod is longer than the test may take.
type bounded struct {
	scene
	numbers *scales
	steady  setter
	// paces is how many pods rising and falling may go in half an hour.
	paces int
}

// TestLimitsOutliveTheAutoscaler: what spec.behavior forbids an HPA for a while stays forbidden when
// the autoscaler dies or ends, and the next one begins without its memory.
func TestLimitsOutliveTheAutoscaler(t *testing.T) {
	for name, tc := range map[string]struct {
		standby bool
		// ends are what becomes of the autoscalers, one after the other, in the middle of the window.
		ends []func(ctx context.Context, t *testing.T, s scene, second *process)
	}{
		"it-comes-back": {ends: []func(context.Context, *testing.T, scene, *process){
			func(ctx context.Context, t *testing.T, s scene, _ *process) {
				s.kill(ctx, t, fixture.Autoscaler)
				s.start(ctx, t, fixture.Autoscaler)
			},
		}},
		"another-one-leads": {standby: true, ends: []func(context.Context, *testing.T, scene, *process){
			func(ctx context.Context, t *testing.T, s scene, _ *process) { s.kill(ctx, t, fixture.Autoscaler) },
			func(ctx context.Context, t *testing.T, s scene, second *process) {
				s.start(ctx, t, fixture.Autoscaler)
				second.end()
			},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var b *bounded
			var second *process
			var last time.Time
			testenv.Test(t, features.New("three HPAs at their limits").
				Setup(step(func(ctx context.Context, t *testing.T, s scene) {
					s.ownOnly(t, endsComponents)
					t.Cleanup(func() { s.start(context.WithoutCancel(ctx), t, fixture.Autoscaler) })
					b = s.bounded(ctx, t)
					if tc.standby {
						second = s.standby(ctx, t)
					}
				})).
				Assess("they are stopped", step(func(ctx context.Context, t *testing.T, _ scene) {
					b.steady(ctx, t, workOf(2))
					b.awaitHPA(ctx, t, "steady", hpaCondition{"AbleToScale", "True", "ScaleDownStabilized"})
					b.pace(ctx, t)
				})).
				Assess("the next autoscaler knows the changes that rates count", step(func(ctx context.Context, t *testing.T, _ scene) {
					for _, end := range tc.ends {
						last = time.Now()
						end(ctx, t, b.scene, second)
						// One more pod is allowed, so that there is something to do. More than one would
						// come of changes that nobody remembers.
						b.mayPace(ctx, t, b.paces+1)
						b.pace(ctx, t)
						t.Logf("acceptance: the next autoscaler acted within %s", time.Since(last).Round(100*time.Millisecond))
					}
				})).
				Assess("and begins the window anew", step(func(ctx context.Context, t *testing.T, _ scene) {
					b.awaitReplicas(ctx, t, "steady", 2)
					b.awaitScales(ctx, t, b.numbers, b.want(2))
					if after := b.numbers.last("steady").at.Sub(last); after < window {
						t.Errorf("scaled down %s after the autoscaler had ended, sooner than the window of %s allows", after, window)
					}
					t.Logf("acceptance: replicas, by the time since the last autoscaler ended:\n%s", b.numbers.since(last))
				})).
				Feature())
		})
	}
}

// workOf is the queue, in thousandths, of which each of so many replicas has the 50 that are aimed at.
func workOf(replicas int64) int64 { return replicas * 50_000 }

// bounded makes the HPAs, and returns when rising and falling have gone as far as they may.
func (s scene) bounded(ctx context.Context, t *testing.T) *bounded {
	t.Helper()
	b := &bounded{scene: s, numbers: s.watchScales(ctx, t), paces: 1}
	metric := func(name string) []autoscalingv2.MetricSpec {
		return []autoscalingv2.MetricSpec{fixture.ObjectMetric(fixture.Target("Deployment", name), "queue", fixture.AverageValue("50"))}
	}
	for _, one := range []struct {
		name      string
		replicas  int32
		work      int64
		stabilize time.Duration
		behavior  *autoscalingv2.HorizontalPodAutoscalerBehavior
	}{
		{name: "steady", replicas: 6, work: workOf(6), stabilize: window},
		{name: "rising", replicas: 2, work: workOf(20), behavior: onePodInHalfAnHour()},
		{name: "falling", replicas: 8, work: workOf(1), behavior: onePodInHalfAnHour()},
	} {
		w := fixture.Workload{Name: one.name, Replicas: one.replicas, CPU: "100m"}
		deployment := w.Deployment()
		s.create(ctx, t, deployment)
		set := s.queueOf(ctx, t, deployment, one.work)
		s.awaitReplicas(ctx, t, w.Name, w.Replicas)
		hpa := fixture.Scaler{Name: w.Name, Target: fixture.Target("Deployment", w.Name), Min: 1, Max: 20, Metrics: metric(w.Name), StabilizeDown: one.stabilize}.HPA()
		if one.behavior != nil {
			hpa.Spec.Behavior = one.behavior
		}
		s.create(ctx, t, hpa)
		if one.name == "steady" {
			b.steady = set
		}
	}
	s.awaitHPA(ctx, t, "steady", hpaCondition{"ScalingActive", "True", "ValidMetricFound"})
	b.pace(ctx, t)
	return b
}

func onePodInHalfAnHour() *autoscalingv2.HorizontalPodAutoscalerBehavior {
	rules := &autoscalingv2.HPAScalingRules{
		StabilizationWindowSeconds: new(int32(0)),
		Policies:                   []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: 1, PeriodSeconds: 1800}},
	}
	return &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: rules, ScaleDown: rules.DeepCopy()}
}

// mayPace allows rising and falling so many pods in half an hour.
func (b *bounded) mayPace(ctx context.Context, t *testing.T, paces int) {
	t.Helper()
	b.paces = paces
	for _, name := range []string{"rising", "falling"} {
		b.kubectl(ctx, t, "patch", "--namespace", b.Namespace, "hpa", name, "--type=json", "--patch", fmt.Sprintf(
			`[{"op":"replace","path":"/spec/behavior/scaleUp/policies/0/value","value":%[1]d},{"op":"replace","path":"/spec/behavior/scaleDown/policies/0/value","value":%[1]d}]`, paces))
	}
}

// pace waits until rising and falling have used up what they may, and the HPAs keep it in writing.
func (b *bounded) pace(ctx context.Context, t *testing.T) {
	t.Helper()
	for name, change := range map[string]string{"rising": "+1", "falling": "-1"} {
		b.until(ctx, t, fmt.Sprintf("%d changes that %s keeps", b.paces, name), func(ctx context.Context) (string, bool, error) {
			hpa, err := b.Kube.AutoscalingV2().HorizontalPodAutoscalers(b.Namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return "", false, err
			}
			kept := hpa.Annotations[config.ScaleEvents]
			var changes []string // without their times
			for _, event := range strings.Fields(strings.TrimPrefix(kept, string(hpa.UID))) {
				before, _, _ := strings.Cut(event, "@")
				changes = append(changes, before)
			}
			return kept, slices.Equal(changes, slices.Repeat([]string{change}, b.paces)), nil
		})
	}
	b.awaitScales(ctx, t, b.numbers, b.want())
}

// want are all numbers of replicas until now: of steady with those that came after its first.
func (b *bounded) want(steady ...int32) map[string][]int32 {
	want := map[string][]int32{"steady": append([]int32{6}, steady...), "rising": {2}, "falling": {8}}
	for i := range b.paces {
		want["rising"] = append(want["rising"], int32(3+i))
		want["falling"] = append(want["falling"], int32(7-i))
	}
	return want
}
