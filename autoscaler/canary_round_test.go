// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/berth-dev/berth/autoscaler/config"
)

// answer is one sync of another HPA controller.
func (s *stage) answer() {
	s.t.Helper()
	canary := s.canary()
	canary.Status.Conditions = append(canary.Status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{
		Type: autoscalingv2.AbleToScale, Status: corev1.ConditionFalse, Reason: "FailedGetScale",
	})
	if _, err := s.hpas().UpdateStatus(s.t.Context(), canary, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// until lets time go by until the play has lasted so long.
func (s *stage) until(at time.Duration) { s.pass(at - time.Since(s.began)) }

// A tick comes at 90 s, and at 98 s the metric of jobs, which was asked for in that tick.
func TestARoundEndsWhereAnotherControllerComes(t *testing.T) {
	sc := scene{canary: true, objects: []runtime.Object{deployment("jobs", 1)}, hpas: hpaList{webHPA("web", "web"), hpaBy("jobs", "jobs", external("depth"))}}
	for name, tc := range map[string]struct {
		answers time.Duration
		// busy: a tick has just been, so that nobody hears of the answer before the next one has to look.
		busy bool
		web  []string
		jobs []string
	}{
		"before the tick":             {answers: 85 * time.Second},
		"unheard, before the tick":    {answers: 89500 * time.Millisecond, busy: true},
		"before the metrics":          {answers: 93 * time.Second, web: []string{"3→6"}},
		"unheard, before the metrics": {answers: 97500 * time.Millisecond, busy: true, web: []string{"3→6"}},
		"after the metrics":           {answers: 99 * time.Second, web: []string{"3→6"}, jobs: []string{"jobs 1→4 at 1m38s"}},
	} {
		t.Run(name, func(t *testing.T) {
			sc.perform(t, func(s *stage) {
				s.apis.set("depth", 10, 0)
				s.until(76 * time.Second)
				s.expect(corev1.ConditionTrue, "NoOtherController", "acts")
				s.set(func() { s.usage = 1500 })
				s.apis.set("depth", 50, 8*time.Second)
				if tc.busy {
					s.until(tc.answers - 300*time.Millisecond)
					s.conductor.Wake()
				}
				s.until(tc.answers)
				s.answer()
				web, jobs := s.statuses("web"), s.statuses("jobs")
				s.until(2 * time.Minute)
				s.expect(corev1.ConditionFalse, "OtherController", "stands_back")
				if diff := cmp.Diff([][]string{tc.web, tc.jobs}, [][]string{s.writes(), s.otherScales()}); diff != "" {
					t.Errorf("scales of web and of jobs (-want +got):\n%s", diff)
				}
				if web, jobs = s.statuses("web")-web, s.statuses("jobs")-jobs; web+jobs != 0 {
					t.Errorf("%d statuses of web and %d of jobs were written beside another controller", web, jobs)
				}
			})
		})
	}
}

// TestTakingOverCountsWrittenScalesOnly: for five minutes an HPA is evaluated, late in each round, and
// nothing is written. None of what was decided then uses up the rate, in memory or in the annotation.
func TestTakingOverCountsWrittenScalesOnly(t *testing.T) {
	hpa := hpaBy("jobs", "jobs", external("depth"))
	hpa.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{
		Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: 3, PeriodSeconds: 600}},
	}}
	sc := scene{canary: true, objects: []runtime.Object{deployment("jobs", 1)}, hpas: hpaList{hpa}, config: "horizontal: {canaryPatience: 5m}\n"}
	sc.perform(t, func(s *stage) {
		s.apis.set("depth", 1000, 8*time.Second)
		s.pass(5 * time.Minute)
		if got := s.otherScales(); got != nil || s.statuses("jobs") != 0 {
			t.Errorf("scales %v and %d statuses were written before the canary was judged", got, s.statuses("jobs"))
		}
		if got := len(s.apis.times("depth")); got != 20 {
			t.Errorf("%d evaluations in 20 periods", got)
		}
		s.pass(2 * time.Minute)
		if got := s.otherScales(); len(got) != 1 || !strings.HasPrefix(got[0], "jobs 1→4 at 5m") {
			t.Errorf("scales %v, want all that the rate allows, once", got)
		}
		if kept := s.hpa("jobs").Annotations[config.ScaleEvents]; strings.Count(kept, "@") != 1 || !strings.Contains(kept, " +3@") {
			t.Errorf("scale events %q are kept, want the one that was written", kept)
		}
	})
}
