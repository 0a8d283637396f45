// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler"
	"github.com/berth-dev/berth/autoscaler/config"
)

// keptLock refuses to give the Lease back while its holder still leads.
type keptLock struct {
	resourcelock.Interface
	leading *atomic.Bool
}

func (l *keptLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity == "" && l.leading.Load() {
		return errors.New("still leading")
	}
	return l.Interface.Update(ctx, record)
}

// run serves health and metrics, waits to lead, and leads until the context
// ends or the Lease is lost.
func run(ctx context.Context, c *config.Autoscaler) error {
	klog.FromContext(ctx).Info("Starting berth-autoscaler", "version", version.Get().GitVersion)
	files, err := readFiles(&c.Nodes)
	if err != nil {
		return err
	}
	tellIdle(ctx, &c.Nodes)
	kube, err := restConfig(&c.ClientConnection)
	if err != nil {
		return err
	}
	pulse := &pulse{limit: 4*c.SyncPeriod.Duration + c.MetricsTimeout.Duration + 2*c.Nodes.SimulationTimeout.Duration + time.Minute}
	election := leaderelection.NewLeaderHealthzAdaptor(20 * time.Second)
	served, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	stopped, err := serve(served, c.BindAddress, []healthz.HealthChecker{election, pulse}, []healthz.HealthChecker{healthz.PingHealthz})
	if err != nil {
		return err
	}
	if *c.LeaderElection.LeaderElect {
		err = elect(ctx, c, kube, election, func(ctx context.Context) error { return lead(ctx, c, files, kube, pulse) })
	} else {
		err = lead(ctx, c, files, kube, pulse)
	}
	stop()
	<-stopped
	return err
}

// tellIdle tells of a provider that has nothing to do.
func tellIdle(ctx context.Context, n *config.Nodes) {
	if n.Provider != config.NoProvider && len(n.Groups) == 0 {
		klog.FromContext(ctx).Info("No node is added or removed: nodes.provider is set, and nodes.groups lists no group", "provider", n.Provider)
	}
}

// elect calls lead once the Lease is held. The Lease is given back only after
// lead has returned, so that two never act at once on a clean handover.
func elect(ctx context.Context, c *config.Autoscaler, kube *rest.Config, health *leaderelection.HealthzAdaptor, lead func(context.Context) error) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(rest.CopyConfig(kube), "leader-election"))
	if err != nil {
		return err
	}
	l := c.LeaderElection
	lock, err := resourcelock.New(l.ResourceLock, l.ResourceNamespace, l.ResourceName, client.CoreV1(), client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())})
	if err != nil {
		return fmt.Errorf("leaderElection: %w", err)
	}

	electing, stopElecting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopElecting()
	var (
		elector *leaderelection.LeaderElector
		atLead  atomic.Bool
		mu      sync.Mutex
		leading bool
		done    = make(chan error, 1)
	)
	// Asked to end while another leads: stop waiting.
	context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !leading {
			stopElecting()
		}
	})
	elector, err = leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            &keptLock{Interface: lock, leading: &atLead},
		LeaseDuration:   l.LeaseDuration.Duration,
		RenewDeadline:   l.RenewDeadline.Duration,
		RetryPeriod:     l.RetryPeriod.Duration,
		ReleaseOnCancel: true,
		WatchDog:        health,
		Name:            config.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				mu.Lock()
				leading = true
				mu.Unlock()
				atLead.Store(true)
				work, cancel := context.WithCancelCause(ctx)
				defer cancel(nil)
				lost := func() { cancel(autoscaler.ErrNotLeading) }
				defer context.AfterFunc(held, lost)()
				// Held ends only after the elector has tried to give the Lease back,
				// which takes long where the API server does not answer.
				go wait.UntilWithContext(work, func(context.Context) {
					if elector.Check(0) != nil {
						lost()
					}
				}, time.Second)
				err := lead(work)
				if err == nil && ctx.Err() == nil {
					err = autoscaler.ErrNotLeading // what it was doing is another's now
				}
				atLead.Store(false)
				done <- err
				stopElecting()
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("leaderElection: %w", err)
	}
	elector.Run(electing)
	mu.Lock()
	defer mu.Unlock()
	if !leading {
		return nil
	}
	return <-done
}
