// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
)

// unsettled tells of a running pod that its kubelet has something to do or to say about: it
// has not seen the spec, the sizes are not those of the spec, or a resize has conditions.
func unsettled(pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
		return false
	}
	if pod.Status.ObservedGeneration < pod.Generation || resizing(pod, corev1.PodResizePending) || resizing(pod, corev1.PodResizeInProgress) {
		return true
	}
	sizes := sizesOf(pod)
	return slices.ContainsFunc(statuses(pod), func(cs *corev1.ContainerStatus) bool {
		size, ok := sizes[cs.Name]
		return ok && (cs.Resources == nil ||
			!apiequality.Semantic.DeepEqual(*cs.Resources, size) ||
			!apiequality.Semantic.DeepEqual(cs.AllocatedResources, size.Requests))
	})
}

func resizing(pod *corev1.Pod, kind corev1.PodConditionType) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
}

// sizesOf are the sizes of the spec, by container.
func sizesOf(pod *corev1.Pod) map[string]corev1.ResourceRequirements {
	sizes := map[string]corev1.ResourceRequirements{}
	for c := range containers(pod) {
		sizes[c.Name] = *c.Resources.DeepCopy()
	}
	return sizes
}

// actualSizes are those that the containers have by the pod's status. A container without
// any there has those of the spec.
func actualSizes(pod *corev1.Pod) map[string]corev1.ResourceRequirements {
	sizes := sizesOf(pod)
	for _, cs := range statuses(pod) {
		if _, ok := sizes[cs.Name]; ok && cs.Resources != nil {
			sizes[cs.Name] = *cs.Resources.DeepCopy()
		}
	}
	return sizes
}

// lastAllocated is the pod with what was allocated to it, which a kubelet finds in a file
// of its own. A status names allocated requests, but no allocated limits: they are those of the spec where
// its requests were allocated and are being actuated, and the actual ones elsewhere.
func lastAllocated(pod *corev1.Pod) *corev1.Pod {
	next := pod.DeepCopy()
	actuating := resizing(pod, corev1.PodResizeInProgress)
	for c := range containers(next) {
		for _, cs := range statuses(pod) {
			if cs.Name != c.Name || cs.Resources == nil {
				continue
			}
			if current := apiequality.Semantic.DeepEqual(c.Resources.Requests, cs.AllocatedResources); !current || !actuating {
				c.Resources.Limits = cs.Resources.Limits.DeepCopy()
			}
			c.Resources.Requests = cs.AllocatedResources.DeepCopy()
		}
	}
	return next
}
