// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ordinalplacement is the plugin that puts every ordinal of a
// StatefulSet into its domain: at home if the slot has one, else where the set
// has the fewest lower ordinals, so that any prefix of it stays balanced.
//
// It promises to refuse every node that the policy of the set forbids the
// slot, whichever way the scheduler came to it; to say, when a slot finds no
// node, where it belongs, why, and what stands in the way there; and to say
// nothing about pods that fill no slot.
package ordinalplacement

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
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

	// ErrReasonOutside takes the planned domain.
	ErrReasonOutside = "node(s) outside the planned domain %s"
	// ErrReasonOutsideAll takes the domains that a Preferred spread leaves.
	ErrReasonOutsideAll = "node(s) outside the allowed domains %v"
	// ErrReasonUnlabelled takes the topology key.
	ErrReasonUnlabelled = "node(s) without label %q, which names the domains"
	// ErrReasonUnselected takes the number of the rule, from 1, its ordinals and terms.
	ErrReasonUnselected = "node(s) not selected by rule %d (ordinals %s: %s)"
	// ErrReasonShared takes the set.
	ErrReasonShared = "node(s) with another slot of %s, and separateNodes is Required"
	// ErrReasonHeld takes the set.
	ErrReasonHeld = "node(s) with the volume of an absent slot of %s, and separateNodes is Required"
	// ErrReasonNoDomain takes the placement, which says why, and the topology key.
	ErrReasonNoDomain = "%s; domains are values of node label %q: label or add nodes, or correct the policy"
	// ErrReasonSetUnknown takes the set and the slot.
	ErrReasonSetUnknown = "waiting for StatefulSet %s to be known: %s has no place without it; if the set is gone, so should be the pod"
)

// Planner knows where slots belong. The plugin declares what it needs of it.
type Planner interface {
	// Default sets what places the sets of a profile that no policy is for.
	Default(profile string, placement *v1alpha1.Placement) error
	SlotOf(*v1.Pod) (statefulset.Slot, bool)
	// Placing is SlotOf for a pod that is being placed.
	Placing(*v1.Pod) (statefulset.Slot, bool)
	Place(statefulset.Slot, *v1.Pod) (statefulset.Answer, error)
	Suits(statefulset.Slot, types.UID, *v1.Node) (suits, known bool)
	Reserve(statefulset.Slot, types.UID, *v1.Node)
	Unreserve(statefulset.Slot, types.UID)
}

// OrdinalPlacement keeps slots where their policy wants them.
type OrdinalPlacement struct {
	handle  fwk.Handle
	planner Planner
}

var (
	_ fwk.PreFilterPlugin   = &OrdinalPlacement{}
	_ fwk.FilterPlugin      = &OrdinalPlacement{}
	_ fwk.PostFilterPlugin  = &OrdinalPlacement{}
	_ fwk.PreScorePlugin    = &OrdinalPlacement{}
	_ fwk.ScorePlugin       = &OrdinalPlacement{}
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
	if err := planner.Default(handle.ProfileName(), a.DefaultPolicy); err != nil {
		return nil, fmt.Errorf("args.defaultPolicy: %w", err)
	}
	return &OrdinalPlacement{handle: handle, planner: planner}, nil
}

// Name of the plugin.
func (pl *OrdinalPlacement) Name() string { return Name }

// EventsToRegister names what may make a refused pod fit. Changes of the plan
// itself are not here: they are changes of our own state, and the planner
// wakes exactly the pods whose domain became another one. An event for claims
// and volumes would ask a hint for every pending pod about every one of them,
// and perhaps before the planner has seen it.
func (pl *OrdinalPlacement) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		// A node that becomes one the pod may have, new or newly labelled, may have room.
		{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeLabel}, QueueingHintFn: pl.isSchedulableAfterNodeChange},
		// A sibling that leaves its node makes room where each slot has a node of its own.
		{Event: fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.Delete}, QueueingHintFn: pl.isSchedulableAfterPodDeleted},
		// A toleration added to the pod itself may open a domain to it.
		{Event: fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.UpdatePodToleration}, QueueingHintFn: pl.isSchedulableAfterTolerationChange},
	}, nil
}

