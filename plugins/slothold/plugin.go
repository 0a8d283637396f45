// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package slothold is the plugin that keeps the room of a slot whose pod leaves
// its node, until the slot has a pod on a node again.
//
// It promises that no pod of lower or equal priority is placed, by any profile
// of this process, where the pod of an absent slot could then not come back to;
// to count such a slot once, with the pod that leaves or without it; to judge
// only by what holds take away, so that it refuses nothing where nothing is
// held; and to wake whoever it refused as soon as less is held.
package slothold

import (
	"context"

	"github.com/berth-dev/berth/plugins/args"
	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
)

const (
	// Name of the plugin in the registry and in configurations.
	Name = "SlotHold"

	stateKey fwk.StateKey = Name

	// errReasonSlot is why pods that fill slots have no signature.
	errReasonSlot = "the pod fills a slot, and its own room is kept for it"
)

// Args are the plugin's arguments: there are none. How long room is kept is the
// policy's.
type Args struct{}

// Shared is what the plugin knows together with its siblings in other profiles.
type Shared struct {
	Ledger   Ledger
	Refusals Refusals
	Slots    Slots
}

// Ledger knows what is kept where.
type Ledger interface {
	// None tells whether nothing is kept anywhere. It is asked for every pod.
	None() bool
	// On returns what is kept on a node.
	On(node string) []statefulset.Hold
	// Missed has the slots looked at that should have a pod on the node, and
	// whose pod is not there.
	Missed(node string, there func(types.UID) bool)
}

// Refusals remembers who was refused a node for what is kept there, and wakes
// them when less is.
type Refusals interface {
	// TriedAnew forgets what a pod was refused.
	TriedAnew(*v1.Pod)
	Refused(pod *v1.Pod, node string)
	WasRefused(pod *v1.Pod, node string) bool
	// Retry wakes a pod that may fit elsewhere.
	Retry(*v1.Pod)
	// Taken tells people that a pod of higher priority took what was kept.
	Taken(pod *v1.Pod, hold statefulset.Hold)
}

// Slots tells which slot a pod fills.
type Slots interface {
	// Placing is asked of a pod that gets a node, which shows that this process
	// is the one that places pods.
	Placing(*v1.Pod) (statefulset.Slot, bool)
	SlotOf(*v1.Pod) (statefulset.Slot, bool)
}

// SlotHold keeps the room of absent slots.
type SlotHold struct {
	handle fwk.Handle
	shared Shared
	gates  feature.Features
	limits fwk.FilterPlugin // nil where nobody counts attached volumes
}

var (
	_ fwk.PreFilterPlugin   = &SlotHold{}
	_ fwk.FilterPlugin      = &SlotHold{}
	_ fwk.PreScorePlugin    = &SlotHold{}
	_ fwk.ScorePlugin       = &SlotHold{}
	_ fwk.ReservePlugin     = &SlotHold{}
	_ fwk.PostBindPlugin    = &SlotHold{}
	_ fwk.EnqueueExtensions = &SlotHold{}
	_ fwk.SignPlugin        = &SlotHold{}
)

// New returns the plugin for one profile.
func New(ctx context.Context, obj runtime.Object, handle fwk.Handle, shared Shared) (fwk.Plugin, error) {
	if err := args.DecodeStrict(obj, &Args{}); err != nil {
		return nil, err
	}
	pl := &SlotHold{handle: handle, shared: shared, gates: feature.NewSchedulerFeaturesFromGates(utilfeature.DefaultFeatureGate)}
	if handle.SharedCSIManager() != nil {
		limits, err := nodevolumelimits.NewCSI(ctx, nil, handle, pl.gates)
		if err != nil {
			return nil, err
		}
		pl.limits, _ = limits.(fwk.FilterPlugin)
	}
	return pl, nil
}

// Name of the plugin.
func (pl *SlotHold) Name() string { return Name }

// subject is what a pod is to holds.
type subject struct {
	slot     statefulset.Slot
	fills    bool
	priority int32
	// took are the holds that it took from slots of lower priority.
	took []statefulset.Hold
}

// Clone returns the subject itself, which does not change with the pods on nodes.
func (s *subject) Clone() fwk.StateData { return s }

func (pl *SlotHold) subjectOf(pod *v1.Pod) *subject {
	slot, fills := pl.shared.Slots.SlotOf(pod)
	return &subject{slot: slot, fills: fills, priority: corev1helpers.PodPriority(pod)}
}

