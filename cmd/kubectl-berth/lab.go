// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"

	"github.com/berth-dev/berth/autoscaler"
	settings "github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/autoscaler/simulator"
	"github.com/berth-dev/berth/plugins/policies"
)

const (
	// readingTime bounds how long everything that a simulation depends on may take to read.
	readingTime = 2 * time.Minute
	// simulatingTime bounds the simulation: a person waits for it, and may end it.
	simulatingTime = 10 * time.Minute
)

// lab is a cluster to try things on: what the autoscaler and the scheduler go by, read once and kept up to date while it
// is open.
type lab struct {
	outlook *autoscaler.Outlook
	known   groups
	nodes   map[string]*v1.Node
	notes   []string
	close   func()
}

// openLab reads what a simulation depends on. What is being done is said to the stage.
func (c *cluster) openLab(ctx context.Context, stage func(string)) (*lab, error) {
	stage("reading the configurations")
	l := &lab{nodes: map[string]*v1.Node{}}
	var tuned tuning
	var configuration *config.KubeSchedulerConfiguration
	var shelf *policyShelf
	err := together(ctx,
		func(ctx context.Context) (err error) { l.known, err = c.readGroups(ctx); return err },
		func(ctx context.Context) (err error) { tuned, err = c.readTuning(ctx); return err },
		func(ctx context.Context) (err error) { configuration, err = c.readScheduler(ctx); return err },
		func(ctx context.Context) (err error) { shelf, err = shelve(ctx, c.policies); return err },
	)
	if err != nil {
		return nil, err
	}
	l.notes = tuned.notes("its defaults")
	if l.known.unread != nil {
		l.notes = append(l.notes, fmt.Sprintf("only nodes that are there are considered, as node groups are not known: %v", l.known.advice()))
	} else {
		l.notes = append(l.notes, l.known.notes(c.now())...)
		if left := l.known.templates.LeftOut; left > 0 {
			l.notes = append(l.notes, fmt.Sprintf("%d node groups are not considered: they had no room in the status", left))
		}
	}
	stage("reading the cluster")
	return l, l.open(ctx, c, tuned.Autoscaler, configuration, shelf.book, stage)
}

// open builds the simulation over informers and waits until they have read everything.
func (l *lab) open(ctx context.Context, c *cluster, tuned *settings.Autoscaler, configuration *config.KubeSchedulerConfiguration, book *policies.Book, stage func(string)) error {
	// What goes wrong is said in the end; the plugins' logs are no answer to a person.
	watching, stop := context.WithCancel(klog.NewContext(ctx, klog.Logger{}))
	factory := informers.NewSharedInformerFactory(c.kube, 0)
	vpas := observe.NewVPAs(c.kube.Discovery(), c.vpaSet, func() {})
	var background sync.WaitGroup
	l.close = func() {
		stop()
		factory.Shutdown()
		background.Wait()
	}
	reader, err := observe.New(factory, c.kube.CoreV1(), vpas, c.gauges.scales, c.gauges.mapper)
	if err != nil {
		return err
	}
	sim, synced, err := simulator.NewWithPlugins(watching, factory, configuration, book, c.rest)
	if err != nil {
		return err
	}
	factory.StartWithContext(watching)
	background.Go(func() { vpas.Run(watching) })
	if err := c.await(watching, factory, synced, vpas.Known); err != nil {
		return err
	}
	for _, node := range reader.Nodes() {
		l.nodes[node.Name] = node
	}
	stage("simulating")
	begin := func(ctx context.Context, nodes []*v1.Node, pods []*v1.Pod) (autoscaler.Simulation, error) {
		return sim.Begin(klog.NewContext(ctx, klog.Logger{}), nodes, pods)
	}
	l.outlook = autoscaler.NewOutlook(tuned, reader, book, begin, toldGroups{l.known}, l.known.past())
	return nil
}

// await waits until everything is read. What the API server refuses would be waited for in vain.
func (c *cluster) await(ctx context.Context, factory informers.SharedInformerFactory, more ...cache.InformerSynced) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readingTime, fmt.Errorf("not everything could be read within %s", readingTime))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if c.refusals != nil {
		defer c.refusals.tell(fail)()
	}
	result := factory.WaitForCacheSyncWithContext(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("reading the cluster: %w", cause)
	}
	if err := result.AsError(); err != nil {
		return fmt.Errorf("reading the cluster: %w", err)
	}
	if !cache.WaitForCacheSync(ctx.Done(), more...) {
		return fmt.Errorf("reading the cluster: %w", context.Cause(ctx))
	}
	return nil
}

// readScheduler reads the scheduler's configuration, whole, from the file that was named, else from the ConfigMap that the
// scheduler runs with, else from that of the autoscaler, which simulates it.
func (c *cluster) readScheduler(ctx context.Context) (*config.KubeSchedulerConfiguration, error) {
	if c.configFile != "" {
		data, err := os.ReadFile(c.configFile)
		if err != nil {
			return nil, fmt.Errorf("--config: %w", err)
		}
		found, err := simulator.ParseConfiguration(data)
		return found, wrap("--config "+c.configFile, err)
	}
	var missing error
	for _, at := range []struct{ namespace, deployment string }{{c.schedulerNamespace, schedulerName}, {c.autoscalerNamespace, settings.Name}} {
		found, err := c.schedulerOf(ctx, at.namespace, at.deployment)
		if err == nil {
			return found, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		switch {
		case missing == nil:
			missing = err
		case missing.Error() != err.Error(): // which it is where neither Deployment is there
			missing = fmt.Errorf("%w; %w", missing, err)
		}
	}
	return nil, fmt.Errorf("the scheduler's configuration, by which is simulated, was not found (%w): name its file by --config, "+
		"and the autoscaler's by --autoscaler-config where that is in no ConfigMap, either", missing)
}

func (c *cluster) schedulerOf(ctx context.Context, namespace, deployment string) (*config.KubeSchedulerConfiguration, error) {
	mounted, err := c.mountOf(ctx, namespace, deployment, "KubeSchedulerConfiguration")
	if err != nil {
		return nil, err
	}
	var found []*config.KubeSchedulerConfiguration
	for _, document := range mounted.documents {
		one, err := simulator.ParseConfiguration(document.data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", document.origin, err)
		}
		found = append(found, one)
	}
	return pick(mounted, found, "a KubeSchedulerConfiguration")
}

// past is what the status tells of failures.
func (g groups) past() nodes.History {
	h := nodes.History{Backoff: map[string]nodes.Backoff{}}
	for _, group := range g.NodeGroups {
		if at := group.Berth.RetryAt; at != nil {
			h.Backoff[group.Name] = nodes.Backoff{Until: at.Time, For: nodes.Defaults().Backoff, Reason: group.Berth.Obstacle}
		}
	}
	return h
}
