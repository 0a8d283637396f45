// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	"iter"
	"maps"
	"slices"

	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity/capacity"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/util"
)

// Hints read claims and volumes from the informers' stores, which are at least
// as new as the event they are asked about.

// isSchedulableAfterNodeChange queues a pod when a node begins to reach all
// its volumes, or is the one that it has to have.
func (pl *VolumeAffinity) isSchedulableAfterNodeChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*v1.Node](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	g, refusal := pl.gather(pod)
	if refusal != "" || !g.reachedFrom(after) {
		return fwk.QueueSkip, nil
	}
	if home := pl.shared.Homes.Home(pod); home.Required && home.Node != after.Name {
		return fwk.QueueSkip, nil
	}
	// Storage that is still to be made is known by labels, too.
	if before != nil && g.reachedFrom(before) && (len(g.wanted) == 0 || maps.Equal(before.Labels, after.Labels)) {
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("A node came into reach of the pod's volumes", "pod", klog.KObj(pod), "node", klog.KObj(after))
	return fwk.Queue, nil
}

// isSchedulableAfterClaimChange queues a pod when a claim of its own is made,
// gets a volume or is found again, or is to be provisioned for another node.
func (pl *VolumeAffinity) isSchedulableAfterClaimChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*v1.PersistentVolumeClaim](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if after.Namespace != pod.Namespace || !Uses(pod, after.Name) {
		return fwk.QueueSkip, nil
	}
	if before != nil && before.UID == after.UID && before.Spec.VolumeName == after.Spec.VolumeName && before.Status.Phase == after.Status.Phase &&
		before.Annotations[statefulset.SelectedNode] == after.Annotations[statefulset.SelectedNode] {
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("A claim of the pod was made, bound or found again", "pod", klog.KObj(pod), "claim", klog.KObj(after))
	return fwk.Queue, nil
}

// isSchedulableAfterVolumeChange queues a pod when a volume of its own is
// restored, handed to its claim, or moves, and when there is one that a claim
// of it may get.
func (pl *VolumeAffinity) isSchedulableAfterVolumeChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*v1.PersistentVolume](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if before != nil && equality.Semantic.DeepEqual(before.Spec.NodeAffinity, after.Spec.NodeAffinity) &&
		equality.Semantic.DeepEqual(before.Spec.ClaimRef, after.Spec.ClaimRef) {
		return fwk.QueueSkip, nil
	}
	if after.Spec.ClaimRef == nil || after.Spec.ClaimRef.UID == "" {
		if g, refusal := pl.gather(pod); refusal == "" && slices.ContainsFunc(g.wanted, func(claim capacity.Claim) bool { return claim.StorageClass == after.Spec.StorageClassName }) {
			return fwk.Queue, nil
		}
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

// isSchedulableAfterCapacityChange queues a pod when a driver has more room for
// a volume that is to be made for it.
func (pl *VolumeAffinity) isSchedulableAfterCapacityChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*storagev1.CSIStorageCapacity](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if before != nil && !HasMore(before, after) {
		return fwk.QueueSkip, nil
	}
	g, refusal := pl.gather(pod)
	if refusal != "" || !slices.ContainsFunc(g.wanted, func(claim capacity.Claim) bool { return claim.StorageClass == after.StorageClassName }) {
		return fwk.QueueSkip, nil
	}
	pl.shared.Claims.RoomChanged(after.Namespace, after.Name) // the pod may ask before our own handler is called
	logger.V(5).Info("There is more room for a volume of the pod", "pod", klog.KObj(pod), "capacity", klog.KObj(after))
	return fwk.Queue, nil
}

// isSchedulableAfterDriverChange queues a pod when the driver of a volume that
// is to be made for it changes its mind about being asked for room.
func (pl *VolumeAffinity) isSchedulableAfterDriverChange(_ klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := util.As[*storagev1.CSIDriver](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if before != nil && equality.Semantic.DeepEqual(before.Spec.StorageCapacity, after.Spec.StorageCapacity) {
		return fwk.QueueSkip, nil
	}
	for class := range pl.unboundClasses(pod) {
		if is, err := pl.classes.Get(class); err == nil && is.Provisioner == after.Name {
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
}

// isSchedulableAfterClassChange queues a pod when the class of a volume that is
// to be made for it comes or changes.
func (pl *VolumeAffinity) isSchedulableAfterClassChange(_ klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	_, after, err := util.As[*storagev1.StorageClass](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	for class := range pl.unboundClasses(pod) {
		if class == after.Name {
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
}

// unboundClasses yields the classes of a pod's claims without a volume.
func (pl *VolumeAffinity) unboundClasses(pod *v1.Pod) iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range ClaimsOf(pod) {
			claim, err := pl.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
			if err == nil && claim.Spec.VolumeName == "" && !yield(volume.GetPersistentVolumeClaimClass(claim)) {
				return
			}
		}
	}
}

// HasMore tells whether a driver may have room now for a volume for which it had
// none before.
func HasMore(before, after *storagev1.CSIStorageCapacity) bool {
	return more(before.Capacity, after.Capacity) || more(before.MaximumVolumeSize, after.MaximumVolumeSize) ||
		!equality.Semantic.DeepEqual(before.NodeTopology, after.NodeTopology)
}

// more tells whether one amount is above another, nil being none.
func more(before, after *resource.Quantity) bool {
	return after != nil && (before == nil || after.Cmp(*before) > 0)
}

// reachedFrom tells whether a node reaches the bound volumes, and is the one
// that a claim is being provisioned for if one is.
func (g gathered) reachedFrom(node *v1.Node) bool {
	return (g.selectedNode == "" || g.selectedNode == node.Name) &&
		!slices.ContainsFunc(g.bound, func(b bound) bool { return !b.reach.ReachedFrom(node.Labels) })
}
