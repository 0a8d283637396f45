// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/berth-dev/berth/autoscaler/horizontal"
	"github.com/berth-dev/berth/autoscaler/metrics"
)

// needs are the APIs that the metrics of an HPA are read from.
func needs(hpa *autoscalingv2.HorizontalPodAutoscaler) sets.Set[metrics.API] {
	apis := sets.New[metrics.API]()
	for _, spec := range hpa.Spec.Metrics {
		if api := metrics.APIOf(spec.Type); api != "" {
			apis.Insert(api)
		}
	}
	return apis
}

// ReadingOf turns the answer to a query into what the engine takes.
func ReadingOf(answer metrics.Answer) horizontal.Reading {
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

// usageIn keeps the namespaces of a snapshot that somebody asked for.
func usageIn(waiting []*replicas, snapshot metrics.Snapshot, err error) usage {
	if err != nil {
		return usage{absent: err.Error()}
	}
	u := usage{pods: map[string]map[string]horizontal.PodUsage{}}
	for _, r := range waiting {
		if namespace := r.hpa.Namespace; r.needs.Has(metrics.Resource) && u.pods[namespace] == nil {
			u.pods[namespace] = UsageOf(snapshot.Namespace(namespace))
		}
	}
	return u
}

// UsageOf turns the samples of a namespace into what the engine takes.
func UsageOf(samples map[string]metrics.PodUsage) map[string]horizontal.PodUsage {
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