// respects tells whether a hold keeps the pod out: not its own, whose room it
// comes for; always that of a sibling; else that of a slot whose priority is
// not lower.
func (s *subject) respects(hold statefulset.Hold) bool {
	switch {
	case s.fills && s.slot == hold.Slot:
		return false
	case s.fills && s.slot.Set == hold.Slot.Set:
		return true
	}
	return hold.Priority >= s.priority
}

// SignPod signs by the priority, which decides what holds mean to a pod.
// A slot has a hold of its own.
func (pl *SlotHold) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	if _, fills := pl.shared.Slots.SlotOf(pod); fills {
		return nil, fwk.NewStatus(fwk.Unschedulable, errReasonSlot)
	}
	return []fwk.SignFragment{{Key: "v1.Pod.Spec.Priority", Value: corev1helpers.PodPriority(pod)}}, nil
}

// PreFilter has nothing to do where nothing is held.
func (pl *SlotHold) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	if pl.shared.Ledger.None() {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	pl.shared.Refusals.TriedAnew(pod)
	state.Write(stateKey, pl.subjectOf(pod))
	return nil, nil
}

// PreFilterExtensions is nil: the pods on a node are counted when it is asked about.
func (pl *SlotHold) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter refuses nodes where the pod fits only in room that is kept. Preemption
// may help: not against a hold, but against pods beside it.
func (pl *SlotHold) Filter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	node := nodeInfo.Node().Name
	if len(pl.shared.Ledger.On(node)) == 0 {
		return nil
	}
	return pl.refuse(ctx, pl.subject(state, pod), pod, nodeInfo)
}

func (pl *SlotHold) subject(state fwk.CycleState, pod *v1.Pod) *subject {
	if data, err := state.Read(stateKey); err == nil {
		if s, ok := data.(*subject); ok {
			return s
		}
	}
	return pl.subjectOf(pod)
}

// refuse judges a node by what is kept there now. Who is refused is remembered
// before the node is looked at for the last time: what is released in between
// wakes the pod, or is seen.
func (pl *SlotHold) refuse(ctx context.Context, s *subject, pod *v1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	node, remembered := nodeInfo.Node().Name, false
	for {
		holds := pl.shared.Ledger.On(node)
		reason := pl.lacking(ctx, s.respects, pod, nodeInfo, holds)
		if reason == "" {
			return nil
		}
		if remembered {
			klog.FromContext(ctx).V(4).Info("Refused a node for the room that is kept there", "pod", klog.KObj(pod), "node", node, "reason", reason)
			return fwk.NewStatus(fwk.Unschedulable, reason)
		}
		pl.shared.Refusals.Refused(pod, node)
		remembered = true
	}
}

// Reserve looks once more at the node that was chosen: a slot's pod that went
// without being seen to leave frees its room in the scheduler's cache first.
func (pl *SlotHold) Reserve(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) *fwk.Status {
	pl.shared.Slots.Placing(pod)
	nodeInfo, err := pl.handle.SnapshotSharedLister().NodeInfos().Get(node)
	if err != nil {
		return fwk.AsStatus(err)
	}
	pl.shared.Ledger.Missed(node, func(uid types.UID) bool { return among(nodeInfo, uid) })
	holds := pl.shared.Ledger.On(node)
	if len(holds) == 0 {
		return nil
	}
	if among(nodeInfo, pod.UID) { // one of a group is in the snapshot when it is reserved for
		nodeInfo = nodeInfo.Snapshot()
		if err := nodeInfo.RemovePod(klog.FromContext(ctx), pod); err != nil {
			return fwk.AsStatus(err)
		}
	}
	s := pl.subject(state, pod)
	if status := pl.refuse(ctx, s, pod, nodeInfo); !status.IsSuccess() {
		pl.shared.Refusals.Retry(pod) // another node may do, and the next cycle knows of the hold
		return status
	}
	if took := pl.takes(ctx, s, pod, nodeInfo, holds); len(took) > 0 {
		taken := *s
		taken.took = took
		state.Write(stateKey, &taken)
	}
	return nil
}

// Unreserve has nothing to take back.
func (pl *SlotHold) Unreserve(context.Context, fwk.CycleState, *v1.Pod, string) {}

// PostBind tells people whose room the pod took.
func (pl *SlotHold) PostBind(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ string) {
	data, err := state.Read(stateKey)
	if err != nil {
		return
	}
	if s, ok := data.(*subject); ok {
		for _, hold := range s.took {
			pl.shared.Refusals.Taken(pod, hold)
		}
	}
}
