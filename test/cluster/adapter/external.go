// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"context"
	"fmt"
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/metrics/pkg/apis/external_metrics"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider/defaults"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// external serves what ConfigMaps say of things outside the cluster.
type external struct {
	defaults.DefaultExternalMetricsProvider
	kube  kubernetes.Interface
	delay time.Duration
}

var _ provider.ExternalMetricsProvider = &external{}

// GetExternalMetric returns all series of the metric in the namespace that match.
func (e *external) GetExternalMetric(ctx context.Context, namespace string, selector labels.Selector, info provider.ExternalMetricInfo) (*external_metrics.ExternalMetricValueList, error) {
	if err := pause(ctx, e.delay); err != nil {
		return nil, err
	}
	all, err := e.kube.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: layout.LabelExternalMetrics})
	if err != nil {
		return nil, err
	}
	list := &external_metrics.ExternalMetricValueList{}
	for _, series := range all.Items {
		text, ok := series.Data[info.Metric]
		if !ok || !selector.Matches(seriesLabels(series.Labels)) {
			continue
		}
		value, err := parse(text, fmt.Sprintf("%s of ConfigMap %s", info.Metric, series.Name))
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, external_metrics.ExternalMetricValue{
			MetricName:   info.Metric,
			MetricLabels: seriesLabels(series.Labels),
			Timestamp:    metav1.Now(),
			Value:        value,
		})
	}
	return list, nil
}

// seriesLabels leaves out the label that makes a ConfigMap a series.
func seriesLabels(of map[string]string) labels.Set {
	out := maps.Clone(of)
	delete(out, layout.LabelExternalMetrics)
	return out
}
