// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Command berth-scheduler is kube-scheduler with Berth's plugins in its
// registry. It is wiring only: flags, configuration, leader election, metrics
// and health come from upstream's command and stay as people know them. Beside
// it runs what the plugins share: the book of PlacementPolicies, and what time
// changes. It ends with the command.
package main

import (
	"context"
	"os"

	"github.com/berth-dev/berth/plugins"
	"github.com/berth-dev/berth/plugins/policies"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the API client
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
)

// about comes before what kube-scheduler says of itself.
const about = `berth-scheduler is kube-scheduler with Berth's plugins: OrdinalPlacement, OrdinalGate, SlotHold, VolumeAffinity, QuorumGuard and
PinnedTopologySpread. Profiles in --config enable them; each has SlotHold. Flags, metrics and health are kube-scheduler's:

`

func main() {
	shared := plugins.NewShared(policies.NewBook())
	command := app.NewSchedulerCommand(func(registry runtime.Registry) error {
		return registry.Merge(plugins.Registry(shared))
	})
	command.Use = "berth-scheduler"
	command.Long = about + command.Long
	command.RunE = afterCheck(command.RunE)
	ctx, cancel := context.WithCancel(context.Background())
	go shared.Run(ctx)
	code := cli.Run(command)
	cancel()
	os.Exit(code)
}
