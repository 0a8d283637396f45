// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	scheduler "k8s.io/kubernetes/pkg/scheduler/apis/config"

	"github.com/berth-dev/berth/autoscaler"
	"github.com/berth-dev/berth/autoscaler/simulator"
	"github.com/berth-dev/berth/plugins/policies"
)

// simulation makes the simulator with the scheduler's own profiles and plugins, and the policies of the book. It
// returns nothing where there are no profiles. Synced tells that the plugins have heard of all that the factory has read.
func simulation(ctx context.Context, profiles *scheduler.KubeSchedulerConfiguration, cfg *rest.Config, factory informers.SharedInformerFactory, book *policies.Book) (simulate autoscaler.Simulate, synced cache.InformerSynced, err error) {
	if profiles == nil {
		return nil, func() bool { return true }, nil
	}
	sim, synced, err := simulator.NewWithPlugins(ctx, factory, profiles, book, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("nodes.schedulerConfigFile: %w", err)
	}
	return func(ctx context.Context, nodes []*corev1.Node, pods []*corev1.Pod) (autoscaler.Simulation, error) {
		return sim.Begin(ctx, nodes, pods)
	}, synced, nil
}
