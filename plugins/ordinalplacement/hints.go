// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package ordinalplacement

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/util"
)

// isSchedulableAfterNodeChange queues a pod when a node enters the domain the
// pod was told. A node that gives the pod another domain is the planner's to
// notice.
func (pl *OrdinalPlacement) isSchedulableAfterNodeChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*v1.Node](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	slot, ok := pl.slotOf(pod)
	if !ok {
		return fwk.Queue, nil
	}
	domain, told := pl.planner.Waiting(slot, pod.UID)
	if !told {
		return fwk.Queue, nil
	}
	key := pl.spread.TopologyKey
	if domain == "" || after.Labels[key] != domain || (before != nil && before.Labels[key] == domain) {
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("A node entered the planned domain of the pod", "pod", klog.KObj(pod), "node", klog.KObj(after), "domain", domain)
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
