// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	customv1beta2 "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	externalv1beta1 "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	customclient "k8s.io/metrics/pkg/client/custom_metrics"
	externalclient "k8s.io/metrics/pkg/client/external_metrics"
)

// adapter serves custom and external metrics by their names. Its clients hear of no context.
type adapter struct {
	mu     sync.Mutex
	values map[string]int64 // in units
	takes  map[string]time.Duration
	asked  map[string][]time.Time
	calls  sync.WaitGroup
}

func newAdapter() *adapter {
	return &adapter{values: map[string]int64{}, takes: map[string]time.Duration{}, asked: map[string][]time.Time{}}
}

func (a *adapter) set(metric string, value int64, takes time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.values[metric], a.takes[metric] = value, takes
}

func (a *adapter) times(metric string) []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[metric]
}

func (a *adapter) serve(metric string) (resource.Quantity, error) {
	a.calls.Add(1)
	defer a.calls.Done()
	a.mu.Lock()
	a.asked[metric] = append(a.asked[metric], time.Now())
	takes := a.takes[metric]
	a.mu.Unlock()
	time.Sleep(takes)
	a.mu.Lock()
	defer a.mu.Unlock()
	value, known := a.values[metric]
	if !known {
		return resource.Quantity{}, fmt.Errorf("no metric %s", metric)
	}
	return *resource.NewQuantity(value, resource.DecimalSI), nil
}

func (a *adapter) RootScopedMetrics() customclient.MetricsInterface { return a }

func (a *adapter) NamespacedMetrics(string) customclient.MetricsInterface { return a }

func (a *adapter) GetForObject(_ schema.GroupKind, _, metric string, _ labels.Selector) (*customv1beta2.MetricValue, error) {
	value, err := a.serve(metric)
	return &customv1beta2.MetricValue{Value: value}, err
}

// GetForObjects gives web's first three pods the same value, where they are asked for.
func (a *adapter) GetForObjects(_ schema.GroupKind, pods labels.Selector, metric string, _ labels.Selector) (*customv1beta2.MetricValueList, error) {
	value, err := a.serve(metric)
	list := &customv1beta2.MetricValueList{}
	if pods.String() != "app=web" {
		return list, err
	}
	for i := range int32(3) {
		list.Items = append(list.Items, customv1beta2.MetricValue{DescribedObject: corev1.ObjectReference{Name: webPod(i).Name}, Value: value})
	}
	return list, err
}

type externalAPI struct{ *adapter }

func (e externalAPI) NamespacedMetrics(string) externalclient.MetricsInterface { return e }

// List knows the series of queue a only.
func (e externalAPI) List(metric string, series labels.Selector) (*externalv1beta1.ExternalMetricValueList, error) {
	value, err := e.serve(metric)
	if series.String() != "queue=a" {
		return &externalv1beta1.ExternalMetricValueList{}, err
	}
	return &externalv1beta1.ExternalMetricValueList{Items: []externalv1beta1.ExternalMetricValue{{Value: value}}}, err
}
