// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/component-helpers/resource"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
)

// Class is how a change can be made.
type Class string

const (
	// None: there is nothing to change.
	None Class = "None"
	// InPlace: the pod is resized and no container restarts.
	InPlace Class = "InPlace"
	// InPlaceRestart: the pod is resized, and its resizePolicy restarts a container.
	InPlaceRestart Class = "InPlaceRestart"
	// Recreate: the pod is evicted, and its successor gets the size.
	Recreate Class = "Recreate"
	// Impossible: the change can not be made, or only in a way that the update mode rules out.
	Impossible Class = "Impossible"
)

// change is what a pod should become.
type change struct {
	Pod
	// to holds the containers that change, and the pod as it would be.
	to     Sizes
	become *v1.Pod
}

// classify says how a change can be made and why so. A change that no way makes good
// is Impossible in every mode; one that a running pod can not take is left to a
// re-creation where the mode has one.
func classify(c change, ranges []*v1.LimitRange, mode vpav1.UpdateMode) (Class, string) {
	if why := c.never(ranges); why != "" {
		return Impossible, why
	}
	switch mode {
	case vpav1.UpdateModeInPlace, vpav1.UpdateModeInPlaceOrRecreate:
	case vpav1.UpdateModeRecreate:
		return Recreate, "update mode Recreate re-creates pods"
	default:
		return Recreate, fmt.Sprintf("update mode %s changes no running pod", mode)
	}
	if why := c.notInPlace(); why != "" {
		if mode == vpav1.UpdateModeInPlace {
			return Impossible, why + "; update mode InPlace re-creates no pod"
		}
		return Recreate, why
	}
	if unbound(c.Object) {
		return InPlace, "it has no node yet"
	}
	if name, r, ok := c.restarts(); ok {
		return InPlaceRestart, fmt.Sprintf("resizePolicy of container %s restarts it when its %s changes", name, r)
	}
	return InPlace, "no container restarts"
}

// never says what is wrong with the size itself, or with shrinking to it now.
func (c change) never(ranges []*v1.LimitRange) string {
	if _, ok := c.Object.Annotations[v1.MirrorPodAnnotationKey]; ok {
		return "a static pod is changed in its file only"
	}
	if why := outOfRange(c.become, ranges); why != "" {
		return why
	}
	if why := c.abovePod(); why != "" {
		return why
	}
	if was, is := qos.GetPodQOS(c.Object), qos.ComputePodQOS(c.become); was == v1.PodQOSGuaranteed && is != was {
		return fmt.Sprintf("the pod would lose its QoS class Guaranteed and be %s: let the policy control requests and limits", is)
	}
	return c.belowUsage()
}

// abovePod says where containers would ask for more than the pod-level resources,
// which are the user's and stay (validatePodResourceConsistency in
// pkg/apis/core/validation/validation.go).
func (c change) abovePod() string {
	if !resource.IsPodLevelResourcesSet(c.Object) {
		return ""
	}
	sum := resource.PodRequests(c.become, resource.PodResourcesOptions{ExcludeOverhead: true, SkipPodLevelResources: true})
	for _, r := range resizable() {
		if most, ok := c.Object.Spec.Resources.Requests[r]; ok {
			if q := sum[r]; q.Cmp(most) > 0 {
				return fmt.Sprintf("containers would request %s %s, and the pod-level request is %s", q.String(), r, most.String())
			}
		}
		most, ok := c.Object.Spec.Resources.Limits[r]
		for _, container := range c.become.Spec.Containers {
			if q := container.Resources.Limits[r]; ok && q.Cmp(most) > 0 {
				return fmt.Sprintf("container %s would have a %s limit of %s, and the pod-level limit is %s", container.Name, r, q.String(), most.String())
			}
		}
	}
	return ""
}

// belowUsage says which memory limit would be set at or below what is used. The
// kubelet refuses that without a restart (validateMemoryResizeAction in
// pkg/kubelet/kuberuntime/kuberuntime_manager.go), and with one the container would
// run out of memory again.
func (c change) belowUsage() string {
	for _, container := range c.Object.Spec.Containers {
		was, is := container.Resources.Limits[v1.ResourceMemory], c.to[container.Name].Limits[v1.ResourceMemory]
		if is.IsZero() || (!was.IsZero() && is.Cmp(was) >= 0) {
			continue
		}
		if used := int64(c.Usage[container.Name]); used >= is.Value() {
			return fmt.Sprintf("container %s uses %d bytes of memory, and its limit would be %s", container.Name, used, is.String())
		}
	}
	return ""
}

// blind says which memory limit can not be compared with what is used. The kubelet
// would, and refuse.
func (m *member) blind() string {
	for _, container := range m.Object.Spec.Containers {
		was, is := container.Resources.Limits[v1.ResourceMemory], m.to[container.Name].Limits[v1.ResourceMemory]
		if _, known := m.Usage[container.Name]; m.class == InPlace && !known && !is.IsZero() && is.Cmp(was) < 0 {
			return fmt.Sprintf("its memory limit is to shrink, and the usage of container %s is not known", container.Name)
		}
	}
	return ""
}

