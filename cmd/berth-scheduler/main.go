// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Command berth-scheduler is kube-scheduler with Berth's plugins in its
// registry. It is wiring only: flags, configuration, leader election, metrics
// and health come from upstream's command and stay as people know them.
package main

import (
	"os"

	"github.com/berth-dev/berth/plugins"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the API client
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
)

func main() {
	command := app.NewSchedulerCommand(func(registry runtime.Registry) error {
		return registry.Merge(plugins.Registry(plugins.NewShared()))
	})
	command.Use = "berth-scheduler"
	os.Exit(cli.Run(command))
}
