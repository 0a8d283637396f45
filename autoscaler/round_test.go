// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// deployment is a target without pods. A node has room for one of its pods beside web's.
func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	spec := webPod(0).Spec
	spec.NodeName = ""
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name)},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}},
		Status: appsv1.DeploymentStatus{Replicas: replicas},
	}
}

// external is a metric of a queue: one replica for ten entries.
func external(metric string) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: metric, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"queue": "a"}}},
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse("10"))},
	}}
}

func hpaBy(name, target string, specs ...autoscalingv2.MetricSpec) *autoscalingv2.HorizontalPodAutoscaler {
	hpa := webHPA(name, target)
	hpa.Spec.Metrics, hpa.Spec.MaxReplicas = specs, 1000
	return hpa
}

func (s *stage) otherScales() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.others
}

func TestEachKindOfMetricIsRead(t *testing.T) {
	identifier := autoscalingv2.MetricIdentifier{Name: "load"}
	for name, spec := range map[string]autoscalingv2.MetricSpec{
		"pods": {Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: identifier,
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse("30"))}}},
		"object": {Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{Metric: identifier,
			DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: "Service", Name: "web"},
			Target:          autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: ptr.To(resource.MustParse("30"))}}},
		"external": external("load"),
	} {
		t.Run(name, func(t *testing.T) {
			perform(t, hpaList{hpaBy("web", "web", spec)}, nil, func(s *stage) {
				s.apis.set("load", 50, 0)
				s.pass(16 * time.Second)
				// 3 × 50/30, and of the queue 50/10.
				if diff := cmp.Diff([]string{"3→5"}, s.writes()); diff != "" {
					t.Errorf("scales (-want +got):\n%s", diff)
				}
				if len(s.reads) != 0 {
					t.Errorf("metrics.k8s.io was read %d times for nobody", len(s.reads))
				}
				if active := condition(s.hpa("web"), autoscalingv2.ScalingActive); active.Reason != "ValidMetricFound" {
					t.Errorf("ScalingActive is %+v", active)
				}
			})
		})
	}
}

func TestEqualQueriesAreAskedOnceInATick(t *testing.T) {
	sc := scene{objects: []runtime.Object{deployment("a", 1), deployment("b", 1)},
		hpas: hpaList{hpaBy("a", "a", external("depth"), external("age")), hpaBy("b", "b", external("depth"))}}
	sc.perform(t, func(s *stage) {
		s.apis.set("depth", 10, 0)
		s.apis.set("age", 10, 0)
		s.pass(61 * time.Second)
		for _, metric := range []string{"depth", "age"} {
			if got := len(s.apis.times(metric)); got != 4 {
				t.Errorf("%s: %d requests in 4 periods", metric, got)
			}
		}
	})
}

