// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/berth-dev/berth/autoscaler/metrics"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"
	customclient "k8s.io/metrics/pkg/client/custom_metrics"
	externalclient "k8s.io/metrics/pkg/client/external_metrics"
)

// gauges are the ways to scales and metrics. An HPA needs them, and nothing else.
type gauges struct {
	scales   scale.ScalesGetter
	mapper   meta.RESTMapper
	samples  func(namespace string) metrics.PodMetricsLister
	custom   customclient.CustomMetricsClient
	external externalclient.ExternalMetricsClient
}

// newGauges asks nothing of the server: what is served is discovered when it is needed.
// It works on copies of the configuration: one client changes it, and one reads it later.
func newGauges(config *rest.Config) (gauges, error) {
	config = rest.CopyConfig(config)
	server, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return gauges{}, err
	}
	cached := memory.NewMemCacheClient(server)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	scales, err := scale.NewForConfig(rest.CopyConfig(config), mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(server))
	if err != nil {
		return gauges{}, err
	}
	samples, err := metricsclient.NewForConfig(config)
	if err != nil {
		return gauges{}, err
	}
	external, err := externalclient.NewForConfig(config)
	if err != nil {
		return gauges{}, err
	}
	return gauges{
		scales: scales, mapper: mapper, external: external,
		samples: func(namespace string) metrics.PodMetricsLister {
			return samples.MetricsV1beta1().PodMetricses(namespace)
		},
		custom: customclient.NewForConfig(config, mapper, customclient.NewAvailableAPIsGetter(cached)),
	}, nil
}
