// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	custommetricsv1beta2 "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	externalmetricsv1beta1 "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	customclient "k8s.io/metrics/pkg/client/custom_metrics"
	externalclient "k8s.io/metrics/pkg/client/external_metrics"

	"github.com/berth-dev/berth/autoscaler/horizontal"
)

// measures is what the custom and external metrics APIs of a world know, in milli-units.
type measures struct {
	rate         int64 // of each pod
	ghosts       int   // how many pods that are gone still have a rate
	depth        int64 // of the object
	queue        []int64
	customDown   string
	externalDown string
}

// ratesOf answers a Pods metric for both sides of the oracle: what a metric selector leaves of it is half.
func (w *world) ratesOf(pods, metric labels.Selector) map[string]int64 {
	rates := map[string]int64{}
	for _, b := range w.pods {
		if !b.noSample && !b.noRate && b.age >= 2 && pods.Matches(labels.Set(b.pod.Labels)) {
			rates[b.pod.Name] = part(w.rate+b.rate, metric)
		}
	}
	for i := range w.ghosts {
		if pods.Matches(labels.Set{"app": "web"}) {
			rates[fmt.Sprintf("ghost-%d", i)] = part(w.rate, metric)
		}
	}
	return rates
}

func part(value int64, metric labels.Selector) int64 {
	if strings.Contains(metric.String(), "verb") {
		return value / 2
	}
	return value
}

func (w *world) seriesOf(metric labels.Selector) []int64 {
	series := slices.Clone(w.queue)
	for i, value := range series {
		series[i] = part(value, metric)
	}
	return series
}

// readings are the answers to an HPA's metrics as a conductor hands them to Decide.
func (w *world) readings(specs []autoscalingv2.MetricSpec) []horizontal.Reading {
	readings := make([]horizontal.Reading, len(specs))
	pods, err := labels.Parse(w.selector)
	if err != nil {
		return readings // not looked at
	}
	for i, spec := range specs {
		r := &readings[i]
		switch spec.Type {
		case autoscalingv2.PodsMetricSourceType:
			metric, _ := metav1.LabelSelectorAsSelector(spec.Pods.Metric.Selector)
			if r.Absent = w.customDown; r.Absent == "" && metric != nil {
				r.Pods = w.ratesOf(pods, metric)
			}
		case autoscalingv2.ObjectMetricSourceType:
			metric, _ := metav1.LabelSelectorAsSelector(spec.Object.Metric.Selector)
			if r.Absent = w.customDown; r.Absent == "" && metric != nil {
				r.Object = part(w.depth, metric)
			}
		case autoscalingv2.ExternalMetricSourceType:
			metric, _ := metav1.LabelSelectorAsSelector(spec.External.Metric.Selector)
			if r.Absent = w.externalDown; r.Absent == "" && metric != nil {
				r.Series = w.seriesOf(metric)
			}
		}
	}
	return readings
}

// customMetrics is the custom metrics API of a world.
type customMetrics struct{ w *world }

func (m customMetrics) RootScopedMetrics() customclient.MetricsInterface       { return m }
func (m customMetrics) NamespacedMetrics(string) customclient.MetricsInterface { return m }

func (m customMetrics) GetForObject(_ schema.GroupKind, _ string, _ string, metric labels.Selector) (*custommetricsv1beta2.MetricValue, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if m.w.customDown != "" {
		return nil, errors.New(m.w.customDown)
	}
	return &custommetricsv1beta2.MetricValue{Value: *milli(part(m.w.depth, metric))}, nil
}

func (m customMetrics) GetForObjects(_ schema.GroupKind, pods labels.Selector, _ string, metric labels.Selector) (*custommetricsv1beta2.MetricValueList, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if m.w.customDown != "" {
		return nil, errors.New(m.w.customDown)
	}
	rates := m.w.ratesOf(pods, metric)
	list := &custommetricsv1beta2.MetricValueList{}
	for _, name := range slices.Sorted(maps.Keys(rates)) {
		list.Items = append(list.Items, custommetricsv1beta2.MetricValue{
			DescribedObject: v1.ObjectReference{Kind: "Pod", Name: name}, Value: *milli(rates[name])})
	}
	return list, nil
}

// externalMetrics is the external metrics API of a world.
type externalMetrics struct{ w *world }

func (m externalMetrics) NamespacedMetrics(string) externalclient.MetricsInterface { return m }

func (m externalMetrics) List(name string, metric labels.Selector) (*externalmetricsv1beta1.ExternalMetricValueList, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if m.w.externalDown != "" {
		return nil, errors.New(m.w.externalDown)
	}
	list := &externalmetricsv1beta1.ExternalMetricValueList{}
	for _, value := range m.w.seriesOf(metric) {
		list.Items = append(list.Items, externalmetricsv1beta1.ExternalMetricValue{MetricName: name, Value: *milli(value)})
	}
	return list, nil
}