// notInPlace says what keeps the running pod from this change. API server:
// ValidatePodResize in pkg/apis/core/validation/validation.go and
// plugin/pkg/admission/podresize/admission.go; kubelet: podResizesAdmitHandler in
// pkg/kubelet/allocation/handlers.go; all of Kubernetes 1.36.
func (c change) notInPlace() string {
	was, is := qos.GetPodQOS(c.Object), qos.ComputePodQOS(c.become)
	switch pod := c.Object; {
	case was != is:
		return fmt.Sprintf("a resize can not change the QoS class from %s to %s", was, is)
	case c.Node.Windows || (pod.Spec.OS != nil && pod.Spec.OS.Name == v1.Windows):
		return "pods on Windows are not resized"
	case len(pod.Status.NodeAllocatableResourceClaimStatuses) > 0:
		return "pods with claims of cpu or memory are not resized"
	case !supported(pod):
		return fmt.Sprintf("the kubelet of node %s reports no resources of containers: it can not resize", pod.Spec.NodeName)
	case is == v1.PodQOSGuaranteed && c.Node.StaticCPU && c.changes(v1.ResourceCPU):
		return fmt.Sprintf("node %s has the static cpu manager policy, and the pod is Guaranteed", pod.Spec.NodeName)
	case is == v1.PodQOSGuaranteed && c.Node.StaticMemory && c.changes(v1.ResourceMemory):
		return fmt.Sprintf("node %s has the static memory manager policy, and the pod is Guaranteed", pod.Spec.NodeName)
	}
	if name := c.swaps(is); name != "" {
		return fmt.Sprintf("container %s may swap on node %s, and swap is not resized without a restart", name, c.Object.Spec.NodeName)
	}
	sum := resource.PodRequests(c.become, resource.PodResourcesOptions{})
	for _, r := range resizable() {
		if most, ok := c.Node.Allocatable[r]; ok {
			if q := sum[r]; q.Cmp(most) > 0 {
				return fmt.Sprintf("the pod would request %s %s, and node %s has %s in all", q.String(), r, c.Object.Spec.NodeName, most.String())
			}
		}
	}
	return ""
}

// unbound tells whether the pod has no node yet. The API server resizes such a pod too
// (Validate in plugin/pkg/admission/podresize/admission.go), and nobody has to carry it out.
func unbound(pod *v1.Pod) bool { return pod.Status.Phase == v1.PodPending && pod.Spec.NodeName == "" }

// supported tells whether the kubelet resizes pods, as isPodResizeRequestSupported does.
func supported(pod *v1.Pod) bool {
	for _, cs := range pod.Status.ContainerStatuses {
		if cs.State.Running != nil {
			return cs.Resources != nil
		}
	}
	return true
}

// changes tells whether a request of the resource changes.
func (c change) changes(r v1.ResourceName) bool {
	have := sizesOf(c.Object.Spec.Containers)
	for name, size := range c.to {
		if q := size.Requests[r]; q.Cmp(have[name].Requests[r]) != 0 {
			return true
		}
	}
	return false
}

// swaps names a container whose memory request changes while it swaps, before or
// after (disallowResizeForSwappableContainers and GetContainerSwapBehavior).
func (c change) swaps(class v1.PodQOSClass) string {
	if !c.Node.Swap || class != v1.PodQOSBurstable {
		return ""
	}
	for _, container := range c.Object.Spec.Containers {
		to, ok := c.to[container.Name]
		if !ok {
			continue
		}
		was, is := container.Resources.Requests[v1.ResourceMemory], to.Requests[v1.ResourceMemory]
		if was.Cmp(is) != 0 && policyOf(container, v1.ResourceMemory) != v1.RestartContainer &&
			(maySwap(container.Resources) || maySwap(to)) {
			return container.Name
		}
	}
	return ""
}

func maySwap(size v1.ResourceRequirements) bool {
	request, limit := size.Requests[v1.ResourceMemory], size.Limits[v1.ResourceMemory]
	return request.Cmp(limit) != 0
}

// restarts names a container that the change restarts, and the resource that does it.
func (c change) restarts() (string, v1.ResourceName, bool) {
	for _, container := range c.Object.Spec.Containers {
		to, ok := c.to[container.Name]
		if !ok {
			continue
		}
		for _, r := range resizable() {
			request, limit := to.Requests[r], to.Limits[r]
			changed := request.Cmp(container.Resources.Requests[r]) != 0 || limit.Cmp(container.Resources.Limits[r]) != 0
			if changed && policyOf(container, r) == v1.RestartContainer {
				return container.Name, r, true
			}
		}
	}
	return "", "", false
}

// policyOf is what a change of the resource does to the container; empty is NotRequired.
func policyOf(c v1.Container, r v1.ResourceName) v1.ResourceResizeRestartPolicy {
	for _, p := range c.ResizePolicy {
		if p.ResourceName == r {
			return p.RestartPolicy
		}
	}
	return v1.NotRequired
}
