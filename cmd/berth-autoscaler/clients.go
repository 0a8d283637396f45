// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	vpaclient "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned"
	vpascheme "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/scheme"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	kubescheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/clientcmd"
	componentbase "k8s.io/component-base/config/v1alpha1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/plugins/policies"
)

// clients are all the ways to the API server.
type clients struct {
	kube      kubernetes.Interface
	vpa       vpaclient.Interface
	metrics   metricsclient.Interface
	discovery discovery.CachedDiscoveryInterface
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	scales    scale.ScalesGetter
	policies  *policies.Client
	scheme    *runtime.Scheme
}

func restConfig(c *componentbase.ClientConnectionConfiguration) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("clientConnection.kubeconfig %q: %w", c.Kubeconfig, err)
	}
	cfg.QPS, cfg.Burst = c.QPS, int(c.Burst)
	return rest.AddUserAgent(cfg, config.Name), nil
}

func newClients(cfg *rest.Config) (*clients, error) {
	binary := rest.CopyConfig(cfg)
	binary.ContentType = runtime.ContentTypeProtobuf
	binary.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	kube, err := kubernetes.NewForConfig(binary)
	if err != nil {
		return nil, err
	}
	vpa, err := vpaclient.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	metrics, err := metricsclient.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	cached := memory.NewMemCacheClient(kube.Discovery())
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	scales, err := scale.NewForConfig(cfg, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(kube.Discovery()))
	if err != nil {
		return nil, err
	}
	placement, err := policies.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{kubescheme.AddToScheme, vpascheme.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return &clients{kube: kube, vpa: vpa, metrics: metrics, discovery: cached, mapper: mapper, scales: scales, policies: placement, scheme: scheme}, nil
}