func TestASlowAPIDelaysOnlyThoseWhoNeedIt(t *testing.T) {
	sc := scene{objects: []runtime.Object{deployment("jobs", 1), deployment("crowd", 30)},
		hpas: hpaList{webHPA("web", "web"), hpaBy("jobs", "jobs", external("depth")), hpaBy("crowd", "crowd", external("depth"))}}
	sc.hpas[2].Spec.MaxReplicas = 20
	for name, tc := range map[string]struct {
		metrics, external time.Duration
		web               []string
		jobs              string
	}{
		"none":     {web: []string{"3→6"}, jobs: "jobs 1→4 at 15s"},
		"external": {external: 8 * time.Second, web: []string{"3→6"}, jobs: "jobs 1→4 at 23s"},
		"resource": {metrics: time.Hour, jobs: "jobs 1→4 at 15s"},
	} {
		t.Run(name, func(t *testing.T) {
			sc.perform(t, func(s *stage) {
				s.set(func() { s.usage, s.takes = 1500, tc.metrics })
				s.apis.set("depth", 50, tc.external)
				s.pass(15 * time.Second)
				if diff := cmp.Diff(tc.web, s.writes()); diff != "" {
					t.Errorf("scales of web at once (-want +got):\n%s", diff)
				}
				s.pass(14 * time.Second)
				// To a bound needs no metrics.
				want := map[string]bool{"crowd 30→20 at 15s": true, tc.jobs: true}
				got := map[string]bool{}
				for _, write := range s.otherScales() {
					got[write] = true
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("other scales (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAnAPIThatIsStuckIsToldOfAtItsDeadline(t *testing.T) {
	sc := scene{objects: []runtime.Object{deployment("jobs", 5)}, hpas: hpaList{hpaBy("jobs", "jobs", external("depth"))}}
	sc.perform(t, func(s *stage) {
		s.apis.set("depth", 1000, 12*time.Second)
		s.pass(24 * time.Second)
		if active := condition(s.hpa("jobs"), autoscalingv2.ScalingActive); active.Reason != "" {
			t.Errorf("before the deadline ScalingActive is %+v", active)
		}
		s.pass(2 * time.Second)
		active := condition(s.hpa("jobs"), autoscalingv2.ScalingActive)
		if active.Reason != "FailedGetExternalMetric" || strings.Count(active.Message, "unable to fetch metrics from external metrics API: context deadline exceeded") != 1 {
			t.Errorf("ScalingActive is %+v, want False with FailedGetExternalMetric and why, once", active)
		}
		s.pass(3 * time.Minute)
		if got := s.otherScales(); got != nil {
			t.Errorf("scaled %v without metrics", got)
		}
		s.apis.set("depth", 1000, 0)
		s.pass(30 * time.Second)
		if got := s.otherScales(); len(got) == 0 {
			t.Error("not scaled when the API was back")
		}
	})
}

// Doubling shows every evaluation: 4, 8, 16 …
func TestAnAPIThatRecoversBringsNoTwoEvaluationsCloser(t *testing.T) {
	sc := scene{objects: []runtime.Object{deployment("jobs", 1)}, hpas: hpaList{hpaBy("jobs", "jobs", external("depth"))}}
	sc.perform(t, func(s *stage) {
		s.apis.set("depth", 10000, 9*time.Second)
		s.pass(50 * time.Second) // asked at 15, 30 and 45 s
		s.apis.set("depth", 10000, 100*time.Millisecond)
		s.pass(42 * time.Second) // at 60 s an answer comes at once, 6 s after the last evaluation
		want := []string{"jobs 1→4 at 24s", "jobs 4→8 at 39s", "jobs 8→16 at 54s", "jobs 16→32 at 1m15s", "jobs 32→64 at 1m30s"}
		if diff := cmp.Diff(want, s.otherScales()); diff != "" {
			t.Errorf("scales (-want +got):\n%s", diff)
		}
	})
}

// With its period the time of an API is over, whatever the configuration says.
func TestAnAPIHasAPeriodAtMost(t *testing.T) {
	sc := scene{objects: []runtime.Object{deployment("jobs", 5)}, hpas: hpaList{hpaBy("jobs", "jobs", external("depth"))}, config: "metricsTimeout: 15s"}
	sc.perform(t, func(s *stage) {
		s.apis.set("depth", 1000, 50*time.Second)
		s.pass(31 * time.Second)
		if active := condition(s.hpa("jobs"), autoscalingv2.ScalingActive); active.Reason != "FailedGetExternalMetric" || !strings.Contains(active.Message, "deadline exceeded") {
			t.Errorf("ScalingActive is %+v, want False with FailedGetExternalMetric", active)
		}
		s.pass(50 * time.Second)
		if got := s.otherScales(); got != nil {
			t.Errorf("scaled %v by answers of periods that are over", got)
		}
	})
}

func TestASimulationThatTakesLongLosesNoAnswer(t *testing.T) {
	for range 10 { // the answer and the next period wait side by side
		sc := scene{objects: []runtime.Object{deployment("jobs", 1)}, hpas: hpaList{hpaBy("jobs", "jobs", external("depth"))}}
		sc.perform(t, func(s *stage) {
			s.during = func() {
				if now := time.Since(s.began); now > 10*time.Second && now < 30*time.Second {
					time.Sleep(20 * time.Second)
				}
			}
			s.apis.set("depth", 40, 2*time.Second)
			s.pass(45 * time.Second)
			// Asked at 15 s, answered at 17 s, and read after the simulation that began at 16 s.
			if diff := cmp.Diff([]string{"jobs 1→4 at 36s"}, s.otherScales()); diff != "" {
				t.Errorf("scales (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNodesComeForReplicasThatAreDecidedLate(t *testing.T) {
	sc := scene{objects: []runtime.Object{deployment("jobs", 1)}, hpas: hpaList{hpaBy("jobs", "jobs", external("depth"))}}
	sc.perform(t, func(s *stage) {
		nodes := func() int {
			list, err := s.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return len(list.Items)
		}
		s.apis.set("depth", 40, 8*time.Second)
		s.pass(22 * time.Second)
		if got := nodes(); got != 1 {
			t.Errorf("%d nodes before there is a decision, want the one that was there", got)
		}
		s.pass(2 * time.Second)
		// Three of four find no room beside web.
		if got := nodes(); got != 2 {
			t.Errorf("%d nodes after it, want one more", got)
		}
	})
}

func TestAnAnswerToAnotherQuestionIsNotActedUpon(t *testing.T) {
	for name, change := range map[string]func(*stage, *autoscalingv2.HorizontalPodAutoscaler) error{
		"edited": func(s *stage, hpa *autoscalingv2.HorizontalPodAutoscaler) error {
			hpa.Spec.Metrics = []autoscalingv2.MetricSpec{external("other")}
			_, err := s.kube.AutoscalingV2().HorizontalPodAutoscalers("prod").Update(s.t.Context(), hpa, metav1.UpdateOptions{})
			return err
		},
		"gone": func(s *stage, hpa *autoscalingv2.HorizontalPodAutoscaler) error {
			return s.kube.AutoscalingV2().HorizontalPodAutoscalers("prod").Delete(s.t.Context(), hpa.Name, metav1.DeleteOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			sc := scene{objects: []runtime.Object{deployment("jobs", 1)}, hpas: hpaList{hpaBy("jobs", "jobs", external("depth"))}}
			sc.perform(t, func(s *stage) {
				s.apis.set("depth", 50, 8*time.Second)
				s.apis.set("other", 10, 0)
				s.pass(20 * time.Second)
				if err := change(s, s.hpa("jobs").DeepCopy()); err != nil {
					t.Fatal(err)
				}
				s.pass(time.Minute)
				if got := s.otherScales(); got != nil {
					t.Errorf("scaled %v by the metric of before", got)
				}
			})
		})
	}
}
