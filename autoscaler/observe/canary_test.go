// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/berth-dev/berth/autoscaler/config"
)

func hpaOf(namespace, name string) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func TestTheCanaryIsNobodysHPA(t *testing.T) {
	r := reader(t, hpaOf(config.Namespace, config.CanaryName), hpaOf("prod", config.CanaryName), hpaOf(config.Namespace, "web"))
	for _, hpa := range r.HPAs() {
		if hpa.Namespace == config.Namespace && hpa.Name == config.CanaryName {
			t.Error("the canary is among the HPAs")
		}
	}
	if got := len(r.HPAs()); got != 2 {
		t.Errorf("%d HPAs, want 2", got)
	}
}

func TestLookAtTheCanary(t *testing.T) {
	ours := autoscalingv2.HorizontalPodAutoscalerCondition{Type: config.BerthActs, Status: corev1.ConditionTrue}
	theirs := autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionFalse, Reason: "FailedGetScale"}
	for name, tc := range map[string]struct {
		present    bool
		conditions []autoscalingv2.HorizontalPodAutoscalerCondition
		err        error
		answered   bool
	}{
		"none":                {},
		"new":                 {present: true},
		"with our condition":  {present: true, conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{ours}},
		"with theirs":         {present: true, conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{theirs}, answered: true},
		"with both":           {present: true, conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{ours, theirs}, answered: true},
		"behind a stuck door": {present: true, err: apierrors.NewServiceUnavailable("stuck")},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			if tc.present {
				hpa := hpaOf(config.Namespace, config.CanaryName)
				hpa.Status.Conditions = tc.conditions
				if err := client.Tracker().Add(hpa); err != nil {
					t.Fatal(err)
				}
			}
			if tc.err != nil {
				client.PrependReactor("get", "horizontalpodautoscalers", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, tc.err })
			}
			canary, err := NewCanary(client.AutoscalingV2()).Look(t.Context())
			if (err != nil) != (tc.err != nil) || (canary != nil) != (tc.present && tc.err == nil) {
				t.Fatalf("canary %v and error %v", canary, err)
			}
			if canary != nil && Answered(canary) != tc.answered {
				t.Errorf("answered: %t, want %t", Answered(canary), tc.answered)
			}
		})
	}
}
