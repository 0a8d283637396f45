// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler"
	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/metrics"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/plugins/policies"
)

const (
	// mapperReset is how long a kind stays unknown after its CRD is installed, as
	// in kube-controller-manager, and the custom metrics API after its adapter.
	mapperReset = 30 * time.Second
	// askers bounds the queries that a metrics API has at the same time. An
	// adapter asks a database for each of them: Prometheus runs 20 at a time by default.
	askers = 20
)

// lead makes the parts and runs the loop until the context ends, and returns
// when everything it started has stopped.
func lead(ctx context.Context, c *config.Autoscaler, files *files, cfg *rest.Config, pulse *pulse) error {
	logger := klog.FromContext(ctx)
	clients, err := newClients(cfg, c.MetricsTimeout.Duration)
	if err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartStructuredLogging(3)
	broadcaster.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: clients.events.Events("")})

	var conductor *autoscaler.Conductor
	factory := informers.NewSharedInformerFactory(clients.kube, 0)
	vpas := observe.NewVPAs(clients.kube.Discovery(), clients.vpa, func() { conductor.Wake() })
	reader, err := observe.New(factory, clients.kube.CoreV1(), vpas, clients.scales, clients.mapper)
	if err != nil {
		return err
	}
	book := policies.NewBook()
	simulate, heard, err := simulation(ctx, files.profiles, cfg, factory, book)
	if err != nil {
		return err
	}
	nodes, refresh, err := nodeParts(c, files, cfg, clients, factory)
	if err != nil {
		return err
	}
	evictions, err := observe.NewEvictions(clients.kube)
	if err != nil {
		return err
	}
	conductor = autoscaler.New(c, autoscaler.Parts{
		Reader:    reader,
		Metrics:   metrics.NewReader(clients.metrics.MetricsV1beta1().PodMetricses(""), c.MetricsTimeout.Duration),
		Queries:   metrics.NewAsker(clients.custom, clients.external, askers, c.MetricsTimeout.Duration),
		Writer:    actuate.New(clients.hpas, clients.vpa.AutoscalingV1(), clients.policies, clients.kube.CoreV1(), clients.scales, broadcaster.NewRecorder(clients.scheme, corev1.EventSource{Component: config.Name})),
		Telemetry: actuate.NewTelemetry(legacyregistry.MustRegister),
		Policies:  book,
		Canary:    observe.NewCanary(clients.hpas),
		Simulate:  simulate,
		Nodes:     nodes,

		Checkpoints: observe.NewCheckpoints(clients.vpa.AutoscalingV1()),
		Updater:     observe.NewUpdater(clients.leases),
		Evictions:   evictions,
		Rivals:      observe.NewNodeRivals(clients.leases),
	}, pulse.beat)
	// After the simulation's plugins, so that they know of a change when the conductor asks them.
	book.Subscribe(func(policies.Change) { conductor.Wake() })
	if err := observe.Wake(factory, resize.RecordAnnotation, drain.Marked, conductor.Wake); err != nil {
		return err
	}

	// From here on something has to happen: caches that never fill are ill health.
	pulse.beat()
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	synced := factory.WaitForCacheSyncWithContext(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err := synced.AsError(); err != nil {
		return fmt.Errorf("reading the cluster: %w", err)
	}
	if !cache.WaitForCacheSync(ctx.Done(), heard) {
		return nil
	}
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { vpas.Run(ctx) })
	background.Go(func() { refresh(ctx) })
	background.Go(func() { evictions.Run(ctx) })
	background.Go(func() {
		if err := clients.policies.Watch(ctx, book); err != nil {
			logger.Error(err, "Watching PlacementPolicies")
		}
	})
	background.Go(func() {
		wait.UntilWithContext(ctx, func(context.Context) {
			clients.mapper.Reset()
			clients.versions.Invalidate()
		}, mapperReset)
	})
	logger.Info("Leading", "syncPeriod", c.SyncPeriod.Duration, "horizontal", c.Horizontal.Mode, "canary", c.Horizontal.Canary, "vertical", c.Vertical.Mode, "nodes", c.Nodes.Mode, "provider", c.Nodes.Provider)
	conductor.Run(ctx)
	logger.Info("Stopping")
	return nil
}
