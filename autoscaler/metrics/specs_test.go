// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestQueriesOf(t *testing.T) {
	main := autoscalingv2.CrossVersionObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "main"}
	of := func(name, operator string) autoscalingv2.MetricIdentifier {
		return autoscalingv2.MetricIdentifier{Name: name, Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "queue", Operator: metav1.LabelSelectorOperator(operator), Values: []string{"b", "a"}}}}}
	}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "prod"}}
	hpa.Spec.Metrics = []autoscalingv2.MetricSpec{
		{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: "cpu"}},
		{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "rps"}}},
		{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{Metric: of("hits", "NotIn"), DescribedObject: main}},
		{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{Name: "cpu"}},
		{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: of("depth", "In")}},
		{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: of("depth", "Near")}},
		{Type: "Unheard"},
	}
	want := []Query{
		{},
		{API: Custom, Namespace: "prod", Metric: "rps", Pods: "app=web"},
		{API: Custom, Namespace: "prod", Metric: "hits", Selector: "queue notin (a,b)", Object: main},
		{},
		{API: External, Namespace: "prod", Metric: "depth", Selector: "queue in (a,b)"},
		{},
		{},
	}
	if diff := cmp.Diff(want, QueriesOf(hpa, "app=web")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	apis := []API{Resource, Custom, Custom, Resource, External, External, ""}
	for i, spec := range hpa.Spec.Metrics {
		if got := APIOf(spec.Type); got != apis[i] {
			t.Errorf("%s is answered by %q, want %q", spec.Type, got, apis[i])
		}
	}
}
