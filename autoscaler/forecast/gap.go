// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// gap is what a workload lacks.
type gap struct {
	missing int
	// decided are the ordinals, or for interchangeable pods the numbers, of
	// missing pods that may be forecast, reserve of those that may follow: each
	// at most as many as the budget.
	decided, reserve queue
	// reason says why there are fewer indices than missing pods; empty when
	// it is the budget.
	reason string
}

// queue is the future pods of a workload one by one.
type queue struct {
	indices []int
	pods    []*v1.Pod
}

func (w Workload) gap(in Input) gap {
	g := gap{missing: w.Lacking()}
	switch {
	case w.Refused != "":
		g.reason = w.Refused
	case w.Template != nil && len(w.Template.Spec.SchedulingGates) > 0:
		g.reason = fmt.Sprintf("its pods wait for the scheduling gate %s", w.Template.Spec.SchedulingGates[0].Name)
	case w.Slots != nil:
		w.findSlots(&g, in)
	case w.unknown() != "":
		g.reason = w.unknown()
	default:
		g.decided.indices = numbers(0, min(g.missing, in.Budget))
		if len(w.Shaped) == 0 {
			g.reserve.indices = numbers(g.missing, g.missing+min(max(0, w.Reserve-max(w.Desired, alive(w.Pods))), in.Budget))
		}
	}
	return g
}

func numbers(from, to int) []int {
	var all []int
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

// unknown says what is not known of a pod to come; empty where enough is.
func (w Workload) unknown() string {
	if w.Template != nil || len(w.Shaped) > 0 {
		return ""
	}
	sample := w.sample("")
	if sample == nil {
		return "its pods have no template that is known, and there is no live one to copy"
	}
	if claim := ownClaim(sample); claim != "" {
		return fmt.Sprintf("its pods have claims of their own, as %s has %s: which are next is known to its operator alone", sample.Name, claim)
	}
	return ""
}

// findSlots finds the missing ordinals. Where they are filled in order, those
// above a pod that cannot become ready are not forecast.
func (w Workload) findSlots(g *gap, in Input) {
	present := make(map[string]*v1.Pod, len(w.Pods))
	for _, pod := range w.Pods {
		present[pod.Name] = pod
	}
	first, after := w.Slots.Start, w.Slots.Start+w.Desired
	g.decided.indices, g.reason = w.vacant(present, first, after, in)
	if g.reason == "" && len(g.decided.indices) == g.missing {
		g.reserve.indices, _ = w.vacant(present, after, w.Slots.Start+w.Reserve, in)
	}
}

// vacant are the first ordinals without a pod, at most as many as the budget,
// and why those above them are not to come yet.
func (w Workload) vacant(present map[string]*v1.Pod, from, to int, in Input) (ordinals []int, why string) {
	for ordinal := from; ordinal < to && len(ordinals) < in.Budget; ordinal++ {
		name := w.slotName(ordinal)
		pod := present[name]
		if pod == nil {
			ordinals = append(ordinals, ordinal)
		}
		if !w.Slots.Ordered {
			continue
		}
		if why := hopeless(pod, in.Unhelped[types.NamespacedName{Namespace: w.Namespace, Name: name}]); why != "" {
			return ordinals, fmt.Sprintf("%s must be ready first and cannot be: %s", name, why)
		}
	}
	return ordinals, ""
}

// hopeless says why a pod, or a future one, cannot become ready, where without
// a node it was found unhelped for that reason; empty when it may.
func hopeless(pod *v1.Pod, unhelped string) string {
	if pod == nil || pod.Spec.NodeName == "" && len(pod.Spec.SchedulingGates) == 0 {
		return unhelped
	}
	return stuck(pod)
}

// Lacking is the number of pods that will come.
func (w Workload) Lacking() int {
	if len(w.Shaped) > 0 {
		return len(w.Shaped)
	}
	if w.Slots == nil {
		return max(0, w.Desired-alive(w.Pods))
	}
	// A slot's pod that is on its way out comes back to the room that it
	// leaves, so it is not counted as lacking until it is gone.
	lacking := w.Desired
	for _, pod := range w.Pods {
		if w.wants(pod) {
			lacking--
		}
	}
	return max(0, lacking)
}

// wants tells that the pod is in a slot that the set will have.
func (w Workload) wants(pod *v1.Pod) bool {
	ordinal, ok := w.ordinal(pod)
	return ok && ordinal >= w.Slots.Start && ordinal < w.Slots.Start+w.Desired
}

func alive(pods []*v1.Pod) int {
	n := 0
	for _, pod := range pods {
		if !over(pod) {
			n++
		}
	}
	return n
}

// over tells that the pod does not count as a replica any more.
func over(pod *v1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}

// stuck says why a pod cannot become ready without someone's help; empty when it may.
func stuck(pod *v1.Pod) string {
	if len(pod.Spec.SchedulingGates) > 0 {
		return "it waits for the scheduling gate " + pod.Spec.SchedulingGates[0].Name
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if status.State.Waiting == nil {
			continue
		}
		switch reason := status.State.Waiting.Reason; reason {
		case "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull",
			"CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return fmt.Sprintf("container %s: %s", status.Name, reason)
		}
	}
	return ""
}
