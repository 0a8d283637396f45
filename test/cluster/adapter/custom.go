// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/metrics/pkg/apis/custom_metrics"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider/defaults"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// custom serves what annotations of objects say of them.
type custom struct {
	defaults.DefaultCustomMetricsProvider
	objects metadata.Interface
	mapper  meta.RESTMapper
	delay   time.Duration
}

var _ provider.CustomMetricsProvider = &custom{}

// GetMetricByName returns the metric of one object.
func (c *custom) GetMetricByName(ctx context.Context, name types.NamespacedName, info provider.CustomMetricInfo, selector labels.Selector) (*custom_metrics.MetricValue, error) {
	if err := pause(ctx, c.delay); err != nil {
		return nil, err
	}
	mapping, err := c.mapping(info)
	if err != nil {
		return nil, err
	}
	object, err := c.objects.Resource(mapping.Resource).Namespace(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	value, err := sample(object, mapping.GroupVersionKind, info.Metric, selector)
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, provider.NewMetricNotFoundForSelectorError(info.GroupResource, info.Metric, name.Name, selector)
	}
	return value, nil
}

// GetMetricBySelector returns the metric of all objects that match and have it.
func (c *custom) GetMetricBySelector(ctx context.Context, namespace string, matching labels.Selector, info provider.CustomMetricInfo, selector labels.Selector) (*custom_metrics.MetricValueList, error) {
	if err := pause(ctx, c.delay); err != nil {
		return nil, err
	}
	mapping, err := c.mapping(info)
	if err != nil {
		return nil, err
	}
	objects, err := c.objects.Resource(mapping.Resource).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: matching.String()})
	if err != nil {
		return nil, err
	}
	list := &custom_metrics.MetricValueList{}
	for i := range objects.Items {
		value, err := sample(&objects.Items[i], mapping.GroupVersionKind, info.Metric, selector)
		if err != nil {
			return nil, err
		}
		if value != nil {
			list.Items = append(list.Items, *value)
		}
	}
	return list, nil
}

// mapping tells how objects are read. A CRD may be younger than what is known of them.
func (c *custom) mapping(info provider.CustomMetricInfo) (*meta.RESTMapping, error) {
	kind, err := c.mapper.KindFor(info.GroupResource.WithVersion(""))
	if meta.IsNoMatchError(err) {
		meta.MaybeResetRESTMapper(c.mapper)
		kind, err = c.mapper.KindFor(info.GroupResource.WithVersion(""))
	}
	if meta.IsNoMatchError(err) {
		return nil, provider.NewMetricNotFoundError(info.GroupResource, info.Metric)
	}
	if err != nil {
		return nil, err
	}
	return c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
}

// sample is what the object says of itself, nil if nothing.
func sample(object *metav1.PartialObjectMetadata, kind schema.GroupVersionKind, metric string, selector labels.Selector) (*custom_metrics.MetricValue, error) {
	annotation := layout.AnnotationMetricPrefix + metric
	text, ok := object.Annotations[annotation]
	if !ok || !selector.Matches(labels.Set(object.Labels)) {
		return nil, nil
	}
	value, err := parse(text, fmt.Sprintf("annotation %s of %s %s", annotation, kind.Kind, object.Name))
	if err != nil {
		return nil, err
	}
	identifier := custom_metrics.MetricIdentifier{Name: metric}
	if !selector.Empty() {
		if identifier.Selector, err = metav1.ParseToLabelSelector(selector.String()); err != nil {
			return nil, err
		}
	}
	return &custom_metrics.MetricValue{
		DescribedObject: custom_metrics.ObjectReference{
			APIVersion: kind.GroupVersion().String(),
			Kind:       kind.Kind,
			Namespace:  object.Namespace,
			Name:       object.Name,
		},
		Metric:    identifier,
		Timestamp: metav1.Now(),
		Value:     value,
	}, nil
}
