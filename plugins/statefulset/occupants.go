// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"iter"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Occupants are the pods that fill a slot: one that stays on its node, one that
// leaves it, and one that waits for a node. Each may be nil.
type Occupants struct {
	Stays, Leaves, Waits *corev1.Pod
}

// OccupantsOf finds those of a slot among pods, which may be nil. Those that
// have ended take no room.
func OccupantsOf(slot Slot, pods iter.Seq[*corev1.Pod], slotOf func(*corev1.Pod) (Slot, bool)) (found Occupants) {
	for pod := range pods {
		if pod == nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		if its, fills := slotOf(pod); !fills || its != slot {
			continue
		}
		switch {
		case pod.Spec.NodeName == "":
			found.Waits = pod
		case pod.DeletionTimestamp == nil:
			found.Stays = pod
		default:
			found.Leaves = pod
		}
	}
	return found
}

// NodeGoes tells whether a node is cordoned, or marked by an autoscaler to go.
func NodeGoes(node *corev1.Node) bool {
	return node.Spec.Unschedulable || slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == DrainTaint })
}
