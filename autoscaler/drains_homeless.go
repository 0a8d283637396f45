// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/plugins/statefulset"
)

// homes are the pods that have a node: by name, and counted by their controller.
type homes struct {
	pods  map[types.NamespacedName]types.UID
	count map[types.UID]int
}

// homes are looked up where there is something to look for.
func (c *Conductor) homes() homes {
	found := homes{pods: map[types.NamespacedName]types.UID{}, count: map[types.UID]int{}}
	if len(c.history.drains.left) == 0 {
		return found
	}
	for _, pod := range c.reader.Pods() {
		if owner := metav1.GetControllerOfNoCopy(pod); owner != nil && pod.Spec.NodeName != "" && pod.DeletionTimestamp == nil && !ended(pod) {
			found.pods[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = pod.UID
			found.count[owner.UID]++
		}
	}
	return found
}

// homeless names a pod that was evicted from the node and whose successor has no node yet; empty if there is none. The
// scheduler may place others before it, and otherwise than the simulation did: then the place that was found for it is
// taken when it comes, and its old node is the one that it can have at once.
func (c *Conductor) homeless(node *corev1.Node, with homes) string {
	left := c.history.drains.left
	left[node.UID] = slices.DeleteFunc(left[node.UID], func(pod *corev1.Pod) bool { return c.housed(pod, with) })
	if len(left[node.UID]) == 0 {
		delete(left, node.UID)
		return ""
	}
	return klog.KObj(left[node.UID][0]).String()
}

// housed tells that what comes after a pod that was evicted has a node, or that nothing comes.
func (c *Conductor) housed(evicted *corev1.Pod, with homes) bool {
	owner := metav1.GetControllerOfNoCopy(evicted)
	if owner == nil {
		return true
	}
	switch owner.Kind {
	case "StatefulSet":
		set, slot := c.reader.StatefulSet(evicted.Namespace, owner.Name), ordinalOf(evicted)
		if set == nil || set.UID != owner.UID || !slices.Contains(ordinals(set, replicasOf(set.Spec.Replicas, nil, scaled{})), slot) {
			return true
		}
		now, ok := with.pods[types.NamespacedName{Namespace: evicted.Namespace, Name: evicted.Name}]
		return ok && now != evicted.UID
	case "ReplicaSet":
		// Of pods that are alike any may be the successor.
		set := c.reader.ReplicaSet(evicted.Namespace, owner.Name)
		return set == nil || set.UID != owner.UID || set.DeletionTimestamp != nil || with.count[set.UID] >= replicasOf(set.Spec.Replicas, nil, scaled{})
	}
	return true // nobody knows who comes
}

func ordinalOf(pod *corev1.Pod) int {
	if slot, ok := statefulset.SlotOf(pod); ok {
		return slot.Ordinal
	}
	return -1
}
