// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package volumeaffinity is the plugin that puts a pod beside its data: where
// its bound volumes can be reached, back on the node where it was, and where
// there is room for all the volumes that are still to be made for it. It says
// which volume forbids a node, where that volume is, and what can be done when
// it can not be reached any more.
//
// It promises never to refuse a node that upstream's VolumeBinding would
// accept for the pod's bound volumes, nor the other way round; to look at
// labels only, never at node names; and to repeat in Filter whatever it
// narrowed before, since nominated nodes come to Filter alone.
package volumeaffinity

import (
	"context"
	"fmt"

	"github.com/berth-dev/berth/plugins/args"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	csitranslation "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

const (
	// Name of the plugin in the registry and in configurations.
	Name = "VolumeAffinity"

	stateKey fwk.StateKey = Name
)

// narrowLimit is how many nodes are handed on as a set, at most, when nothing
// else is known. The scheduler never looks for fewer than 100 feasible nodes,
// so up to there it would visit them all anyway. Beyond, the framework's copy
// of a set of thousands of names costs as much as refusing the nodes that the
// scheduler really visits (BenchmarkCycle), and more nodes are sought.
const narrowLimit = 100

// VolumeAffinity keeps pods beside their volumes.
type VolumeAffinity struct {
	handle  fwk.Handle
	shared  Shared
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	nodes   corelisters.NodeLister
	classes storagelisters.StorageClassLister
	drivers storagelisters.CSIDriverLister
	csi     migration
}

// migration tells volumes whose node affinity VolumeBinding reads only after
// translating it.
type migration interface {
	IsPVMigratable(*v1.PersistentVolume) bool
}

var (
	_ fwk.PreFilterPlugin   = &VolumeAffinity{}
	_ fwk.FilterPlugin      = &VolumeAffinity{}
	_ fwk.PostFilterPlugin  = &VolumeAffinity{}
	_ fwk.PreScorePlugin    = &VolumeAffinity{}
	_ fwk.ScorePlugin       = &VolumeAffinity{}
	_ fwk.ReservePlugin     = &VolumeAffinity{}
	_ fwk.PostBindPlugin    = &VolumeAffinity{}
	_ fwk.EnqueueExtensions = &VolumeAffinity{}
	_ fwk.SignPlugin        = &VolumeAffinity{}
)

// New returns the plugin for one profile.
func New(_ context.Context, obj runtime.Object, handle fwk.Handle, shared Shared) (fwk.Plugin, error) {
	a := DefaultArgs()
	if err := args.DecodeStrict(obj, &a); err != nil {
		return nil, err
	}
	core, storage := handle.SharedInformerFactory().Core().V1(), handle.SharedInformerFactory().Storage().V1()
	return &VolumeAffinity{
		handle:  handle,
		shared:  shared,
		claims:  core.PersistentVolumeClaims().Lister(),
		volumes: core.PersistentVolumes().Lister(),
		nodes:   core.Nodes().Lister(),
		classes: storage.StorageClasses().Lister(),
		drivers: storage.CSIDrivers().Lister(),
		csi:     csitranslation.New(),
	}, nil
}

// Name of the plugin.
func (pl *VolumeAffinity) Name() string { return Name }

// EventsToRegister names what may make a refused pod fit.
func (pl *VolumeAffinity) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		// A node that comes where the volumes are, new or newly labelled, or the
		// only node that will do.
		{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeLabel}, QueueingHintFn: pl.isSchedulableAfterNodeChange},
		// A missing claim is made, a lost one gets its volume, or one that was
		// provisioned for a node no longer is.
		{Event: fwk.ClusterEvent{Resource: fwk.PersistentVolumeClaim, ActionType: fwk.Add | fwk.Update}, QueueingHintFn: pl.isSchedulableAfterClaimChange},
		// A missing volume is restored, or a volume's node affinity changes.
		{Event: fwk.ClusterEvent{Resource: fwk.PersistentVolume, ActionType: fwk.Add | fwk.Update}, QueueingHintFn: pl.isSchedulableAfterVolumeChange},
		// A driver has more room.
		{Event: fwk.ClusterEvent{Resource: fwk.CSIStorageCapacity, ActionType: fwk.Add | fwk.Update}, QueueingHintFn: pl.isSchedulableAfterCapacityChange},
		// A driver is to be asked for room no longer.
		{Event: fwk.ClusterEvent{Resource: fwk.CSIDriver, ActionType: fwk.Update}, QueueingHintFn: pl.isSchedulableAfterDriverChange},
		// A class is made for a claim that has none, or made anew.
		{Event: fwk.ClusterEvent{Resource: fwk.StorageClass, ActionType: fwk.Add | fwk.Update}, QueueingHintFn: pl.isSchedulableAfterClassChange},
	}, nil
}

