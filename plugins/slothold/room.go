// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package slothold

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeports"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources"
)

// ErrReasonKept refuses a node. It names the sets, and what is lacking.
const ErrReasonKept = "node(s) keep room for absent slots of %s (%s)"

// lacking returns why a pod does not fit beside the holds that it respects,
// empty if it does. What it lacks without them, too, is for others to judge:
// they may have been told to overlook it.
func (pl *SlotHold) lacking(ctx context.Context, respects func(statefulset.Hold) bool, pod *v1.Pod, nodeInfo fwk.NodeInfo, holds []statefulset.Hold) string {
	beside, sets := pl.occupied(ctx, respects, nodeInfo, holds)
	if len(sets) == 0 {
		return ""
	}
	lacks := pl.lacks(ctx, pod, beside)
	if len(lacks) == 0 {
		return ""
	}
	anyway := pl.lacks(ctx, pod, nodeInfo)
	lacks = slices.DeleteFunc(lacks, func(what string) bool { return slices.Contains(anyway, what) })
	if len(lacks) == 0 {
		return ""
	}
	return fmt.Sprintf(ErrReasonKept, strings.Join(sets, ", "), strings.Join(lacks, ", "))
}

// lacks lists what a pod lacks on a node, of all that a hold can take.
func (pl *SlotHold) lacks(ctx context.Context, pod *v1.Pod, nodeInfo fwk.NodeInfo) (lacks []string) {
	for _, short := range noderesources.Fits(pod, nodeInfo, pl.handle.SharedDRAManager(), noderesources.ResourceRequestsOptions{
		EnablePodLevelResources:   pl.gates.EnablePodLevelResources,
		EnableDRAExtendedResource: pl.gates.EnableDRAExtendedResource,
	}) {
		lacks = append(lacks, short.Reason)
	}
	slices.Sort(lacks) // resources come in the order of a map
	if !nodeports.Fits(pod, nodeInfo) {
		lacks = append(lacks, nodeports.ErrReason)
	}
	if pl.limits != nil && len(pod.Spec.Volumes) > 0 {
		if status := pl.limits.Filter(ctx, nil, pod, nodeInfo); status.Code() == fwk.Unschedulable {
			lacks = append(lacks, status.Message())
		}
	}
	return lacks
}

// occupied returns the node as it is once the slots are back that the holds are
// for: with the pods that stand in for them, in the place of those that leave.
// A slot with a pod there, bound in memory or nominated, is back. It also
// returns the sets of the slots.
func (pl *SlotHold) occupied(ctx context.Context, respects func(statefulset.Hold) bool, nodeInfo fwk.NodeInfo, holds []statefulset.Hold) (fwk.NodeInfo, []string) {
	var beside fwk.NodeInfo
	var sets []string
	for _, hold := range holds {
		if !respects(hold) {
			continue
		}
		last, back := pl.find(nodeInfo, hold)
		if back {
			continue
		}
		info, err := framework.NewPodInfo(hold.StandIn)
		if err != nil { // it has no affinity that could be wrong
			continue
		}
		if beside == nil {
			beside = nodeInfo.Snapshot()
		}
		if last != nil {
			if err := beside.RemovePod(klog.FromContext(ctx), last); err != nil {
				continue // it was there a moment ago, on the node this is a copy of
			}
		}
		beside.AddPodInfo(info)
		if name := hold.Slot.Set.String(); !slices.Contains(sets, name) {
			sets = append(sets, name)
		}
	}
	return beside, sets
}

// find returns the slot's last pod if it is on the node, and whether the next
// one is.
func (pl *SlotHold) find(nodeInfo fwk.NodeInfo, hold statefulset.Hold) (last *v1.Pod, back bool) {
	for _, info := range nodeInfo.GetPods() {
		pod := info.GetPod()
		switch {
		case pod.UID == hold.PodUID:
			last = pod
		case pod.Namespace == hold.Slot.Set.Namespace:
			slot, fills := pl.shared.Slots.SlotOf(pod)
			back = back || (fills && slot == hold.Slot)
		}
	}
	return last, back
}

func among(nodeInfo fwk.NodeInfo, uid types.UID) bool {
	return slices.ContainsFunc(nodeInfo.GetPods(), func(info fwk.PodInfo) bool { return info.GetPod().UID == uid })
}
