// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// Reserve drafts the volumes that will be made for the pod, so that pods in the
// next cycles do not count on the same room.
func (pl *VolumeAffinity) Reserve(_ context.Context, state fwk.CycleState, pod *v1.Pod, nodeName string) *fwk.Status {
	v, err := read(state)
	if err != nil {
		return nil // nothing to say about this pod
	}
	pl.shared.Waiters.Settled(pod)
	if len(v.wanted) == 0 {
		return nil
	}
	node, err := pl.handle.SnapshotSharedLister().NodeInfos().Get(nodeName)
	if err != nil {
		return fwk.AsStatus(fmt.Errorf("node %q that was chosen for pod %s/%s: %w", nodeName, pod.Namespace, pod.Name, err))
	}
	for _, claim := range v.wanted {
		pl.shared.Room.Reserve(claim, nodeName, node.Node().Labels)
		if now, err := pl.claims.PersistentVolumeClaims(claim.Namespace).Get(claim.Name); err != nil || now.Spec.VolumeName != "" {
			pl.shared.Room.Release(claim.Namespace, claim.Name) // bound or gone since it was gathered
		}
	}
	return nil
}

// Unreserve takes the drafts back, and remembers that the pod could not be
// bound at home.
func (pl *VolumeAffinity) Unreserve(_ context.Context, state fwk.CycleState, pod *v1.Pod, nodeName string) {
	v, err := read(state)
	if err != nil {
		return
	}
	if v.home.Certain && nodeName == v.home.Node {
		pl.shared.Homes.HomeFailed(pod, nodeName)
	}
	for _, claim := range v.wanted {
		pl.shared.Claims.GaveUp(claim)
	}
}

// The events of pods that were bound elsewhere than they were before.
const (
	reasonMoved    = "NotOnLastNode"
	reasonAttached = "VolumeStillAttached"
	action         = "Binding"
)

// PostBind tells people why a pod is not where it was, and that it may have to
// wait for its volume.
func (pl *VolumeAffinity) PostBind(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodeName string) {
	v, err := read(state)
	if err != nil {
		return
	}
	if v.home.Node != "" && v.home.Node != nodeName && v.home.Slot != "" {
		pl.tell(ctx, pod, v1.EventTypeNormal, reasonMoved, fmt.Sprintf("%s is on node %q now; on node %q, where it was, %s",
			v.home.Slot, nodeName, v.home.Node, pl.whyNotHome(v)))
	}
	if v.home.Attached == "" || v.home.Attached == nodeName {
		return
	}
	if why := pl.slowToDetach(v.home.Attached); why != "" {
		pl.tell(ctx, pod, v1.EventTypeWarning, reasonAttached, fmt.Sprintf("volume %q is still attached to node %q, %s", v.home.Volume, v.home.Attached, why))
	}
}

// whyNotHome ends a sentence about the home that the pod did not get.
func (pl *VolumeAffinity) whyNotHome(v *verdict) string {
	switch {
	case v.try.done && !v.try.fits:
		return "it does not fit: " + v.try.status.Message()
	case pl.gone(v.home.Node):
		return "nothing can run, since the node is gone"
	default:
		return "it could not stay"
	}
}

func (pl *VolumeAffinity) gone(node string) bool {
	_, err := pl.nodes.Get(node)
	return err != nil
}

// slowToDetach tells why a volume leaves a node only after minutes, empty if it
// does not: the attach-detach controller waits for the kubelet to say that the
// volume is unmounted, and one that is not ready says nothing.
func (pl *VolumeAffinity) slowToDetach(name string) string {
	node, err := pl.nodes.Get(name)
	if err != nil {
		return "which is gone without having unmounted it: it is detached after 6 minutes"
	}
	if ready(node) {
		return ""
	}
	for _, taint := range node.Spec.Taints {
		if taint.Key == v1.TaintNodeOutOfService {
			return "" // detached at once
		}
	}
	return "which is not ready: it is detached once the node unmounts it, or after 6 minutes; if the node is shut down for good, taint it with " + v1.TaintNodeOutOfService
}

func ready(node *v1.Node) bool {
	for i := range node.Status.Conditions {
		if c := &node.Status.Conditions[i]; c.Type == v1.NodeReady {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

func (pl *VolumeAffinity) tell(ctx context.Context, pod *v1.Pod, eventType, reason, message string) {
	klog.FromContext(ctx).V(2).Info(message, "pod", klog.KObj(pod), "reason", reason)
	pl.handle.EventRecorder().Eventf(&v1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
	}, nil, eventType, reason, action, "%s", message)
}
