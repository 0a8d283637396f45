// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/berth-dev/berth/autoscaler"
	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/clusterapi"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc"
	"github.com/berth-dev/berth/autoscaler/cloud/kwok"
	"github.com/berth-dev/berth/autoscaler/cloud/measured"
	"github.com/berth-dev/berth/autoscaler/config"
)

// nodeParts makes the provider. It returns nothing where nodes are left alone. What keeps the
// provider's memory fresh runs until the context ends.
func nodeParts(c *config.Autoscaler, files *files, cfg *rest.Config, clients *clients, factory informers.SharedInformerFactory) (parts *autoscaler.NodeParts, run func(context.Context), err error) {
	run = func(context.Context) {}
	var provider cloud.Provider
	switch c.Nodes.Provider {
	case config.NoProvider:
		return nil, run, nil
	case config.Kwok:
		provider = kwok.New(clients.kube.CoreV1().Nodes(), factory.Core().V1().Nodes().Lister(), kwokGroups(c.Nodes.Groups))
	case config.ExternalGRPC:
		if provider, err = externalgrpc.New(externalOptions(&c.Nodes, factory.Core().V1().Nodes().Lister())); err != nil {
			return nil, nil, fmt.Errorf("nodes.externalGRPC: %w", err)
		}
	case config.ClusterAPI:
		machines, err := newClusterAPI(&c.Nodes, files.management, cfg, clients)
		if err != nil {
			return nil, nil, fmt.Errorf("nodes.clusterAPI: %w", err)
		}
		provider, run = machines, machines.Run
	default:
		return nil, nil, fmt.Errorf("nodes.provider %q is not known", c.Nodes.Provider) // validation has refused it
	}
	return &autoscaler.NodeParts{Provider: measured.New(provider, legacyregistry.MustRegister)}, run, nil
}

func kwokGroups(configured []config.NodeGroup) []kwok.Group {
	groups := make([]kwok.Group, 0, len(configured))
	for _, g := range configured {
		group := kwok.Group{
			Name: g.Name, Max: int(*g.Max),
			Labels: g.Template.Labels, Taints: g.Template.Taints, Capacity: g.Template.Capacity,
			Drivers: g.Template.Drivers, Storage: g.Template.Storage,
		}
		if g.Min != nil {
			group.Min = int(*g.Min)
		}
		if g.PricePerHour != nil {
			group.PricePerHour = *g.PricePerHour
		}
		groups = append(groups, group)
	}
	return groups
}

func externalOptions(n *config.Nodes, nodes corelisters.NodeLister) externalgrpc.Options {
	e := n.ExternalGRPC
	options := externalgrpc.Options{
		Address:  e.Address,
		TLS:      externalgrpc.TLS{CertFile: e.CertFile, KeyFile: e.KeyFile, CAFile: e.CAFile, ServerName: e.ServerName},
		Insecure: e.Insecure,
		Timeout:  e.Timeout.Duration,
		Nodes:    nodes,
	}
	for _, g := range n.Groups {
		options.Groups = append(options.Groups, externalgrpc.Group{Name: g.Name, Min: number(g.Min), Max: number(g.Max)})
	}
	return options
}

func number(n *int32) *int {
	if n == nil {
		return nil
	}
	return new(int(*n))
}

// newClusterAPI reaches the management cluster, which may be the one whose pods are served.
func newClusterAPI(n *config.Nodes, management, cfg *rest.Config, clients *clients) (*clusterapi.Provider, error) {
	cluster := "this cluster"
	if management != nil {
		cluster = fmt.Sprintf("the cluster of kubeconfig %s", n.ClusterAPI.Kubeconfig)
		management = rest.AddUserAgent(rest.CopyConfig(management), config.Name)
		management.QPS, management.Burst = cfg.QPS, cfg.Burst
		cfg = management
	}
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds))
	scales, err := scale.NewForConfig(cfg, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(kinds))
	if err != nil {
		return nil, err
	}
	o := clusterapi.Options{Client: client, Scales: scales, Mapper: mapper, Cluster: cluster, Nodes: clients.kube.CoreV1().Nodes()}
	for _, g := range n.Groups {
		o.Groups = append(o.Groups, clusterapi.Group{Name: g.Name, Min: number(g.Min), Max: number(g.Max)})
	}
	return clusterapi.New(o)
}
