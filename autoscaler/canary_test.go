// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/informers"
	autoscalingclient "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	scalefake "k8s.io/client-go/scale/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/observe"
)

func (sc scene) lookout(s *stage) *observe.Canary {
	if !sc.canary {
		return nil
	}
	return observe.NewCanary(s.kube.AutoscalingV2())
}

// rival is kube-controller-manager's own HPA controller. It serves Berth's namespace
// only, so that whatever is written elsewhere is Berth's doing.
type rival struct {
	s    *stage
	stop func()
}

func (r *rival) on() {
	ctx, cancel := context.WithCancel(klog.NewContext(r.s.t.Context(), klog.Logger{}))
	absent := func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(appsv1.Resource("deployments"), action.(clienttesting.GetAction).GetName())
	}
	scales := &scalefake.FakeScaleClient{}
	scales.AddReactor("get", "deployments", absent)
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{appsv1.SchemeGroupVersion})
	mapper.Add(appsv1.SchemeGroupVersion.WithKind("Deployment"), meta.RESTScopeNamespace)
	factory := informers.NewSharedInformerFactoryWithOptions(r.s.kube, 0, informers.WithNamespace(config.Namespace))
	controller := podautoscaler.NewHorizontalController(ctx, r.s.kube.CoreV1(), scales, r.s.kube.AutoscalingV2(), mapper, nil,
		factory.Autoscaling().V2().HorizontalPodAutoscalers(), factory.Core().V1().Pods(), 15*time.Second, 0, 0, 0, 0)
	factory.Start(ctx.Done())
	var running sync.WaitGroup
	running.Go(func() { controller.Run(ctx, 1) })
	r.stop = func() {
		cancel()
		running.Wait()
		factory.Shutdown()
	}
}

func (r *rival) off() {
	r.stop()
	r.stop = func() {}
}

