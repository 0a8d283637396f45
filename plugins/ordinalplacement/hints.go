// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package ordinalplacement

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/util"
)

// isSchedulableAfterNodeChange queues a pod when a node becomes one that the
// pod was told to wait for. A node that gives the pod another domain is the
// planner's to notice.
func (pl *OrdinalPlacement) isSchedulableAfterNodeChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*v1.Node](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	slot, ok := pl.planner.SlotOf(pod)
	if !ok {
		return fwk.Queue, nil
	}
	suits, known := pl.planner.Suits(slot, pod.UID, after)
	switch {
	case !known:
		return fwk.Queue, nil
	case !suits:
		return fwk.QueueSkip, nil
	}
	if before != nil {
		if suited, _ := pl.planner.Suits(slot, pod.UID, before); suited {
			return fwk.QueueSkip, nil
		}
	}
	logger.V(5).Info("A node became one of those that the pod waits for", "pod", klog.KObj(pod), "node", klog.KObj(after))
	return fwk.Queue, nil
}

func (pl *OrdinalPlacement) isSchedulableAfterTolerationChange(_ klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	_, after, err := util.As[*v1.Pod](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if after.UID == pod.UID {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

// isSchedulableAfterPodDeleted queues a pod when a sibling leaves its node,
// which may have been refused because of it.
func (pl *OrdinalPlacement) isSchedulableAfterPodDeleted(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	deleted, _, err := util.As[*v1.Pod](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if deleted.Spec.NodeName == "" || deleted.Namespace != pod.Namespace {
		return fwk.QueueSkip, nil
	}
	its, ok := pl.planner.SlotOf(deleted)
	if slot, is := pl.planner.SlotOf(pod); !ok || !is || its.Set != slot.Set {
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("A sibling of the pod left its node", "pod", klog.KObj(pod), "sibling", klog.KObj(deleted))
	return fwk.Queue, nil
}
