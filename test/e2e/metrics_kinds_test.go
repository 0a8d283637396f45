// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/k8s"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// setter gives a metric a value, in thousandths.
type setter func(ctx context.Context, t *testing.T, milli int64)

// source begins to give a metric values, in a test's own namespace.
type source func(ctx context.Context, t *testing.T, s scene, milli int64) setter

// worker is a Deployment of two pods that ask for 100m of cpu.
func worker(name string) fixture.Workload {
	return fixture.Workload{Name: name, Replicas: 2, CPU: "100m"}
}

// metricKind is a metric that an HPA goes by.
type metricKind struct {
	work
	words  string // how messages call it
	metric autoscalingv2.MetricSpec
	source source
}

// work is how much is little of a metric, and how much is a lot, for an HPA with these bounds.
type work struct {
	calm, busy int64
	min, max   int32
}

// metricKinds are all kinds, with all kinds of targets they can have. The
// pods of the workload ask for 100m of cpu.
func metricKinds(w fixture.Workload) map[string]metricKind {
	// Of 50 for each pod, 80 are the work of two and 280 of six.
	milliCPU := work{calm: 80, busy: 280, min: 1, max: 10}
	each := work{calm: 80_000, busy: 280_000, min: 1, max: 10}
	// A ratio does not fall as pods are added, so it ends at a bound.
	ratio := work{calm: 15_000, busy: 140_000, min: 2, max: 6}

	usage := func(ctx context.Context, t *testing.T, s scene, milli int64) setter { return s.usage(ctx, t, w, milli) }
	queue := func(ctx context.Context, t *testing.T, s scene, milli int64) setter { return s.queue(ctx, t, w, milli) }
	ofDeployment := func(ctx context.Context, t *testing.T, s scene, milli int64) setter {
		return s.queueOf(ctx, t, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: w.Name}}, milli)
	}
	ofNamespace := func(ctx context.Context, t *testing.T, s scene, milli int64) setter {
		return s.queueOf(ctx, t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Namespace}}, milli)
	}
	deployment := fixture.Target("Deployment", w.Name)
	// Whatever its name is: an HPA sees no other namespace than its own.
	namespace := autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "any"}
	topic := map[string]string{"topic": "web"}

	return map[string]metricKind{
		"resource":            {milliCPU, "cpu resource", fixture.ResourceMetric(corev1.ResourceCPU, fixture.AverageValue("50m")), usage},
		"resource-of-request": {milliCPU, "cpu resource utilization", fixture.ResourceMetric(corev1.ResourceCPU, fixture.Utilization(50)), usage},
		"container":           {milliCPU, "cpu container resource utilization", fixture.ContainerMetric("app", corev1.ResourceCPU, fixture.Utilization(50)), usage},
		"pods":                {each, "pods metric queue", fixture.PodsMetric("queue", fixture.AverageValue("50")), queue},
		// Upstream calls the metric of an object external when it is shared among pods.
		"object":         {each, "external metric queue", fixture.ObjectMetric(deployment, "queue", fixture.AverageValue("50")), ofDeployment},
		"object-ratio":   {ratio, "Namespace metric queue", fixture.ObjectMetric(namespace, "queue", fixture.Value("50")), ofNamespace},
		"external":       {each, "external metric queue", fixture.ExternalMetric("queue", topic, fixture.AverageValue("50")), series},
		"external-ratio": {ratio, "external metric queue", fixture.ExternalMetric("queue", topic, fixture.Value("50")), series},
	}
}

