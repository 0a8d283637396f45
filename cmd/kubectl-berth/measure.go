// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/berth-dev/berth/autoscaler/horizontal"
	"github.com/berth-dev/berth/autoscaler/metrics"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// measure looks once at the metrics that a decision needs. What an API does not
// answer is for the decision to take into account; the notes say what to do about it.
func (c *cluster) measure(ctx context.Context, in *horizontal.Input, deadline time.Duration) (notes []string) {
	queries := queriesOf(in)
	asked := map[metrics.Query]struct{}{}
	for _, query := range queries {
		if query != (metrics.Query{}) {
			asked[query] = struct{}{}
		}
	}
	asker := metrics.NewAsker(c.gauges.custom, c.gauges.external, workers, deadline)
	var custom, external map[metrics.Query]metrics.Answer
	var unread error
	var all sync.WaitGroup
	all.Go(func() { custom = asker.Ask(ctx, metrics.Custom, asked) })
	all.Go(func() { external = asker.Ask(ctx, metrics.External, asked) })
	if slices.ContainsFunc(in.HPA.Spec.Metrics, ofResources) {
		all.Go(func() {
			var snapshot metrics.Snapshot
			snapshot, unread = metrics.NewReader(c.gauges.samples(in.HPA.Namespace), deadline).Read(ctx)
			in.Usage = usageOf(snapshot.Namespace(in.HPA.Namespace), unread)
		})
	}
	all.Wait()

	in.Readings = make([]horizontal.Reading, len(queries))
	failures := []error{unread}
	for i, query := range queries {
		answer, answered := custom[query]
		if !answered {
			answer = external[query]
		}
		in.Readings[i] = horizontal.Reading{Pods: answer.Pods, Object: answer.Object, Series: answer.Series}
		if answer.Err != nil {
			in.Readings[i].Absent = answer.Err.Error()
		}
		failures = append(failures, answer.Err)
	}
	apis := append([]metrics.API{metrics.Resource}, apisOf(queries)...)
	for i, err := range failures {
		if note := adviceOn(apis[i], err, deadline); note != "" && !slices.Contains(notes, note) {
			notes = append(notes, note)
		}
	}
	return notes
}

func apisOf(queries []metrics.Query) []metrics.API {
	apis := make([]metrics.API, len(queries))
	for i, query := range queries {
		apis[i] = query.API
	}
	return apis
}

// adviceOn says what to do about a metrics API that gives no answer.
func adviceOn(api metrics.API, err error, deadline time.Duration) string {
	var unavailable *metrics.UnavailableError
	if !errors.As(err, &unavailable) {
		return ""
	}
	switch unavailable.Reason {
	case metrics.NotServed:
		if api == metrics.Resource {
			return fmt.Sprintf("nothing serves %s: is metrics-server installed?", api)
		}
		return fmt.Sprintf("nothing serves %s, or it has no such metric: is an adapter installed, and set up for it?", api)
	case metrics.Forbidden:
		return fmt.Sprintf("you may not read %s, so this is not what berth-autoscaler sees, which may: go by the conditions, or ask for the right to get and list there", api)
	case metrics.TimedOut:
		return fmt.Sprintf("%s did not answer within %s (metricsTimeout of berth-autoscaler)", api, deadline)
	}
	return fmt.Sprintf("%s gave no answer: is what serves it installed and up? (kubectl get apiservices)", api)
}

func ofResources(spec autoscalingv2.MetricSpec) bool {
	return spec.Type == autoscalingv2.ResourceMetricSourceType || spec.Type == autoscalingv2.ContainerResourceMetricSourceType
}

// queriesOf are the questions of an HPA: one for each of spec.metrics, zero for those that the resource metrics API
// answers, and for those whose own selector the engine refuses.
func queriesOf(in *horizontal.Input) []metrics.Query {
	queries := make([]metrics.Query, len(in.HPA.Spec.Metrics))
	for i, spec := range in.HPA.Spec.Metrics {
		query := metrics.Query{Namespace: in.HPA.Namespace}
		var metric autoscalingv2.MetricIdentifier
		switch spec.Type {
		case autoscalingv2.PodsMetricSourceType:
			query.API, query.Pods, metric = metrics.Custom, selectorOf(*in).String(), spec.Pods.Metric
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

func usageOf(samples map[string]metrics.PodUsage, unread error) horizontal.Usage {
	if unread != nil {
		return horizontal.Usage{Absent: unread.Error()}
	}
	usage := horizontal.Usage{Pods: make(map[string]horizontal.PodUsage, len(samples))}
	for name, sample := range samples {
		containers := make([]horizontal.ContainerUsage, len(sample.Containers))
		for i, container := range sample.Containers {
			containers[i] = horizontal.ContainerUsage(container)
		}
		usage.Pods[name] = horizontal.PodUsage{Timestamp: sample.Timestamp, Window: sample.Window, Containers: containers}
	}
	return usage
}
