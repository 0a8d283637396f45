// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/berth-dev/berth/autoscaler"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc"
	"github.com/berth-dev/berth/autoscaler/cloud/kwok"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/simulator"
	"github.com/berth-dev/berth/plugins"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/slothold"
)

// simulation makes the simulator with the scheduler's own profiles and plugins, and the policies of the book. It
// returns nothing where no configuration of the scheduler is named. Synced tells that the plugins have heard of all
// that the factory has read.
func simulation(ctx context.Context, c *config.Autoscaler, cfg *rest.Config, factory informers.SharedInformerFactory, book *policies.Book) (simulate autoscaler.Simulate, synced cache.InformerSynced, err error) {
	if c.Nodes.SchedulerConfigFile == "" {
		return nil, func() bool { return true }, nil
	}
	data, err := os.ReadFile(c.Nodes.SchedulerConfigFile)
	if err != nil {
		return nil, nil, fmt.Errorf("nodes.schedulerConfigFile: %w", err)
	}
	profiles, err := simulator.ParseConfiguration(data)
	if err != nil {
		return nil, nil, fmt.Errorf("nodes.schedulerConfigFile %s: %w", c.Nodes.SchedulerConfigFile, err)
	}
	shared := plugins.NewSimulated(book)
	sim, err := simulator.New(ctx, simulator.Options{
		Overlay:       simulator.NewOverlay(factory),
		Configuration: profiles,
		Registry:      plugins.Registry(shared),
		RestConfig:    cfg,
		Checkpoint:    shared.Checkpoint,
		Keepers:       []string{slothold.Name},
		Slot: func(pod *corev1.Pod) bool {
			_, ok := book.SlotOf(pod)
			return ok
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("building the simulation: %w", err)
	}
	return func(ctx context.Context, nodes []*corev1.Node, pods []*corev1.Pod) (autoscaler.Simulation, error) {
		return sim.Begin(ctx, nodes, pods)
	}, shared.HasSynced, nil
}

// nodeParts makes the provider. It returns nothing where nodes are left alone.
func nodeParts(c *config.Autoscaler, clients *clients, factory informers.SharedInformerFactory) (*autoscaler.NodeParts, error) {
	switch c.Nodes.Provider {
	case config.Kwok:
		return &autoscaler.NodeParts{Provider: kwok.New(clients.kube.CoreV1().Nodes(), factory.Core().V1().Nodes().Lister(), kwokGroups(c.Nodes.Groups))}, nil
	case config.ExternalGRPC:
		provider, err := externalgrpc.New(externalOptions(&c.Nodes, factory.Core().V1().Nodes().Lister()))
		if err != nil {
			return nil, fmt.Errorf("nodes.externalGRPC: %w", err)
		}
		return &autoscaler.NodeParts{Provider: provider}, nil
	case config.NoProvider:
		return nil, nil
	}
	return nil, fmt.Errorf("nodes.provider %q is not known", c.Nodes.Provider) // validation has refused it
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