// withRival plays with another HPA controller at hand, which is off at first.
func withRival(t *testing.T, sc scene, play func(*stage, *rival)) {
	t.Helper()
	// It rests after an error until a moment of the real clock, which in virtual time is decades away.
	handlers := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = nil
	t.Cleanup(func() { utilruntime.ErrorHandlers = handlers })
	sc.canary = true
	sc.perform(t, func(s *stage) {
		s.pass(7 * time.Second) // between the conductor's ticks
		r := &rival{s: s, stop: func() {}}
		play(s, r)
		r.off()
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
	if got := condition(s.canary(), config.BerthActs); got.Status != status || got.Reason != reason || got.Message == "" {
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
	withRival(t, scene{hpas: hpaList{webHPA("web", "web")}}, func(s *stage, _ *rival) {
		s.set(func() { s.usage = 1500 })
		s.pass(22 * time.Second)
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
	withRival(t, scene{hpas: hpaList{webHPA("web", "web")}}, func(s *stage, r *rival) {
		s.set(func() { s.usage = 500 })
		s.pass(2 * time.Minute)
		s.expect(corev1.ConditionTrue, "NoOtherController", "acts")

		r.on()
		s.pass(31 * time.Second) // their next sync, and our next tick
		s.expect(corev1.ConditionFalse, "OtherController", "stands_back")
		if got := s.said("OtherController"); len(got) != 1 || !strings.Contains(got[0], "Warning") || !strings.Contains(got[0], "to --controllers") {
			t.Errorf("events %v, want one warning that says what to do", got)
		}
		before, asked := s.statuses("web"), s.statuses(config.CanaryName)
		s.set(func() { s.usage, s.slow = 1500, true })
		s.pass(20 * time.Minute)
		if got := s.writes(); len(got) != 0 || s.statuses("web") != before {
			t.Errorf("scales %v and %d statuses were written beside another controller", got, s.statuses("web")-before)
		}
		s.expect(corev1.ConditionFalse, "OtherController", "stands_back")
		if n := s.statuses(config.CanaryName) - asked; n < 26 || n > 82 {
			t.Errorf("the canary was written %d times in 20 minutes, want two times for each question", n)
		}
		// Six pods of one cpu, as was decided: four on the node that is there, two on one that is to come.
		if nodes, err := s.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil || len(nodes.Items) != 2 {
			t.Errorf("%d nodes (%v), want a second one for the pods that are foreseen", len(nodes.Items), err)
		}

		r.off()
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
	withRival(t, scene{hpas: hpaList{young}, vpas: []runtime.Object{webVPA("web-vpa", true)}}, func(s *stage, r *rival) {
		r.on()
		s.set(func() { s.usage = 1500 })
		s.pass(20 * time.Minute)
		if got := s.writes(); len(got) != 0 || s.statuses("web") != 0 {
			t.Errorf("scales %v and %d statuses were written beside another controller", got, s.statuses("web"))
		}
		if got := s.said("TargetHasVPA"); len(got) != 0 {
			t.Errorf("events on another controller's HPA: %v", got)
		}
		r.off()
		s.pass(3 * time.Minute)
		if got := s.said("TargetHasVPA"); len(got) != 1 {
			t.Errorf("events %v once the HPA is Berth's, want one", got)
		}
	})
}

// leftCanary is the canary as an earlier leader has left it.
func leftCanary(acts corev1.ConditionStatus, reason string, more ...autoscalingv2.HorizontalPodAutoscalerCondition) *autoscalingv2.HorizontalPodAutoscaler {
	canary := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: config.CanaryName}}
	said := autoscalingv2.HorizontalPodAutoscalerCondition{Type: config.BerthActs, Status: acts, Reason: reason}
	canary.Status.Conditions = append([]autoscalingv2.HorizontalPodAutoscalerCondition{said}, more...)
	return canary
}

func TestAnAnswerOfAnEarlierTimeIsAskedForAgain(t *testing.T) {
	for _, acts := range []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionUnknown, corev1.ConditionTrue} {
		t.Run(string(acts), func(t *testing.T) {
			canary := leftCanary(acts, noOtherController, autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionFalse, Reason: "FailedGetScale"})
			withRival(t, scene{hpas: hpaList{webHPA("web", "web")}, objects: []runtime.Object{canary}}, func(s *stage, _ *rival) {
				s.pass(16 * time.Second)
				s.expect(corev1.ConditionUnknown, "Judging", "judges")
				if conditions := s.canary().Status.Conditions; len(conditions) != 1 {
					t.Errorf("conditions %+v: the answer is not cleared away", conditions)
				}
				s.pass(time.Minute)
				s.expect(corev1.ConditionTrue, "NoOtherController", "acts")
			})
		})
	}
}

func TestWhatTheLastLeaderLeftOnAQuietCanary(t *testing.T) {
	for reason, tc := range map[string]struct {
		acts corev1.ConditionStatus
		want []string
	}{
		noOtherController: {acts: corev1.ConditionTrue, want: []string{"3→6"}},
		"Judging":         {acts: corev1.ConditionUnknown},
		"OtherController": {acts: corev1.ConditionFalse},
		"Observing":       {acts: corev1.ConditionFalse},
		"NotLookedFor":    {acts: corev1.ConditionTrue},
	} {
		t.Run(reason, func(t *testing.T) {
			withRival(t, scene{hpas: hpaList{webHPA("web", "web")}, objects: []runtime.Object{leftCanary(tc.acts, reason)}}, func(s *stage, r *rival) {
				s.set(func() { s.usage = 1500 })
				s.pass(9 * time.Second) // the second evaluation of this leader, 15 s after its start
				if diff := cmp.Diff(tc.want, s.writes()); diff != "" {
					t.Errorf("scales (-want +got):\n%s", diff)
				}
				r.on()
				s.pass(31 * time.Second)
				s.expect(corev1.ConditionFalse, "OtherController", "stands_back")
			})
		})
	}
}

func TestWithoutTheRightToTheCanaryNothingIsWritten(t *testing.T) {
	forbidden := func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(autoscalingv2.Resource("horizontalpodautoscalers"), config.CanaryName, nil)
	}
	for name, verb := range map[string]string{"make": "create", "read": "get"} {
		t.Run(name, func(t *testing.T) {
			withRival(t, scene{hpas: hpaList{webHPA("web", "web")}}, func(s *stage, _ *rival) {
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
	scene{canary: true, hpas: hpaList{webHPA("web", "web")}, config: "horizontal: {mode: Observe}\n"}.perform(t, func(s *stage) {
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

func TestACanaryThatNobodyLooksAtSaysSo(t *testing.T) {
	for name, tc := range map[string]struct {
		config string
		acts   corev1.ConditionStatus
		reason string
		state  string
	}{
		"mode Observe": {"horizontal: {mode: Observe}\n", corev1.ConditionFalse, "Observing", "observes"},
		"canary None":  {"horizontal: {canary: None}\n", corev1.ConditionTrue, "NotLookedFor", "acts"},
		"both":         {"horizontal: {mode: Observe, canary: None}\n", corev1.ConditionFalse, "Observing", "observes"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionFalse, Reason: "FailedGetScale"}
			canary := leftCanary(corev1.ConditionUnknown, "Judging", answer)
			scene{canary: true, hpas: hpaList{webHPA("web", "web")}, objects: []runtime.Object{canary}, config: tc.config}.perform(t, func(s *stage) {
				s.pass(16 * time.Second)
				s.expect(tc.acts, tc.reason, tc.state)
				if got := condition(s.canary(), autoscalingv2.AbleToScale); got.Reason != answer.Reason {
					t.Errorf("what another controller said is now %+v", got)
				}
				looks := len(s.kube.Actions())
				s.pass(10 * time.Minute)
				for _, action := range s.kube.Actions()[looks:] {
					if action.GetNamespace() == config.Namespace && action.GetResource().Resource == "horizontalpodautoscalers" {
						t.Errorf("the canary, which has said it, is looked at again: %v", action)
					}
				}
			})
		})
	}
}
