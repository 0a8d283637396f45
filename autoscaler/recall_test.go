// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/config"
)

// slowly lets an HPA grow by two in half an hour.
func slowly(hpa *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler {
	hpa.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{
		StabilizationWindowSeconds: ptr.To[int32](0), SelectPolicy: ptr.To(autoscalingv2.MaxChangePolicySelect),
		Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: 2, PeriodSeconds: 1800}},
	}}
	return hpa
}

func TestRatePoliciesCountWhatWasBeforeARestart(t *testing.T) {
	var left *autoscalingv2.HorizontalPodAutoscaler
	perform(t, hpaList{slowly(webHPA("web", "web"))}, nil, func(s *stage) {
		s.set(func() { s.usage = 1500 })
		s.pass(16 * time.Second)
		if diff := cmp.Diff([]string{"3→5"}, s.writes()); diff != "" {
			t.Fatalf("scales (-want +got):\n%s", diff)
		}
		left = s.hpa("web")
		if text := left.Annotations[config.ScaleEvents]; !strings.HasPrefix(text, "web +2@") {
			t.Errorf("annotations %v, want the UID and the event", left.Annotations)
		}
		s.set(func() { s.usage = 500 }) // on target: the status comes to rest
		s.pass(5 * time.Minute)
		before := len(s.kube.Actions())
		s.pass(5 * time.Minute)
		for _, action := range s.kube.Actions()[before:] {
			if verb := action.GetVerb(); verb != "get" && verb != "list" {
				t.Errorf("%s %s while nothing changes", verb, action.GetResource().Resource)
			}
		}
		s.pass(31 * time.Minute)
		if text, found := s.hpa("web").Annotations[config.ScaleEvents]; found {
			t.Errorf("the event is out of date and kept: %q", text)
		}
	})
	for name, tc := range map[string]struct {
		change func(*autoscalingv2.HorizontalPodAutoscaler)
		want   []string
	}{
		"another process":      {change: func(*autoscalingv2.HorizontalPodAutoscaler) {}},
		"a copy of the HPA":    {change: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.UID = "other" }, want: []string{"3→5"}},
		"text of another kind": {change: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Annotations[config.ScaleEvents] = "web two" }, want: []string{"3→5"}},
	} {
		t.Run(name, func(t *testing.T) {
			hpa := left.DeepCopy()
			tc.change(hpa)
			perform(t, hpaList{hpa}, nil, func(s *stage) {
				s.set(func() { s.usage = 1500 })
				s.pass(5 * time.Minute)
				if diff := cmp.Diff(tc.want, s.writes()); diff != "" {
					t.Errorf("scales (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAnHPAThatIsGoneLeavesNoHistory(t *testing.T) {
	perform(t, hpaList{webHPA("web", "web"), webHPA("other", "gone")}, nil, func(s *stage) {
		s.pass(16 * time.Second)
		if err := s.kube.Tracker().Delete(hpaResource, "prod", "other"); err != nil {
			t.Fatal(err)
		}
		s.pass(16 * time.Second)
		if _, found := s.conductor.history.horizontal[types.UID("other")]; found || len(s.conductor.history.horizontal) != 1 {
			t.Errorf("history of %v", s.conductor.history.horizontal)
		}
	})
}

var hpaResource = autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers")

func TestAStatusThatIsRefusedIsToldAndTriedAgain(t *testing.T) {
	perform(t, hpaList{slowly(webHPA("web", "web"))}, nil, func(s *stage) {
		refused := false
		s.kube.PrependReactor("update", hpaResource.Resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			if refused {
				return false, nil, nil
			}
			refused = true
			return true, nil, apierrors.NewInternalError(errors.New("no leader"))
		})
		s.set(func() { s.usage = 1500 })
		s.pass(16 * time.Second)
		if got := s.said("FailedUpdateStatus"); len(got) != 1 || !strings.Contains(got[0], "no leader") {
			t.Errorf("events %v, want one FailedUpdateStatus with the server's words", got)
		}
		s.pass(15 * time.Second)
		hpa := s.hpa("web")
		if !strings.HasPrefix(hpa.Annotations[config.ScaleEvents], "web +2@") || condition(hpa, autoscalingv2.ScalingActive).Type == "" {
			t.Errorf("after the next evaluation the annotations are %v and the status %+v", hpa.Annotations, hpa.Status)
		}
		if diff := cmp.Diff([]string{"3→5"}, s.writes()); diff != "" {
			t.Errorf("scales (-want +got):\n%s", diff)
		}
	})
}

// The scale is written, and the process is about to end.
func TestWhatTheNextProcessCountsIsWrittenBehindTheScale(t *testing.T) {
	perform(t, hpaList{slowly(webHPA("web", "web"))}, nil, func(s *stage) {
		s.kube.PrependReactor("update", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
			s.stop()
			return false, nil, nil
		})
		s.set(func() { s.usage = 1500 })
		s.pass(30 * time.Second)
		if diff := cmp.Diff([]string{"3→5"}, s.writes()); diff != "" {
			t.Fatalf("scales (-want +got):\n%s", diff)
		}
		if hpa := s.hpa("web"); hpa.Status.LastScaleTime == nil || hpa.Annotations[config.ScaleEvents] == "" {
			t.Errorf("status %+v and annotations %v do not tell of the rescale", hpa.Status, hpa.Annotations)
		}
	})
}
