// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plugins gives the scheduler, and the simulation of the autoscaler,
// one registry: Berth's plugins, and beside them those of
// sigs.k8s.io/scheduler-plugins that build on this Kubernetes.
//
// What the plugins share is passed in and lives as long as the registry: the
// package keeps no state of its own, registers nothing on import and starts no
// goroutine.
package plugins

import (
	"context"

	"github.com/berth-dev/berth/plugins/ordinalgate"
	"github.com/berth-dev/berth/plugins/ordinalplacement"
	"github.com/berth-dev/berth/plugins/pinnedtopologyspread"
	"github.com/berth-dev/berth/plugins/quorumguard"
	"github.com/berth-dev/berth/plugins/slothold"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	_ "sigs.k8s.io/scheduler-plugins/apis/config/scheme" // args of scheduler-plugins in the configuration's scheme
	"sigs.k8s.io/scheduler-plugins/pkg/coscheduling"
	"sigs.k8s.io/scheduler-plugins/pkg/networkaware/networkoverhead"
	"sigs.k8s.io/scheduler-plugins/pkg/networkaware/topologicalsort"
	"sigs.k8s.io/scheduler-plugins/pkg/noderesources"
	"sigs.k8s.io/scheduler-plugins/pkg/noderesourcetopology"
	"sigs.k8s.io/scheduler-plugins/pkg/trimaran/loadvariationriskbalancing"
	"sigs.k8s.io/scheduler-plugins/pkg/trimaran/lowriskovercommitment"
	"sigs.k8s.io/scheduler-plugins/pkg/trimaran/peaks"
	"sigs.k8s.io/scheduler-plugins/pkg/trimaran/targetloadpacking"
)

// Registry returns the factories of all plugins that are not in-tree, closed
// over shared. CapacityScheduling and PreemptionToleration of
// scheduler-plugins are absent: they do not build on Kubernetes 1.36.
func Registry(shared *Shared) runtime.Registry {
	with := func(build func(context.Context, apiruntime.Object, fwk.Handle, *slots) (fwk.Plugin, error)) runtime.PluginFactory {
		return func(ctx context.Context, args apiruntime.Object, handle fwk.Handle) (fwk.Plugin, error) {
			slots, err := shared.forHandle(ctx, handle)
			if err != nil {
				return nil, err
			}
			return build(ctx, args, handle, slots)
		}
	}
	return runtime.Registry{
		ordinalgate.Name: with(func(ctx context.Context, args apiruntime.Object, handle fwk.Handle, slots *slots) (fwk.Plugin, error) {
			return ordinalgate.New(ctx, args, handle, slots)
		}),
		ordinalplacement.Name: with(func(ctx context.Context, args apiruntime.Object, handle fwk.Handle, slots *slots) (fwk.Plugin, error) {
			return ordinalplacement.New(ctx, args, handle, slots)
		}),
		pinnedtopologyspread.Name: with(func(ctx context.Context, args apiruntime.Object, handle fwk.Handle, slots *slots) (fwk.Plugin, error) {
			return pinnedtopologyspread.New(ctx, args, handle, slots)
		}),
		quorumguard.Name: with(func(ctx context.Context, args apiruntime.Object, handle fwk.Handle, slots *slots) (fwk.Plugin, error) {
			return quorumguard.New(ctx, args, handle, slots.quorums())
		}),
		slothold.Name: with(func(ctx context.Context, args apiruntime.Object, handle fwk.Handle, slots *slots) (fwk.Plugin, error) {
			return slothold.New(ctx, args, handle, slots.kept())
		}),
		volumeaffinity.Name: with(func(ctx context.Context, args apiruntime.Object, handle fwk.Handle, slots *slots) (fwk.Plugin, error) {
			return volumeaffinity.New(ctx, args, handle, slots.volumes())
		}),

		coscheduling.Name:               coscheduling.New,
		loadvariationriskbalancing.Name: loadvariationriskbalancing.New,
		lowriskovercommitment.Name:      lowriskovercommitment.New,
		networkoverhead.Name:            networkoverhead.New,
		noderesources.AllocatableName:   noderesources.NewAllocatable,
		noderesourcetopology.Name:       noderesourcetopology.New,
		peaks.Name:                      peaks.New,
		targetloadpacking.Name:          targetloadpacking.New,
		topologicalsort.Name:            topologicalsort.New,
	}
}
