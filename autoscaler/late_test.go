// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"errors"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// An HPA that is refused while its metrics are asked for does not act on the answer.
func TestARefusalThatComesBeforeTheAnswerHolds(t *testing.T) {
	sc := scene{hpas: hpaList{hpaBy("web", "web", external("depth"))}}
	sc.perform(t, func(s *stage) {
		s.apis.set("depth", 50, 8*time.Second)
		s.pass(20 * time.Second)
		vpa := webVPA("web", true)
		vpa.CreationTimestamp = metav1.NewTime(s.began.Add(-time.Hour))
		if _, err := s.vpa.AutoscalingV1().VerticalPodAutoscalers("prod").Create(t.Context(), vpa, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.pass(5 * time.Second)
		if got := s.writes(); got != nil {
			t.Errorf("scaled %v", got)
		}
		if active := condition(s.hpa("web"), autoscalingv2.ScalingActive); active.Reason != "ConflictsWithVerticalPodAutoscaler" {
			t.Errorf("ScalingActive is %+v", active)
		}
	})
}

// What others write into a status while metrics are asked for stays.
func TestALateAnswerIsWrittenOnTheStatusOfNow(t *testing.T) {
	sc := scene{objects: []runtime.Object{deployment("jobs", 1)}, hpas: hpaList{hpaBy("jobs", "jobs", external("depth"))}}
	sc.perform(t, func(s *stage) {
		s.apis.set("depth", 10, 8*time.Second)
		s.pass(20 * time.Second)
		hpa := s.hpa("jobs").DeepCopy()
		hpa.Status.Conditions = append(hpa.Status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{Type: "Audited", Status: corev1.ConditionTrue})
		if _, err := s.kube.AutoscalingV2().HorizontalPodAutoscalers("prod").UpdateStatus(t.Context(), hpa, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.pass(5 * time.Second)
		hpa = s.hpa("jobs")
		if condition(hpa, autoscalingv2.ScalingActive).Reason != "ValidMetricFound" || condition(hpa, "Audited").Status != corev1.ConditionTrue {
			t.Errorf("conditions are %+v, want Audited beside what the answer led to", hpa.Status.Conditions)
		}
	})
}

// Pods of a scale that could not be written do not come.
func TestNoNodesComeForAScaleThatIsRefused(t *testing.T) {
	perform(t, hpaList{webHPA("web", "web")}, nil, func(s *stage) {
		s.kube.PrependReactor("update", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("the webhook says no")
		})
		s.set(func() { s.usage = 1500 })
		s.pass(time.Minute)
		if len(s.writes()) == 0 {
			t.Error("no scale was tried")
		}
		nodes, err := s.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(nodes.Items); got != 1 {
			t.Errorf("%d nodes, want the one that was there", got)
		}
	})
}

// An HPA that may not act is in nobody's way, whatever it selects.
func TestARefusedHPAMakesNoSelectorAmbiguous(t *testing.T) {
	vpa := webVPA("jobs", true)
	vpa.Spec.TargetRef.Name = "jobs"
	for name, tc := range map[string]struct {
		vpas []runtime.Object
		want string
	}{
		"refused": {vpas: []runtime.Object{vpa}, want: "ValidMetricFound"},
		"not so":  {want: "AmbiguousSelector"},
	} {
		t.Run(name, func(t *testing.T) {
			jobs := deployment("jobs", 2)
			jobs.Spec.Selector.MatchLabels = map[string]string{"app": "web"}
			sc := scene{objects: []runtime.Object{jobs}, hpas: hpaList{webHPA("web", "web"), webHPA("jobs", "jobs")}, vpas: tc.vpas}
			sc.perform(t, func(s *stage) {
				s.pass(16 * time.Second)
				if active := condition(s.hpa("web"), autoscalingv2.ScalingActive); active.Reason != tc.want {
					t.Errorf("web: ScalingActive is %+v, want %s", active, tc.want)
				}
			})
		})
	}
}