// TestMetricKinds: each kind of metric drives replicas up and down.
func TestMetricKinds(t *testing.T) {
	t.Parallel()
	web := worker("web")
	for name, kind := range metricKinds(web) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var set setter
			testenv.Test(t, features.New("an HPA on one metric").
				Setup(step(func(ctx context.Context, t *testing.T, s scene) {
					s.create(ctx, t, web.Deployment())
					s.awaitReplicas(ctx, t, web.Name, 2)
					set = kind.source(ctx, t, s, kind.calm)
				})).
				Assess("two replicas are enough", step(func(ctx context.Context, t *testing.T, s scene) {
					s.create(ctx, t, fixture.Scaler{Name: "web", Target: fixture.Target("Deployment", web.Name), Min: kind.min, Max: kind.max, Metrics: []autoscalingv2.MetricSpec{kind.metric}}.HPA())
					s.awaitHPA(ctx, t, "web", hpaCondition{"ScalingActive", "True", "ValidMetricFound"})
					s.awaitReplicas(ctx, t, web.Name, 2)
				})).
				Assess("more work takes six", step(func(ctx context.Context, t *testing.T, s scene) {
					set(ctx, t, kind.busy)
					s.awaitReplicas(ctx, t, web.Name, 6)
					s.awaitEvent(ctx, t, "HorizontalPodAutoscaler", "web", "SuccessfulRescale", kind.words, "above target")
				})).
				Assess("it says what it goes by", step(func(ctx context.Context, t *testing.T, s scene) {
					message := s.awaitHPA(ctx, t, "web", hpaCondition{"ScalingActive", "True", "ValidMetricFound"})
					if !containsAll(message, []string{kind.words}) {
						t.Errorf("the message is %q, want %q in it", message, kind.words)
					}
					s.awaitCurrent(ctx, t, "web", kind.metric.Type)
				})).
				Assess("less work takes two", step(func(ctx context.Context, t *testing.T, s scene) {
					set(ctx, t, kind.calm)
					s.awaitReplicas(ctx, t, web.Name, 2)
				})).
				Feature())
		})
	}
}

// usage is cpu that the pods of a workload share.
func (s scene) usage(ctx context.Context, t *testing.T, w fixture.Workload, milli int64) setter {
	t.Helper()
	return shared(t)(s.StartLoad(ctx, s.Namespace, w.Selector(), milli, "64Mi"))
}

// queue is a custom metric that the pods of a workload share.
func (s scene) queue(ctx context.Context, t *testing.T, w fixture.Workload, milli int64) setter {
	t.Helper()
	return shared(t)(s.StartQueue(ctx, s.Namespace, w.Selector(), "queue", milli))
}

// shared sees to the end of a load.
func shared(t *testing.T) func(*fixture.Load, error) setter {
	t.Helper()
	return func(load *fixture.Load, err error) setter {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := load.Stop(); err != nil {
				t.Error(err)
			}
		})
		return func(_ context.Context, _ *testing.T, milli int64) { load.Set(milli) }
	}
}

// queueOf is a custom metric of one object.
func (s scene) queueOf(ctx context.Context, t *testing.T, object k8s.Object, milli int64) setter {
	t.Helper()
	set := func(ctx context.Context, t *testing.T, milli int64) {
		t.Helper()
		if err := s.SetMetric(ctx, object, "queue", fmt.Sprintf("%dm", milli)); err != nil {
			t.Fatal(err)
		}
	}
	set(ctx, t, milli)
	return set
}

// series are two external queues of the topic web, whose sum counts, and one of another topic.
func series(ctx context.Context, t *testing.T, s scene, milli int64) setter {
	t.Helper()
	const east = 10_000
	set := func(ctx context.Context, t *testing.T, milli int64) {
		t.Helper()
		for name, series := range map[string]struct {
			topic string
			milli int64
		}{
			"east":   {"web", east},
			"west":   {"web", milli - east},
			"others": {"others", 9_000_000},
		} {
			if err := s.SetSeries(ctx, s.Namespace, name, map[string]string{"topic": series.topic}, map[string]string{"queue": fmt.Sprintf("%dm", series.milli)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	set(ctx, t, milli)
	return set
}

// awaitCurrent waits until the status of an HPA gives the values of metrics of these kinds.
func (s scene) awaitCurrent(ctx context.Context, t *testing.T, name string, want ...autoscalingv2.MetricSourceType) {
	t.Helper()
	s.until(ctx, t, fmt.Sprintf("current metrics %v of HPA %s", want, name), func(ctx context.Context) (string, bool, error) {
		hpa, err := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		var got []autoscalingv2.MetricSourceType
		for _, metric := range hpa.Status.CurrentMetrics {
			got = append(got, metric.Type)
		}
		return fmt.Sprint(got), fmt.Sprint(got) == fmt.Sprint(want), nil
	})
}