// SignPod signs by the volumes: pods with the same claims have the same reach.
// A slot has a home of its own.
func (pl *VolumeAffinity) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	if pl.shared.Homes.Returns(pod, pod) {
		return nil, fwk.NewStatus(fwk.Unschedulable, "the pod fills a slot and comes back to its own node")
	}
	for range ClaimsOf(pod) {
		return []fwk.SignFragment{{Key: fwk.VolumesSignerName, Value: fwk.VolumesSigner(pod)}}, nil
	}
	return nil, nil
}

// PreFilter gathers what the claims say and where the pod was. It hands on the
// nodes that are left when they are few: a local volume leaves one.
func (pl *VolumeAffinity) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	pl.shared.Homes.Placing(pod)
	g, refusal := pl.gather(pod)
	if refusal != "" {
		pl.shared.Waiters.Waits(pod, Judged{})
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, refusal)
	}
	v := newVerdict(g)
	pl.homing(v, pod)
	if v.empty() {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	state.Write(stateKey, v)
	judged := Judged{Volumes: g.volumes(), Classes: v.classes(), Contended: v.classes()}
	pl.shared.Waiters.Waits(pod, judged) // before anything is asked, so that no change goes unnoticed
	if len(g.wanted) > 0 {
		v.room = pl.shared.Room.Ask(g.wanted)
		judged.Contended = v.room.Contended()
		pl.shared.Waiters.Waits(pod, judged)
	}
	if !v.filters() {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	if refusal := pl.nowhere(v, nodes); refusal != "" {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, refusal)
	}
	few := pl.few(v, len(nodes))
	if few == nil {
		return nil, nil
	}
	klog.FromContext(ctx).V(4).Info("Narrowed the nodes to those that reach the volumes", "pod", klog.KObj(pod), "nodes", len(few))
	return &fwk.PreFilterResult{NodeNames: few}, nil
}

// few returns the nodes that are handed on, nil for all. The set belongs to
// everyone: the framework makes a copy.
func (pl *VolumeAffinity) few(v *verdict, all int) sets.Set[string] {
	switch {
	case v.home.Required:
		return sets.New(v.home.Node)
	case v.selectedNode != "":
		return sets.New(v.selectedNode)
	case len(v.bound) == 0:
		return nil
	}
	nodes, known := pl.shared.Reach.Joint(v.volumes())
	switch n := nodes.Len(); {
	case !known || n == 0 || n == all: // nowhere knows better than the index that some node there is
		return nil
	case n <= narrowLimit, v.home.Certain && v.home.Node != "" && n <= all/2:
		return nodes.Shared()
	}
	return nil
}

// PreFilterExtensions is nil: other pods on a node do not move volumes.
func (pl *VolumeAffinity) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter refuses nodes where the pod's data is not, can not be, or is not
// wanted. Preemption can not help.
func (pl *VolumeAffinity) Filter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	v, err := read(state)
	if err != nil {
		return fwk.AsStatus(err)
	}
	reasons := v.refuses(nodeInfo.Node())
	if reasons == nil && v.home.Certain && v.home.Node != "" && nodeInfo.Node().Name != v.home.Node {
		reasons = pl.comesHome(ctx, state, v, pod)
	}
	if reasons != nil {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reasons...)
	}
	return nil
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
