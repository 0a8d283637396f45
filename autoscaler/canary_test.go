// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	autoscalingclient "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/component-base/metrics/testutil"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/observe"
)

func (sc scene) lookout(s *stage) *observe.Canary {
	if !sc.canary {
		return nil
	}
	return observe.NewCanary(s.kube.AutoscalingV2())
}

// rival is another HPA controller: every 15 seconds it writes on each HPA that
// cannot be scaled that this is so, unless it is written there.
type rival struct {
	on     atomic.Bool
	writes atomic.Int32
}

func (r *rival) run(ctx context.Context, s *stage) {
	// Between the conductor's ticks.
	for wait := 7 * time.Second; ; wait = 15 * time.Second {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		canary, err := s.hpas().Get(ctx, config.CanaryName, metav1.GetOptions{})
		if !r.on.Load() || err != nil || observe.Answered(canary) {
			continue
		}
		canary.Status.Conditions = append(canary.Status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{
			Type: autoscalingv2.AbleToScale, Status: corev1.ConditionFalse, Reason: "FailedGetScale",
		})
		if _, err := s.hpas().UpdateStatus(ctx, canary, metav1.UpdateOptions{}); err != nil {
			s.t.Error(err)
		}
		r.writes.Add(1)
	}
}

// withRival plays beside another HPA controller, which is on or off at first.
func withRival(t *testing.T, on bool, sc scene, play func(*stage, *rival)) {
	t.Helper()
	sc.canary = true
	sc.perform(t, func(s *stage) {
		ctx, cancel := context.WithCancel(s.t.Context())
		defer cancel()
		r := &rival{}
		r.on.Store(on)
		go r.run(ctx, s)
		play(s, r)
	})
}

// hpas are those of Berth's own namespace.
func (s *stage) hpas() autoscalingclient.HorizontalPodAutoscalerInterface {
	return s.kube.AutoscalingV2().HorizontalPodAutoscalers(config.Namespace)
}

