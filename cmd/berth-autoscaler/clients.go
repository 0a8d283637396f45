// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	vpaclient "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned"
	vpascheme "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/scheme"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	kubescheme "k8s.io/client-go/kubernetes/scheme"
	autoscalingclient "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/clientcmd"
	componentbase "k8s.io/component-base/config/v1alpha1"
	"k8s.io/klog/v2"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"
	customclient "k8s.io/metrics/pkg/client/custom_metrics"
	externalclient "k8s.io/metrics/pkg/client/external_metrics"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/vpas"
	"github.com/berth-dev/berth/plugins/policies"
)

// clients are all the ways to the API server.
type clients struct {
	kube kubernetes.Interface
	// vpa writes the statuses and checkpoints of all VPAs, as many at a time as there are workers.
	vpa       vpaclient.Interface
	metrics   metricsclient.Interface
	discovery discovery.CachedDiscoveryInterface
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	scales    scale.ScalesGetter
	policies  *policies.Client
	scheme    *runtime.Scheme

	// hpas write what each HPA's evaluation leaves, events tell of it, and the
	// others read the metrics that are asked one by one. With a thousand HPAs
	// these are thousands of requests at a time, so they take nothing of the rate of kube.
	// By hpas the canary is kept, too: one that waits for its turn would count as out of sight. So would the Lease of leases.
	hpas     autoscalingclient.AutoscalingV2Interface
	leases   coordinationclient.LeasesGetter
	events   typedcore.EventsGetter
	custom   customclient.CustomMetricsClient
	external externalclient.ExternalMetricsClient
	versions customclient.AvailableAPIsGetter
}

func restConfig(c *componentbase.ClientConnectionConfiguration) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("clientConnection.kubeconfig %q: %w", c.Kubeconfig, err)
	}
	cfg.QPS, cfg.Burst = c.QPS, int(c.Burst)
	return rest.AddUserAgent(cfg, config.Name), nil
}

// unpaced is for callers that bound their requests by their workers: the server then sets the
// pace, where a rate would let a crowd of HPAs wait for a server that is idle.
func unpaced(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	return cfg
}

// newClients returns the clients. The ones for metrics take no context: their calls end after the timeout.
func newClients(cfg *rest.Config, metricsTimeout time.Duration) (*clients, error) {
	binary := rest.CopyConfig(cfg)
	binary.ContentType = runtime.ContentTypeProtobuf
	binary.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	kube, err := kubernetes.NewForConfig(binary)
	if err != nil {
		return nil, err
	}
	vpa, err := vpas.NewForConfig(unpaced(cfg), func(i vpas.Ignored) {
		klog.Background().Info("Ignoring a quantity of a VPA that can not be read", "vpa", klog.KRef(i.Namespace, i.Name), "field", i.Field, "value", i.Value)
	})
	if err != nil {
		return nil, err
	}
	metrics, err := metricsclient.NewForConfig(binary)
	if err != nil {
		return nil, err
	}
	cached := memory.NewMemCacheClient(kube.Discovery())
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	scales, err := scale.NewForConfig(unpaced(cfg), mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(kube.Discovery()))
	if err != nil {
		return nil, err
	}
	placement, err := policies.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	hpas, err := autoscalingclient.NewForConfig(unpaced(binary))
	if err != nil {
		return nil, err
	}
	leases, err := coordinationclient.NewForConfig(unpaced(binary))
	if err != nil {
		return nil, err
	}
	events, err := typedcore.NewForConfig(binary)
	if err != nil {
		return nil, err
	}
	asking := unpaced(cfg)
	asking.Timeout = metricsTimeout
	external, err := externalclient.NewForConfig(asking)
	if err != nil {
		return nil, err
	}
	versions := customclient.NewAvailableAPIsGetter(cached)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{kubescheme.AddToScheme, vpascheme.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return &clients{
		kube: kube, vpa: vpa, metrics: metrics, discovery: cached, mapper: mapper, scales: scales, policies: placement, scheme: scheme,
		hpas: hpas, leases: leases, events: events, custom: customclient.NewForConfig(asking, mapper, versions), external: external, versions: versions,
	}, nil
}
