// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/berth-dev/berth/autoscaler"
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
