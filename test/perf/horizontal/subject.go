// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-dev/berth/test/fixture"
)

const (
	controllerManager = "kube-controller-manager"
	// syncPeriod is everybody's default.
	syncPeriod = 15 * time.Second
)

// berth is the name of ours in the table.
const berth = "berth"

// subject is who writes scales: a component of the cluster, and the flags that
// it is started with.
type subject struct {
	name, component string
	flags           []string
}

// subjects are all of them, ours with a configuration file.
func subjects(config string) []subject {
	return []subject{
		rival("kube-controller-manager", 5, 20, 30), // its defaults
		{name: berth, component: fixture.Autoscaler, flags: []string{"--config=" + config}},
		rival("kube-controller-manager, tuned", 50, 1000, 1500),
	}
}

// rival is kube-controller-manager with nothing but its HPA controller.
func rival(name string, workers, qps, burst int) subject {
	return subject{name: name, component: controllerManager, flags: []string{
		"--controllers=horizontal-pod-autoscaler-controller",
		"--leader-elect=false",
		"--secure-port=0", // could be taken by somebody else between two turns
		fmt.Sprintf("--concurrent-horizontal-pod-autoscaler-syncs=%d", workers),
		fmt.Sprintf("--kube-api-qps=%d", qps),
		fmt.Sprintf("--kube-api-burst=%d", burst),
	}}
}

// start starts the subject as the administrator, as kube-controller-manager is in this
// cluster: nobody pays for authorization, or for being somebody else.
func (s subject) start(ctx context.Context, cluster *fixture.Cluster) error {
	return cluster.Restart(ctx, s.component, append([]string{"--kubeconfig=" + cluster.Kubeconfig}, s.flags...)...)
}

// silence stops all that would play with the objects, or take the place of the
// metrics, or of somebody who is measured.
func silence(ctx context.Context, cluster *fixture.Cluster) error {
	for _, component := range []string{
		controllerManager, "kube-scheduler", "kwok-controller", "berth-storage",
		fixture.MetricsServer, fixture.Scheduler, fixture.Autoscaler,
	} {
		if err := cluster.Stop(ctx, component); err != nil {
			return err
		}
	}
	return nil
}
