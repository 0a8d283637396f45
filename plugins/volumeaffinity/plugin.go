// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package volumeaffinity is the plugin that keeps a pod where its bound
// volumes can be reached, and says which volume forbids a node and where that
// volume is.
//
// It promises never to refuse a node that upstream's VolumeBinding would
// accept for the pod's bound volumes, nor the other way round; to look at
// labels only, never at node names; and to repeat in Filter whatever it
// narrowed before, since nominated nodes come to Filter alone. Claims without
// a volume are VolumeBinding's.
package volumeaffinity

import (
	"context"
	"fmt"

	"github.com/berth-dev/berth/plugins/args"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corelisters "k8s.io/client-go/listers/core/v1"
	csitranslation "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

const (
	// Name of the plugin in the registry and in configurations.
	Name = "VolumeAffinity"

	stateKey fwk.StateKey = Name

	// ErrReasonOutOfReach takes volume, claim and place.
	ErrReasonOutOfReach = "node(s) cannot reach volume %q of claim %q, which is in %s"
	// ErrReasonUnreachable takes volume, claim and place.
	ErrReasonUnreachable = "no node reaches volume %q of claim %q, which is in %s; bring a node back there, or delete the claim if its data is no longer needed"
	// ErrReasonApart is followed by the volumes and their places.
	ErrReasonApart = "no node reaches all volumes of the pod: "
	// ErrReasonClaimMissing takes the claim.
	ErrReasonClaimMissing = "claim %q does not exist; it must be made before the pod can be placed"
	// ErrReasonClaimLost takes claim and volume.
	ErrReasonClaimLost = "claim %q has lost its volume %q; restore the volume, or delete the claim so that it gets another"
	// ErrReasonVolumeMissing takes volume and claim.
	ErrReasonVolumeMissing = "volume %q of claim %q does not exist; restore it, or delete the claim so that it gets another"
	// ErrReasonVolumeTaken takes volume, claim and the claim that has it.
	ErrReasonVolumeTaken = "volume %q of claim %q belongs to another claim, %s"
)

// VolumeAffinity keeps pods beside their volumes.
type VolumeAffinity struct {
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
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
	_ fwk.EnqueueExtensions = &VolumeAffinity{}
	_ fwk.SignPlugin        = &VolumeAffinity{}
)

// New returns the plugin for one profile.
func New(_ context.Context, obj runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	a := DefaultArgs()
	if err := args.DecodeStrict(obj, &a); err != nil {
		return nil, err
	}
	core := handle.SharedInformerFactory().Core().V1()
	return &VolumeAffinity{
		claims:  core.PersistentVolumeClaims().Lister(),
		volumes: core.PersistentVolumes().Lister(),
		csi:     csitranslation.New(),
	}, nil
}

// Name of the plugin.
func (pl *VolumeAffinity) Name() string { return Name }

// EventsToRegister names what may make a refused pod fit.
func (pl *VolumeAffinity) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		// A node that comes where the volumes are, new or newly labelled.
		{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeLabel}, QueueingHintFn: pl.isSchedulableAfterNodeChange},
		// A missing claim is made, or a lost one gets its volume.
		{Event: fwk.ClusterEvent{Resource: fwk.PersistentVolumeClaim, ActionType: fwk.Add | fwk.Update}, QueueingHintFn: pl.isSchedulableAfterClaimChange},
		// A missing volume is restored, or a volume's node affinity changes.
		{Event: fwk.ClusterEvent{Resource: fwk.PersistentVolume, ActionType: fwk.Add | fwk.Update}, QueueingHintFn: pl.isSchedulableAfterVolumeChange},
	}, nil
}

// SignPod signs by the volumes: pods with the same claims have the same reach.
func (pl *VolumeAffinity) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	for range ClaimsOf(pod) {
		return []fwk.SignFragment{{Key: fwk.VolumesSignerName, Value: fwk.VolumesSigner(pod)}}, nil
	}
	return nil, nil
}

// verdict is what Filter needs, worked out once: the volumes and, for each,
// what to say to a node that can not reach it.
type verdict struct {
	reach   reach
	reasons [][]string
}

func (v *verdict) Clone() fwk.StateData { return v }

// PreFilter gathers the bound volumes. It hands on the nodes that reach them
// when they are few: a local volume leaves one.
func (pl *VolumeAffinity) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	bound, refusal := pl.gather(pod)
	if refusal != "" {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, refusal)
	}
	if len(bound) == 0 {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	found := bound.survey(nodes)
	if found.none {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, bound.unreachable(nodes))
	}
	v := &verdict{reach: bound, reasons: make([][]string, len(bound))}
	for i, volume := range bound {
		v.reasons[i] = []string{fmt.Sprintf(ErrReasonOutOfReach, volume.name, volume.claim, volume.where)}
	}
	state.Write(stateKey, v)
	if found.few == nil {
		return nil, nil
	}
	klog.FromContext(ctx).V(4).Info("Narrowed the nodes to those that reach the volumes", "pod", klog.KObj(pod), "nodes", len(found.few))
	return &fwk.PreFilterResult{NodeNames: found.few}, nil
}

// PreFilterExtensions is nil: other pods on a node do not move volumes.
func (pl *VolumeAffinity) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter refuses nodes that can not reach a volume. Preemption can not help.
func (pl *VolumeAffinity) Filter(_ context.Context, state fwk.CycleState, _ *v1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	data, err := state.Read(stateKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	v, ok := data.(*verdict)
	if !ok {
		return fwk.AsStatus(fmt.Errorf("state of %s is a %T", Name, data))
	}
	if i := v.reach.blocking(nodeInfo.Node().Labels); i >= 0 {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, v.reasons[i]...)
	}
	return nil
}
