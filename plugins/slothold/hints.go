// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package slothold

import (
	"context"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/util"
)

// EventsToRegister names what makes room beside a hold. That a hold ends or
// takes less is no event: it wakes those who were refused for it.
func (pl *SlotHold) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		// Another pod leaves a node where the pod was refused, or takes less there.
		{Event: fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.Delete | fwk.UpdatePodScaleDown}, QueueingHintFn: pl.isSchedulableAfterPodChange},
		// A node where nothing is kept comes, or one where the pod was refused grows.
		{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeAllocatable}, QueueingHintFn: pl.isSchedulableAfterNodeChange},
		// Such a node may attach more volumes.
		{Event: fwk.ClusterEvent{Resource: fwk.CSINode, ActionType: fwk.Update}, QueueingHintFn: pl.isSchedulableAfterCSINodeChange},
		{Event: fwk.ClusterEvent{Resource: fwk.VolumeAttachment, ActionType: fwk.Delete}, QueueingHintFn: pl.isSchedulableAfterDetach},
	}, nil
}

func (pl *SlotHold) isSchedulableAfterPodChange(_ klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, _, err := util.As[*v1.Pod](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	node := before.Spec.NodeName
	if node == "" {
		node = before.Status.NominatedNodeName
	}
	if before.UID == pod.UID { // it asks for less itself
		return fwk.Queue, nil
	}
	return pl.queueIfRefused(pod, node), nil
}

func (pl *SlotHold) isSchedulableAfterNodeChange(_ klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*v1.Node](oldObj, newObj)
	if err != nil || before == nil {
		return fwk.Queue, err
	}
	return pl.queueIfRefused(pod, after.Name), nil
}

func (pl *SlotHold) isSchedulableAfterCSINodeChange(_ klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	_, after, err := util.As[*storagev1.CSINode](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	return pl.queueIfRefused(pod, after.Name), nil
}

func (pl *SlotHold) isSchedulableAfterDetach(_ klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, _, err := util.As[*storagev1.VolumeAttachment](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	return pl.queueIfRefused(pod, before.Spec.NodeName), nil
}

func (pl *SlotHold) queueIfRefused(pod *v1.Pod, node string) fwk.QueueingHint {
	if pl.shared.Refusals.WasRefused(pod, node) {
		return fwk.Queue
	}
	return fwk.QueueSkip
}