func (s *stage) canary() *autoscalingv2.HorizontalPodAutoscaler {
	s.t.Helper()
	canary, err := s.hpas().Get(s.t.Context(), config.CanaryName, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return canary
}

// statuses counts the writes of the status of an HPA.
func (s *stage) statuses(name string) (n int) {
	for _, action := range s.kube.Actions() {
		update, ok := action.(clienttesting.UpdateAction)
		if ok && action.Matches("update", "horizontalpodautoscalers") && update.GetObject().(*autoscalingv2.HorizontalPodAutoscaler).Name == name {
			n++
		}
	}
	return n
}

// expect compares the condition of the canary, and the metric.
func (s *stage) expect(status corev1.ConditionStatus, reason, state string) {
	s.t.Helper()
	if got := condition(s.canary(), BerthActs); got.Status != status || got.Reason != reason || got.Message == "" {
		s.t.Errorf("condition %+v, want %s %s with a message", got, status, reason)
	}
	s.expectState(state)
}

func (s *stage) expectState(state string) {
	s.t.Helper()
	var want strings.Builder
	want.WriteString("# HELP berth_horizontal_state [ALPHA] What Berth does about HPAs, 1 for one of: acts; observes, as configured; judges whether another HPA controller is there; stands_back for another one.\n# TYPE berth_horizontal_state gauge\n")
	for _, each := range []string{"acts", "judges", "observes", "stands_back"} {
		value := "0"
		if each == state {
			value = "1"
		}
		want.WriteString(`berth_horizontal_state{state="` + each + `"} ` + value + "\n")
	}
	if err := testutil.GatherAndCompare(s.figures, strings.NewReader(want.String()), "berth_horizontal_state"); err != nil {
		s.t.Error(err)
	}
}

func TestNoHPAIsWrittenBeforeTheCanaryIsJudged(t *testing.T) {
	withRival(t, false, scene{hpas: hpaList{webHPA("web", "web")}}, func(s *stage, _ *rival) {
		s.set(func() { s.usage = 1500 })
		s.pass(29 * time.Second)
		if got := s.writes(); len(got) != 0 || s.statuses("web") != 0 {
			t.Errorf("scales %v and %d statuses were written before it was known whether another controller is there", got, s.statuses("web"))
		}
		if len(s.reads) != 1 {
			t.Errorf("%d evaluations in 29 s, want 1: they go on meanwhile", len(s.reads))
		}
		s.expect(corev1.ConditionUnknown, "Judging", "judges")
		s.pass(17 * time.Second)
		if diff := cmp.Diff([]string{"3→6"}, s.writes()); diff != "" {
			t.Errorf("scales (-want +got):\n%s", diff)
		}
		s.expect(corev1.ConditionTrue, "NoOtherController", "acts")
		written := s.statuses(config.CanaryName)
		s.pass(20 * time.Minute)
		if got := s.statuses(config.CanaryName); got != written {
			t.Errorf("the canary was written %d times in 20 minutes in which nobody answered", got-written)
		}
		if conditions := s.canary().Status.Conditions; len(conditions) != 1 {
			t.Errorf("conditions %+v: Berth's own engine has touched the canary", conditions)
		}
	})
}

func TestBerthStandsBackWhileAnotherControllerIsOn(t *testing.T) {
	withRival(t, false, scene{hpas: hpaList{webHPA("web", "web")}}, func(s *stage, r *rival) {
		s.set(func() { s.usage = 500 })
		s.pass(2 * time.Minute)
		s.expect(corev1.ConditionTrue, "NoOtherController", "acts")

		r.on.Store(true)
		s.pass(31 * time.Second) // their next sync, and our next tick
		s.expect(corev1.ConditionFalse, "OtherController", "stands_back")
		if got := s.said("OtherController"); len(got) != 1 || !strings.Contains(got[0], "Warning") || !strings.Contains(got[0], "--controllers=") {
			t.Errorf("events %v, want one warning that says what to do", got)
		}
		before := s.statuses("web")
		s.set(func() { s.usage, s.slow = 1500, true })
		s.pass(20 * time.Minute)
		if got := s.writes(); len(got) != 0 || s.statuses("web") != before {
			t.Errorf("scales %v and %d statuses were written beside another controller", got, s.statuses("web")-before)
		}
		s.expect(corev1.ConditionFalse, "OtherController", "stands_back")
		if n := r.writes.Load(); n < 13 || n > 41 {
			t.Errorf("the other controller was asked %d times in 20 minutes", n)
		}
		// Six pods of one cpu, as was decided: four on the node that is there, two on one that is to come.
		if nodes, err := s.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil || len(nodes.Items) != 2 {
			t.Errorf("%d nodes (%v), want a second one for the pods that are foreseen", len(nodes.Items), err)
		}

		r.on.Store(false)
		s.pass(2 * time.Minute)
		s.expect(corev1.ConditionTrue, "NoOtherController", "acts")
		if diff := cmp.Diff([]string{"3→6"}, s.writes()[:min(1, len(s.writes()))]); diff != "" {
			t.Errorf("scales once the other controller is gone (-want +got):\n%s", diff)
		}
		if got := s.said("NoOtherController"); len(got) != 1 {
			t.Errorf("events %v, want one", got)
		}
	})
}

func TestBerthStandsBackFromTheStartBesideAnotherController(t *testing.T) {
	young := webHPA("web", "web")
	withRival(t, true, scene{hpas: hpaList{young}, vpas: []runtime.Object{webVPA("web-vpa", true)}}, func(s *stage, r *rival) {
		s.set(func() { s.usage = 1500 })
		s.pass(20 * time.Minute)
		if got := s.writes(); len(got) != 0 || s.statuses("web") != 0 {
			t.Errorf("scales %v and %d statuses were written beside another controller", got, s.statuses("web"))
		}
		if got := s.said("TargetHasVPA"); len(got) != 0 {
			t.Errorf("events on another controller's HPA: %v", got)
		}
		r.on.Store(false)
		s.pass(3 * time.Minute)
		if got := s.said("TargetHasVPA"); len(got) != 1 {
			t.Errorf("events %v once the HPA is Berth's, want one", got)
		}
	})
}

func TestAnAnswerOfAnEarlierTimeIsAskedForAgain(t *testing.T) {
	canary := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: config.CanaryName},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{
			{Type: BerthActs, Status: corev1.ConditionFalse, Reason: "OtherController"},
			{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionFalse, Reason: "FailedGetScale"},
		}},
	}
	withRival(t, false, scene{hpas: hpaList{webHPA("web", "web")}, objects: []runtime.Object{canary}}, func(s *stage, _ *rival) {
		s.pass(16 * time.Second)
		s.expect(corev1.ConditionUnknown, "Judging", "judges")
		s.pass(time.Minute)
		s.expect(corev1.ConditionTrue, "NoOtherController", "acts")
	})
}

func TestWithoutTheRightToTheCanaryNothingIsWritten(t *testing.T) {
	forbidden := func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(autoscalingv2.Resource("horizontalpodautoscalers"), config.CanaryName, nil)
	}
	for name, verb := range map[string]string{"make": "create", "read": "get"} {
		t.Run(name, func(t *testing.T) {
			withRival(t, false, scene{hpas: hpaList{webHPA("web", "web")}}, func(s *stage, _ *rival) {
				s.set(func() { s.usage = 500 })
				s.pass(time.Minute)
				s.expect(corev1.ConditionTrue, "NoOtherController", "acts")
				s.kube.PrependReactor(verb, "horizontalpodautoscalers", forbidden)
				if err := s.hpas().Delete(t.Context(), config.CanaryName, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				s.pass(time.Minute)
				s.expectState("judges")
				s.set(func() { s.usage = 1500 })
				s.pass(20 * time.Minute)
				if got := s.writes(); len(got) != 0 {
					t.Errorf("scaled %v without knowing whether another controller is there", got)
				}
				s.kube.ReactionChain = s.kube.ReactionChain[1:]
				s.pass(time.Minute)
				s.expect(corev1.ConditionTrue, "NoOtherController", "acts")
			})
		})
	}
}

func TestObserveByHandNeedsNoCanary(t *testing.T) {
	scene{hpas: hpaList{webHPA("web", "web")}, config: "horizontal: {mode: Observe}\n"}.perform(t, func(s *stage) {
		s.set(func() { s.usage = 1500 })
		s.pass(20 * time.Minute)
		if got := s.writes(); len(got) != 0 || s.statuses("web") != 0 {
			t.Errorf("scales %v and %d statuses were written in Observe mode", got, s.statuses("web"))
		}
		if _, err := s.hpas().Get(t.Context(), config.CanaryName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the canary: %v, want none", err)
		}
		s.expectState("observes")
	})
}
