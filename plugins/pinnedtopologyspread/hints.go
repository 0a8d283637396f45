// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package pinnedtopologyspread

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/util"
)

// Hints look at the objects of the event alone: whatever answers for Pins may
// hear of the same event later.

// isSchedulableAfterClaimChange queues a pod when a claim of its own gets a
// volume.
func isSchedulableAfterClaimChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*v1.PersistentVolumeClaim](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if after.Spec.VolumeName == "" || !claims(pod, after.Namespace, after.Name) {
		return fwk.QueueSkip, nil
	}
	if before != nil && before.UID == after.UID && before.Spec.VolumeName == after.Spec.VolumeName && before.Status.Phase == after.Status.Phase {
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("A claim of the pod has its volume, which may have chosen its domain", "pod", klog.KObj(pod), "claim", klog.KObj(after))
	return fwk.Queue, nil
}

// isSchedulableAfterVolumeChange queues a pod when a volume of its own becomes
// known or moves.
func isSchedulableAfterVolumeChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*v1.PersistentVolume](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	ref := after.Spec.ClaimRef
	if ref == nil || !claims(pod, ref.Namespace, ref.Name) {
		return fwk.QueueSkip, nil
	}
	if before != nil && equality.Semantic.DeepEqual(before.Spec.NodeAffinity, after.Spec.NodeAffinity) &&
		equality.Semantic.DeepEqual(before.Spec.ClaimRef, after.Spec.ClaimRef) {
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("A volume of the pod is known or moved, and may choose its domain", "pod", klog.KObj(pod), "volume", klog.KObj(after))
	return fwk.Queue, nil
}

// claims tells whether a volume of the pod, generic ephemeral ones included,
// is the claim.
func claims(pod *v1.Pod, namespace, name string) bool {
	if pod.Namespace != namespace {
		return false
	}
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.PersistentVolumeClaim != nil && volume.PersistentVolumeClaim.ClaimName == name {
			return true
		}
		if volume.Ephemeral != nil && ephemeral.VolumeClaimName(pod, volume) == name {
			return true
		}
	}
	return false
}
