// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"
)

func TestOnlyHPAsThatWakeFromZeroAreInTheWay(t *testing.T) {
	for name, tc := range map[string]struct{ config, want string }{
		"gate on":  {config: "horizontal: {scaleToZero: true}", want: "AmbiguousSelector"},
		"gate off": {want: "ValidMetricFound"},
	} {
		t.Run(name, func(t *testing.T) {
			jobs := deployment("jobs", 0)
			jobs.Spec.Selector.MatchLabels = map[string]string{"app": "web"}
			asleep := hpaBy("jobs", "jobs", external("depth"))
			asleep.Spec.MinReplicas = ptr.To[int32](0)
			asleep.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScaledToZero, Status: corev1.ConditionTrue}}
			sc := scene{objects: []runtime.Object{jobs}, hpas: hpaList{webHPA("web", "web"), asleep}, config: tc.config}
			sc.perform(t, func(s *stage) {
				s.apis.set("depth", 10, 0)
				s.pass(16 * time.Second)
				if active := condition(s.hpa("web"), autoscalingv2.ScalingActive); active.Reason != tc.want {
					t.Errorf("web: ScalingActive is %+v, want %s", active, tc.want)
				}
			})
		})
	}
}

func TestWithTheGateATargetWakesFromZero(t *testing.T) {
	for name, tc := range map[string]struct {
		config string
		want   []string
	}{
		"gate on":  {config: "horizontal: {scaleToZero: true}", want: []string{"jobs 2→0 at 5m30s", "jobs 0→3 at 6m0s"}},
		"gate off": {want: []string{"jobs 2→0 at 5m30s"}},
	} {
		t.Run(name, func(t *testing.T) {
			hpa := hpaBy("jobs", "jobs", external("depth"))
			hpa.Spec.MinReplicas = ptr.To[int32](0)
			sc := scene{objects: []runtime.Object{deployment("jobs", 2)}, hpas: hpaList{hpa}, config: tc.config}
			sc.perform(t, func(s *stage) {
				s.apis.set("depth", 0, 0)
				s.pass(5*time.Minute + 50*time.Second)
				s.apis.set("depth", 30, 0)
				s.pass(20 * time.Second)
				if diff := cmp.Diff(tc.want, s.otherScales()); diff != "" {
					t.Errorf("scales (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestATargetWakesWhoseHPAWasEditedAsItFellAsleep(t *testing.T) {
	hpa := hpaBy("jobs", "jobs", external("depth"))
	hpa.Spec.MinReplicas = ptr.To[int32](0)
	sc := scene{objects: []runtime.Object{deployment("jobs", 2)}, hpas: hpaList{hpa}, config: "horizontal: {scaleToZero: true}\n"}
	sc.perform(t, func(s *stage) {
		s.apis.set("depth", 0, 0)
		edited := false
		s.kube.PrependReactor("update", hpaResource.Resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			if edited || len(s.otherScales()) == 0 {
				return false, nil, nil
			}
			edited = true
			return true, nil, apierrors.NewConflict(hpaResource.GroupResource(), "jobs", nil)
		})
		s.pass(6 * time.Minute)
		s.apis.set("depth", 30, 0)
		s.pass(time.Minute)
		if diff := cmp.Diff([]string{"jobs 2→0 at 5m30s", "jobs 0→3 at 6m15s"}, s.otherScales()); diff != "" || !edited {
			t.Errorf("edited: %t, scales (-want +got):\n%s", edited, diff)
		}
	})
}
