// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

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
