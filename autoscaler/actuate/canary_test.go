// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import (
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/berth-dev/berth/autoscaler/config"
)

func TestTheCanaryScalesNothing(t *testing.T) {
	client := fake.NewClientset()
	if err := New(client.AutoscalingV2(), nil, nil, nil, nil, nil).MakeCanary(t.Context()); err != nil {
		t.Fatal(err)
	}
	canary, err := client.AutoscalingV2().HorizontalPodAutoscalers(config.Namespace).Get(t.Context(), config.CanaryName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ref := canary.Spec.ScaleTargetRef; ref.Kind != "Deployment" || ref.Name == config.Name || canary.Spec.MaxReplicas != 1 {
		t.Errorf("spec %+v: want a target of a kind that is always served, and at most one replica of it", canary.Spec)
	}
}

func TestTheCanarysStatusIsWrittenUponWhatWasSeen(t *testing.T) {
	canary := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: config.CanaryName, ResourceVersion: "7"}}
	client := fake.NewClientset(canary.DeepCopy())
	w := New(client.AutoscalingV2(), nil, nil, nil, nil, nil)
	for _, status := range []autoscalingv2.HorizontalPodAutoscalerStatus{
		{}, // as it is
		{Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: "BerthActs"}}},
	} {
		if err := w.CanaryStatus(t.Context(), canary, status); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(client.Actions()); got != 1 {
		t.Fatalf("%d writes, want 1: %v", got, client.Actions())
	}
	update := client.Actions()[0].(clienttesting.UpdateAction)
	if update.GetSubresource() != "status" || update.GetObject().(metav1.Object).GetResourceVersion() != "7" {
		t.Errorf("written %+v, want the status, upon the version that was seen", update)
	}
	if len(canary.Status.Conditions) != 0 {
		t.Error("the object that was seen is changed")
	}
}
