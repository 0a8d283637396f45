// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/cloud/kwok"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

type hpaList = []*autoscalingv2.HorizontalPodAutoscaler

func TestAnHPAIsEvaluatedOncePerPeriodWhateverHappens(t *testing.T) {
	perform(t, hpaList{webHPA("web", "web")}, nil, func(s *stage) {
		s.set(func() { s.usage = 500 }) // on target
		s.pass(14 * time.Second)
		for range 50 {
			s.conductor.Wake()
			s.pass(0)
		}
		if len(s.reads) != 0 {
			t.Errorf("%d evaluations before the first period is over", len(s.reads))
		}
		s.pass(time.Minute)
		if len(s.reads) != 4 {
			t.Errorf("%d evaluations in 74 s, want 4", len(s.reads))
		}
	})
}

func TestASlowTickBringsNoTwoEvaluationsCloser(t *testing.T) {
	perform(t, hpaList{webHPA("web", "web")}, nil, func(s *stage) {
		s.set(func() { s.usage, s.takes = 500, 29*time.Second })
		s.pass(5 * time.Minute)
		s.set(func() { s.takes = 0 })
		s.pass(time.Minute)
		for i := 1; i < len(s.reads); i++ {
			if gap := s.reads[i].Sub(s.reads[i-1]); gap < 15*time.Second {
				t.Errorf("evaluations %d and %d are %s apart, less than a period", i-1, i, gap)
			}
		}
		if len(s.reads) < 10 {
			t.Errorf("%d evaluations in six minutes", len(s.reads))
		}
	})
}

