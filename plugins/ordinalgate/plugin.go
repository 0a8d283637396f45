// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ordinalgate is the plugin that starts the slots of a set one after
// the other, where the set's policy says start.order Ordered.
//
// It promises to keep a slot that was never bound before out of the scheduling
// queue until every lower slot of its set, or of its shard, is scheduled or
// ready; never to keep out a slot that comes back; and that a pod is let in as
// soon as nothing keeps it out any more, whatever made that so.
package ordinalgate

import (
	"context"

	"github.com/berth-dev/berth/plugins/args"
	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
)

// Name of the plugin in the registry and in configurations.
const Name = "OrdinalGate"

// errReasonSlot is why pods that fill slots have no signature.
const errReasonSlot = "the pod fills a slot of a set"

// Args are the plugin's arguments: there are none. The order is the policy's.
type Args struct{}

// Planner knows which slots have started. The plugin declares what it needs of
// it.
type Planner interface {
	// Current returns the slot that a pod fills now.
	Current(*v1.Pod) (statefulset.Slot, bool)
	// Start tells whether the pod of a slot may start. The planner wakes a pod
	// that may not as soon as it may, and tells people why it waits.
	Start(statefulset.Slot, *v1.Pod) statefulset.Gate
}

// OrdinalGate keeps slots waiting for their turn.
type OrdinalGate struct {
	planner Planner
}

var (
	_ fwk.PreEnqueuePlugin  = &OrdinalGate{}
	_ fwk.PreFilterPlugin   = &OrdinalGate{}
	_ fwk.EnqueueExtensions = &OrdinalGate{}
	_ fwk.SignPlugin        = &OrdinalGate{}
)

// New returns the plugin for one profile.
func New(_ context.Context, obj runtime.Object, _ fwk.Handle, planner Planner) (fwk.Plugin, error) {
	if err := args.DecodeStrict(obj, &Args{}); err != nil {
		return nil, err
	}
	return &OrdinalGate{planner: planner}, nil
}

// Name of the plugin.
func (pl *OrdinalGate) Name() string { return Name }

// EventsToRegister names none: what opens a gate is a change of our own state,
// and the planner activates exactly the pods concerned. With an event for pods
// the queue would ask PreEnqueue of every gated pod about every pod that is
// bound.
func (pl *OrdinalGate) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return nil, nil
}

// PreEnqueue keeps the pod out while a lower slot has to come first. It runs
// under the lock of the scheduling queue, so the pod is in the queue, to be
// activated, before anything can open its gate.
func (pl *OrdinalGate) PreEnqueue(_ context.Context, pod *v1.Pod) *fwk.Status {
	slot, ok := pl.planner.Current(pod)
	if !ok {
		return nil
	}
	if gate := pl.planner.Start(slot, pod); gate.Closed {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, gate.String())
	}
	return nil
}

// PreFilter looks at the gate once more. The queue asked when the pod came in,
// perhaps before the policies were read or before this process was the one
// that places pods; and it does not ask again when a policy becomes Ordered
// while the pod is in it.
func (pl *OrdinalGate) PreFilter(ctx context.Context, _ fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	if status := pl.PreEnqueue(ctx, pod); !status.IsSuccess() {
		return nil, status
	}
	return nil, fwk.NewStatus(fwk.Skip)
}

// PreFilterExtensions is nil: other pods on a node open no gate.
func (pl *OrdinalGate) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// SignPod refuses slots, whose verdict depends on their siblings, and has
// nothing to add for other pods.
func (pl *OrdinalGate) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	if _, ok := pl.planner.Current(pod); ok {
		return nil, fwk.NewStatus(fwk.Unschedulable, errReasonSlot)
	}
	return nil, nil
}
