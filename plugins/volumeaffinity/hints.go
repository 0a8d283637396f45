// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/util"
)

// Hints read claims and volumes from the informers' stores, which are at least
// as new as the event they are asked about.

// isSchedulableAfterNodeChange queues a pod when a node begins to reach all
// its volumes.
func (pl *VolumeAffinity) isSchedulableAfterNodeChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*v1.Node](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	bound, refusal := pl.gather(pod)
	if refusal != "" {
		return fwk.QueueSkip, nil
	}
	if bound.blocking(after.Labels) >= 0 || (before != nil && bound.blocking(before.Labels) < 0) {
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("A node came into reach of the pod's volumes", "pod", klog.KObj(pod), "node", klog.KObj(after))
	return fwk.Queue, nil
}

// isSchedulableAfterClaimChange queues a pod when a claim of its own is made,
// gets a volume or is found again.
func (pl *VolumeAffinity) isSchedulableAfterClaimChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*v1.PersistentVolumeClaim](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if after.Namespace != pod.Namespace || !claims(pod, after.Name) {
		return fwk.QueueSkip, nil
	}
	if before != nil && before.UID == after.UID && before.Spec.VolumeName == after.Spec.VolumeName && before.Status.Phase == after.Status.Phase {
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("A claim of the pod was made, bound or found again", "pod", klog.KObj(pod), "claim", klog.KObj(after))
	return fwk.Queue, nil
}

// isSchedulableAfterVolumeChange queues a pod when a volume of its own is
// restored, handed to its claim, or moves.
func (pl *VolumeAffinity) isSchedulableAfterVolumeChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*v1.PersistentVolume](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if before != nil && equality.Semantic.DeepEqual(before.Spec.NodeAffinity, after.Spec.NodeAffinity) &&
		equality.Semantic.DeepEqual(before.Spec.ClaimRef, after.Spec.ClaimRef) {
		return fwk.QueueSkip, nil
	}
	for name := range ClaimsOf(pod) {
		claim, err := pl.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
		if err == nil && claim.Spec.VolumeName == after.Name {
			logger.V(5).Info("A volume of the pod was restored or changed its place", "pod", klog.KObj(pod), "volume", klog.KObj(after))
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
}

func claims(pod *v1.Pod, claim string) bool {
	for name := range ClaimsOf(pod) {
		if name == claim {
			return true
		}
	}
	return false
}