func TestANodeThatGetsAPodMeanwhileIsKept(t *testing.T) {
	stays := func(s *stage) bool {
		node, err := s.kube.CoreV1().Nodes().Get(t.Context(), "pool-1", metav1.GetOptions{})
		return err == nil && !drain.Marked(node)
	}
	begin := func(s *stage) {
		node, err := s.kube.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		node = node.DeepCopy()
		node.Name, node.UID, node.Labels = "pool-1", "pool-1", map[string]string{kwok.GroupLabel: "pool"}
		if _, err := s.kube.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// Left alone, the node is marked when it has been empty long enough: that is the tick to meddle with.
	var removed time.Duration
	perform(t, nil, nil, func(s *stage) {
		begin(s)
		for stays(s) && removed < time.Hour {
			s.pass(time.Second)
			removed = time.Since(s.began)
		}
	})
	if removed < 10*time.Minute || removed > 11*time.Minute {
		t.Fatalf("an empty node went after %s, want 10 minutes and a tick", removed)
	}
	perform(t, nil, nil, func(s *stage) {
		begin(s)
		bound := false
		s.during = func() {
			if bound || time.Since(s.began) <= removed-time.Second {
				return
			}
			bound = true
			pod := webPod(7)
			pod.Spec.NodeName = "pool-1"
			if _, err := s.kube.CoreV1().Pods("prod").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
			synctest.Wait() // until the informer knows
		}
		s.pass(removed + time.Minute)
		if !bound || !stays(s) {
			t.Errorf("a pod was bound meanwhile: %t; the node stays: %t", bound, stays(s))
		}
	})
}

func TestLoadScalesUp(t *testing.T) {
	perform(t, hpaList{webHPA("web", "web")}, nil, func(s *stage) {
		s.set(func() { s.usage = 1500 })
		s.pass(16 * time.Second)
		// Up to the larger of twice the replicas and four, as without behavior.
		if diff := cmp.Diff([]string{"3→6"}, s.writes()); diff != "" {
			t.Errorf("scales (-want +got):\n%s", diff)
		}
		hpa := s.hpa("web")
		if hpa.Status.DesiredReplicas != 6 || hpa.Status.LastScaleTime == nil {
			t.Errorf("status %+v, want 6 desired and a time of scale", hpa.Status)
		}
		if got := s.said("SuccessfulRescale"); len(got) != 1 {
			t.Errorf("events %v, want one SuccessfulRescale", got)
		}
	})
}

func TestWithoutMetricsNothingIsScaledDown(t *testing.T) {
	perform(t, hpaList{webHPA("web", "web"), webHPA("lost", "gone")}, nil, func(s *stage) {
		s.set(func() { s.usage, s.down = 10, errDown })
		s.pass(20 * time.Minute)
		if got := s.writes(); len(got) != 0 {
			t.Errorf("scaled %v without metrics", got)
		}
		active := condition(s.hpa("web"), autoscalingv2.ScalingActive)
		if active.Status != corev1.ConditionFalse || active.Reason != "FailedGetResourceMetric" || !strings.Contains(active.Message, "no metrics here") {
			t.Errorf("ScalingActive is %+v, want False with FailedGetResourceMetric and the API's words", active)
		}
		if able := condition(s.hpa("lost"), autoscalingv2.AbleToScale); able.Reason != "FailedGetScale" || !strings.Contains(able.Message, `deployments.apps "gone" not found`) {
			t.Errorf("AbleToScale of a lost target is %+v", able)
		}
		s.set(func() { s.down = nil })
		s.pass(6 * time.Minute)
		if got := s.writes(); len(got) == 0 {
			t.Error("not scaled down once the metrics were back and the window had passed")
		}
	})
}

func TestTheYoungerOfTwoMastersIsRefused(t *testing.T) {
	old := webHPA("web", "web")
	old.CreationTimestamp = metav1.NewTime(time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC))
	perform(t, hpaList{old}, []runtime.Object{webVPA("web-vpa", false)}, func(s *stage) {
		s.set(func() { s.usage = 1500 })
		s.pass(16 * time.Second)
		if diff := cmp.Diff([]string{"3→6"}, s.writes()); diff != "" {
			t.Errorf("the older one acts; scales (-want +got):\n%s", diff)
		}
		if c := condition(s.hpa("web"), config.Conflicted); c.Reason != "HoldsTarget" || !strings.Contains(c.Message, "web-vpa") {
			t.Errorf("the HPA's condition is %+v, want one that names the VPA", c)
		}
		vpa, err := s.vpa.AutoscalingV1().VerticalPodAutoscalers("prod").Get(t.Context(), "web-vpa", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(vpa.Status.Conditions) != 1 || vpa.Status.Conditions[0].Reason != "TargetHasHPA" {
			t.Errorf("the VPA's conditions are %+v, want TargetHasHPA", vpa.Status.Conditions)
		}
		if got := s.said(`"web`); len(got) < 2 {
			t.Errorf("events %v, want one on each side", got)
		}

		if err := s.vpa.AutoscalingV1().VerticalPodAutoscalers("prod").Delete(t.Context(), "web-vpa", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.pass(16 * time.Second)
		if c := condition(s.hpa("web"), config.Conflicted); c.Type != "" {
			t.Errorf("the conflict is over and its condition still there: %+v", c)
		}
	})
}

func TestARefusedHPAIsLeftAloneUntilTheOtherGoes(t *testing.T) {
	young := webHPA("web", "web")
	young.CreationTimestamp = metav1.NewTime(time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC))
	perform(t, hpaList{young}, []runtime.Object{webVPA("web-vpa", true)}, func(s *stage) {
		s.set(func() { s.usage = 1500 })
		s.pass(5 * time.Minute)
		if got := s.writes(); len(got) != 0 {
			t.Errorf("a refused HPA scaled %v", got)
		}
		if c := condition(s.hpa("web"), autoscalingv2.ScalingActive); c.Status != corev1.ConditionFalse || !strings.Contains(c.Message, "web-vpa") {
			t.Errorf("ScalingActive is %+v, want False and the VPA's name", c)
		}
		if err := s.vpa.AutoscalingV1().VerticalPodAutoscalers("prod").Delete(t.Context(), "web-vpa", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.pass(16 * time.Second)
		if got := s.writes(); len(got) != 1 {
			t.Errorf("scales %v after the VPA is gone, want one", got)
		}
	})
}

func TestNodesComeInTheTickOfTheReplicasThatNeedThem(t *testing.T) {
	perform(t, hpaList{webHPA("web", "web")}, nil, func(s *stage) {
		s.set(func() { s.usage, s.slow = 1500, true })
		s.pass(16 * time.Second)
		// Six pods of one cpu: four on the node that is there, two on one that is to come.
		var order []string
		for _, action := range s.kube.Actions() {
			switch {
			case action.Matches("create", "nodes"):
				order = append(order, "node")
			case action.Matches("update", "deployments"):
				order = append(order, "scale")
			}
		}
		if diff := cmp.Diff([]string{"scale", "node"}, order); diff != "" {
			t.Errorf("writes in their order (-want +got):\n%s", diff)
		}
	})
}

func TestBerthsVPAGetsARecommendation(t *testing.T) {
	others := webVPA("others", false)
	others.Spec.Recommenders, others.Spec.TargetRef.Name = nil, "gone"
	perform(t, nil, []runtime.Object{webVPA("web-vpa", false), others}, func(s *stage) {
		s.pass(10 * time.Minute)
		vpas := s.vpa.AutoscalingV1().VerticalPodAutoscalers("prod")
		vpa, err := vpas.Get(t.Context(), "web-vpa", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r := vpa.Status.Recommendation
		if r == nil || len(r.ContainerRecommendations) != 1 {
			t.Fatalf("recommendation %+v, want one for the one container", r)
		}
		// Constant usage of 500m, the next bucket's end, and the safety margin of 15 %.
		if got := r.ContainerRecommendations[0].Target.Cpu().MilliValue(); got < 575 || got > 610 {
			t.Errorf("target %dm of a container that uses 500m", got)
		}
		c := vpa.Status.Conditions
		if len(c) != 2 || c[0].Type != vpav1.RecommendationProvided || c[0].Status != corev1.ConditionTrue || c[1].Type != config.SizesApplied {
			t.Errorf("conditions %+v, want RecommendationProvided and SizesApplied", c)
		}
		other, err := vpas.Get(t.Context(), "others", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if other.Status.Recommendation != nil || len(other.Status.Conditions) != 0 {
			t.Errorf("another recommender's VPA was written: %+v", other.Status)
		}
	})
}
