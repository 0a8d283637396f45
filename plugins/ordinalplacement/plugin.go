// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ordinalplacement is the plugin that puts every ordinal of a
// StatefulSet into its domain: at home if the slot has one, else where the set
// has the fewest lower ordinals, so that any prefix of it stays balanced.
//
// It promises to refuse every node outside the planned domain, whichever way
// the scheduler came to it, with a reason that says which domain it is and
// why; and to say nothing about pods that fill no slot.
package ordinalplacement

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-dev/berth/plugins/args"
	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

const (
	// Name of the plugin in the registry and in configurations.
	Name = "OrdinalPlacement"

	stateKey fwk.StateKey = Name

	// ErrReasonOutside is followed by the slot, its domain and why.
	ErrReasonOutside = "node(s) outside the planned domain: "
	// ErrReasonUnlabelled takes the topology key and the placement.
	ErrReasonUnlabelled = "node(s) without label %q, which names the domains: %s"
	// ErrReasonNoDomain takes the slot and the topology key.
	ErrReasonNoDomain = "%s has no domain: no node that the pod may use has label %q; label the nodes, or correct topologyKey or domains of the policy"
	// ErrReasonSetUnknown takes the set and the slot.
	ErrReasonSetUnknown = "waiting for StatefulSet %s to be known: %s has no place without it; if the set is gone, so should be the pod"
)

// Planner knows where slots belong. The plugin declares what it needs of it.
type Planner interface {
	Place(statefulset.Slot, *v1.Pod, statefulset.Spread) (statefulset.Placement, error)
	Waiting(statefulset.Slot, types.UID) (domain string, ok bool)
	Reserve(statefulset.Slot, types.UID, *v1.Node)
	Unreserve(statefulset.Slot, types.UID)
}

// OrdinalPlacement keeps slots in their planned domains.
type OrdinalPlacement struct {
	handle  fwk.Handle
	planner Planner
	spread  *statefulset.Spread
}

var (
	_ fwk.PreFilterPlugin   = &OrdinalPlacement{}
	_ fwk.FilterPlugin      = &OrdinalPlacement{}
	_ fwk.ReservePlugin     = &OrdinalPlacement{}
	_ fwk.EnqueueExtensions = &OrdinalPlacement{}
	_ fwk.SignPlugin        = &OrdinalPlacement{}
)

// New returns the plugin for one profile.
func New(_ context.Context, obj runtime.Object, handle fwk.Handle, planner Planner) (fwk.Plugin, error) {
	var a Args
	if err := args.DecodeStrict(obj, &a); err != nil {
		return nil, err
	}
	a.Default()
	if err := a.Validate(field.NewPath("args")).ToAggregate(); err != nil {
		return nil, err
	}
	return &OrdinalPlacement{handle: handle, planner: planner, spread: a.DefaultPolicy.Spread}, nil
}

// Name of the plugin.
func (pl *OrdinalPlacement) Name() string { return Name }

// EventsToRegister names what may make a refused pod fit. Changes of the plan
// itself are not here: they are changes of our own state, and the planner
// wakes exactly the pods whose domain became another one. An event for pods,
// claims and volumes would ask a hint for every pending pod about every one of
// them, and perhaps before the planner has seen it.
func (pl *OrdinalPlacement) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		// A node that enters the planned domain, new or newly labelled, may have room.
		{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeLabel}, QueueingHintFn: pl.isSchedulableAfterNodeChange},
		// A toleration added to the pod itself may open a domain to it.
		{Event: fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.UpdatePodToleration}, QueueingHintFn: pl.isSchedulableAfterTolerationChange},
	}, nil
}

// SignPod refuses slots, whose verdict depends on their siblings, and has
// nothing to add for other pods.
func (pl *OrdinalPlacement) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	if _, ok := pl.slotOf(pod); ok {
		return nil, fwk.NewStatus(fwk.Unschedulable, "the pod fills a slot of a StatefulSet")
	}
	return nil, nil
}

// verdict is what Filter needs of the plan, worked out once.
type verdict struct {
	key, domain        string
	outside, unlabeled []string
}

func (v *verdict) Clone() fwk.StateData { return v }

// PreFilter asks the planner. It narrows no nodes: a zone is a large part of
// them, a set of that size is made and copied for every pod, and the nodes left
// out would lose their reason. Refusing in Filter costs one lookup per node.
func (pl *OrdinalPlacement) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	slot, ok := pl.slotOf(pod)
	if !ok {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	placement, err := pl.planner.Place(slot, pod, *pl.spread)
	var unknown *statefulset.SetUnknownError
	switch {
	case errors.As(err, &unknown):
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf(ErrReasonSetUnknown, slot.Set, slot))
	case err != nil:
		return nil, fwk.AsStatus(err)
	case placement.Domain == "":
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf(ErrReasonNoDomain, slot, pl.spread.TopologyKey))
	}
	klog.FromContext(ctx).V(4).Info("Planned the domain of a slot", "pod", klog.KObj(pod), "domain", placement.Domain, "why", placement.Why())
	text := placement.String()
	state.Write(stateKey, &verdict{
		key:       pl.spread.TopologyKey,
		domain:    placement.Domain,
		outside:   []string{ErrReasonOutside + text},
		unlabeled: []string{fmt.Sprintf(ErrReasonUnlabelled, pl.spread.TopologyKey, text)},
	})
	return nil, nil
}

// PreFilterExtensions is nil: adding or removing other pods on a node does not
// move the plan.
func (pl *OrdinalPlacement) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter refuses nodes outside the planned domain. Preemption can not help.
func (pl *OrdinalPlacement) Filter(_ context.Context, state fwk.CycleState, _ *v1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	data, err := state.Read(stateKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	v, ok := data.(*verdict)
	if !ok {
		return fwk.AsStatus(fmt.Errorf("state of %s is a %T", Name, data))
	}
	switch domain, labelled := nodeInfo.Node().Labels[v.key]; {
	case domain == v.domain:
		return nil
	case !labelled:
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, v.unlabeled...)
	default:
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, v.outside...)
	}
}

// Reserve makes the node's domain the slot's home while the pod is being
// bound, so that siblings in the next cycles count it.
func (pl *OrdinalPlacement) Reserve(_ context.Context, _ fwk.CycleState, pod *v1.Pod, nodeName string) *fwk.Status {
	slot, ok := pl.slotOf(pod)
	if !ok {
		return nil
	}
	nodeInfo, err := pl.handle.SnapshotSharedLister().NodeInfos().Get(nodeName)
	if err != nil {
		return fwk.AsStatus(fmt.Errorf("node %q that was chosen for %s: %w", nodeName, slot, err))
	}
	pl.planner.Reserve(slot, pod.UID, nodeInfo.Node())
	return nil
}

// Unreserve takes the reservation back.
func (pl *OrdinalPlacement) Unreserve(_ context.Context, _ fwk.CycleState, pod *v1.Pod, _ string) {
	if slot, ok := pl.slotOf(pod); ok {
		pl.planner.Unreserve(slot, pod.UID)
	}
}

// slotOf returns the slot of a pod that the policy spreads.
func (pl *OrdinalPlacement) slotOf(pod *v1.Pod) (statefulset.Slot, bool) {
	if pl.spread == nil {
		return statefulset.Slot{}, false
	}
	return statefulset.SlotOf(pod)
}
