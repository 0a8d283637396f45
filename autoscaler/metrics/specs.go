// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// APIOf returns the API that answers a kind of metric, empty for a kind that does not exist.
func APIOf(kind autoscalingv2.MetricSourceType) API {
	switch kind {
	case autoscalingv2.ResourceMetricSourceType, autoscalingv2.ContainerResourceMetricSourceType:
		return Resource
	case autoscalingv2.PodsMetricSourceType, autoscalingv2.ObjectMetricSourceType:
		return Custom
	case autoscalingv2.ExternalMetricSourceType:
		return External
	}
	return ""
}

// QueriesOf returns the questions of an HPA whose target selects so: one for each of spec.metrics, zero for those
// that the resource metrics API answers, and for those whose own selector does not parse.
func QueriesOf(hpa *autoscalingv2.HorizontalPodAutoscaler, pods string) []Query {
	queries := make([]Query, len(hpa.Spec.Metrics))
	for i, spec := range hpa.Spec.Metrics {
		query := Query{API: APIOf(spec.Type), Namespace: hpa.Namespace}
		var metric autoscalingv2.MetricIdentifier
		switch spec.Type {
		case autoscalingv2.PodsMetricSourceType:
			query.Pods, metric = pods, spec.Pods.Metric
		case autoscalingv2.ObjectMetricSourceType:
			query.Object, metric = spec.Object.DescribedObject, spec.Object.Metric
		case autoscalingv2.ExternalMetricSourceType:
			metric = spec.External.Metric
		default:
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(metric.Selector)
		if err != nil {
			continue
		}
		query.Metric, query.Selector = metric.Name, selector.String()
		queries[i] = query
	}
	return queries
}
