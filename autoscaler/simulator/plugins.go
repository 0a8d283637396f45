// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"

	"github.com/berth-dev/berth/plugins"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/slothold"
)

// NewWithPlugins is New with the plugins that the scheduler has, and the policies of the book. Synced tells that the
// plugins have heard of all that the factory has read.
func NewWithPlugins(ctx context.Context, factory informers.SharedInformerFactory, configuration *config.KubeSchedulerConfiguration, book *policies.Book, cluster *rest.Config) (s *Simulator, synced cache.InformerSynced, err error) {
	options, shared := withPlugins(factory, book)
	options.Configuration, options.RestConfig = configuration, cluster
	if s, err = New(ctx, options); err != nil {
		return nil, nil, fmt.Errorf("building the simulation: %w", err)
	}
	return s, shared.HasSynced, nil
}

// withPlugins are the options that the plugins ask for.
func withPlugins(factory informers.SharedInformerFactory, book *policies.Book) (Options, *plugins.Shared) {
	shared := plugins.NewSimulated(book)
	return Options{
		Overlay:    NewOverlay(factory),
		Registry:   plugins.Registry(shared),
		Checkpoint: shared.Checkpoint,
		Keepers:    []string{slothold.Name},
		Orderly:    plugins.Orderly(),
		Standing:   func(pod *v1.Pod) Standing { return Standing(shared.Standing(pod)) },
	}, shared
}