// SignPod refuses slots, whose verdict depends on their siblings, and has
// nothing to add for other pods.
func (pl *OrdinalPlacement) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	if _, ok := pl.planner.SlotOf(pod); ok {
		return nil, fwk.NewStatus(fwk.Unschedulable, "the pod fills a slot of a StatefulSet")
	}
	return nil, nil
}

// PreFilter asks the planner. It narrows no nodes: a zone is a large part of
// them, a set of that size is made and copied for every pod, and the nodes left
// out would lose their reason. Refusing in Filter costs one lookup per node.
func (pl *OrdinalPlacement) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	slot, ok := pl.planner.Placing(pod)
	if !ok {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	answer, err := pl.planner.Place(slot, pod)
	var setUnknown *statefulset.SetUnknownError
	var policyUnknown *statefulset.PolicyUnknownError
	switch {
	case errors.As(err, &setUnknown):
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf(ErrReasonSetUnknown, slot.Set, slot))
	case errors.As(err, &policyUnknown):
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, policyUnknown.Error())
	case err != nil:
		return nil, fwk.AsStatus(err)
	case answer.Spread() && answer.Domain == "":
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf(ErrReasonNoDomain, answer.Placement, answer.Policy.Spread.TopologyKey))
	}
	v := newVerdict(answer)
	if v == nil {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	klog.FromContext(ctx).V(4).Info("Planned a slot", "pod", klog.KObj(pod), "policy", answer.Policy.Name, "domain", answer.Domain, "why", answer.Why())
	state.Write(stateKey, v)
	return nil, nil
}

// PreFilterExtensions is nil: adding or removing other pods on a node does not
// move the plan, and siblings are not preempted for each other.
func (pl *OrdinalPlacement) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter refuses nodes that the policy forbids. Preemption can not help.
func (pl *OrdinalPlacement) Filter(_ context.Context, state fwk.CycleState, _ *v1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	v, err := read(state)
	if err != nil {
		return fwk.AsStatus(err)
	}
	if reasons := v.refuses(nodeInfo.Node()); reasons != nil {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reasons...)
	}
	if v.shared != nil {
		if _, shared := pl.sibling(v.placement.Slot, nodeInfo); shared {
			return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, v.shared...)
		}
		if _, held := v.placement.Held(nodeInfo.Node().Name); held {
			return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, v.held...)
		}
	}
	return nil
}

// sibling returns another slot of the set that has its pod on the node, if
// there is one. The slot's own pod, old or new, is no sibling.
func (pl *OrdinalPlacement) sibling(slot statefulset.Slot, nodeInfo fwk.NodeInfo) (ordinal int, found bool) {
	for _, info := range nodeInfo.GetPods() {
		pod := info.GetPod()
		if pod.Namespace != slot.Set.Namespace {
			continue
		}
		if its, ok := pl.planner.SlotOf(pod); ok && its.Set == slot.Set && its.Ordinal != slot.Ordinal {
			return its.Ordinal, true
		}
	}
	return 0, false
}

func read(state fwk.CycleState) (*verdict, error) {
	data, err := state.Read(stateKey)
	if err != nil {
		return nil, err
	}
	v, ok := data.(*verdict)
	if !ok {
		return nil, fmt.Errorf("state of %s is a %T", Name, data)
	}
	return v, nil
}

// Reserve makes the node's domain the slot's home while the pod is being
// bound, so that siblings in the next cycles count it.
func (pl *OrdinalPlacement) Reserve(_ context.Context, _ fwk.CycleState, pod *v1.Pod, nodeName string) *fwk.Status {
	slot, ok := pl.planner.SlotOf(pod)
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
	if slot, ok := pl.planner.SlotOf(pod); ok {
		pl.planner.Unreserve(slot, pod.UID)
	}
}
