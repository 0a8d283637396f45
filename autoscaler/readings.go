// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/berth-dev/berth/autoscaler/horizontal"
	"github.com/berth-dev/berth/autoscaler/metrics"
)

// needs are the APIs that the metrics of an HPA are read from.
func needs(hpa *autoscalingv2.HorizontalPodAutoscaler) sets.Set[metrics.API] {
	apis := sets.New[metrics.API]()
	for _, spec := range hpa.Spec.Metrics {
		switch spec.Type {
		case autoscalingv2.ResourceMetricSourceType, autoscalingv2.ContainerResourceMetricSourceType:
			apis.Insert(metrics.Resource)
		case autoscalingv2.PodsMetricSourceType, autoscalingv2.ObjectMetricSourceType:
			apis.Insert(metrics.Custom)
		case autoscalingv2.ExternalMetricSourceType:
			apis.Insert(metrics.External)
		}
	}
	return apis
}

// queriesOf are the questions of an HPA whose target selects so: one for each of spec.metrics, zero for those that
// the resource metrics API answers, and for those whose own selector the engine refuses.
func queriesOf(hpa *autoscalingv2.HorizontalPodAutoscaler, pods string) []metrics.Query {
	queries := make([]metrics.Query, len(hpa.Spec.Metrics))
	for i, spec := range hpa.Spec.Metrics {
		query := metrics.Query{Namespace: hpa.Namespace}
		var metric autoscalingv2.MetricIdentifier
		switch spec.Type {
		case autoscalingv2.PodsMetricSourceType:
			query.API, query.Pods, metric = metrics.Custom, pods, spec.Pods.Metric
		case autoscalingv2.ObjectMetricSourceType:
			query.API, query.Object, metric = metrics.Custom, spec.Object.DescribedObject, spec.Object.Metric
		case autoscalingv2.ExternalMetricSourceType:
			query.API, metric = metrics.External, spec.External.Metric
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

func convertAnswer(answer metrics.Answer) horizontal.Reading {
	if answer.Err != nil {
		return horizontal.Reading{Absent: answer.Err.Error()}
	}
	return horizontal.Reading{Pods: answer.Pods, Object: answer.Object, Series: answer.Series}
}

// usage is what the resource metrics API said in this round, by namespace.
type usage struct {
	absent string
	pods   map[string]map[string]horizontal.PodUsage
}

func (u usage) of(namespace string) horizontal.Usage {
	return horizontal.Usage{Absent: u.absent, Pods: u.pods[namespace]}
}

// usageOf keeps the namespaces of a snapshot that somebody asked for.
func usageOf(waiting []*replicas, snapshot metrics.Snapshot, err error) usage {
	if err != nil {
		return usage{absent: err.Error()}
	}
	u := usage{pods: map[string]map[string]horizontal.PodUsage{}}
	for _, r := range waiting {
		if namespace := r.hpa.Namespace; r.needs.Has(metrics.Resource) && u.pods[namespace] == nil {
			u.pods[namespace] = convertUsage(snapshot.Namespace(namespace))
		}
	}
	return u
}

func convertUsage(samples map[string]metrics.PodUsage) map[string]horizontal.PodUsage {
	converted := make(map[string]horizontal.PodUsage, len(samples))
	for name, sample := range samples {
		containers := make([]horizontal.ContainerUsage, len(sample.Containers))
		for i, container := range sample.Containers {
			containers[i] = horizontal.ContainerUsage(container)
		}
		converted[name] = horizontal.PodUsage{Timestamp: sample.Timestamp, Window: sample.Window, Containers: containers}
	}
	return converted
}
