// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package forecast turns replica decisions into the pods that will exist once
// they are carried out.
//
// Decide is a pure function. A future pod looks to the scheduler's plugins as
// the real one will: a slot of a set has its ordinal's name, labels and claims,
// and all missing ordinals are returned at once, whatever the set's pod
// management policy. Pods that exist are never returned again, and a claim
// that exists is never returned as one to come.
//
// Pods are copies of a live pod of the same revision, with what admission has
// put into it, or are made from the template where there is none. The number
// of pods is bounded by a budget that is shared evenly, lower ordinals first.
package forecast

import (
	"cmp"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Input is everything that a forecast depends on.
type Input struct {
	// Budget is the most pods that are returned.
	Budget    int
	Workloads []Workload
	// DefaultStorageClass is the class of claims that name none.
	DefaultStorageClass string
}

// Workload is something that has replicas. OfSet and OfDeployment make it from
// API objects.
type Workload struct {
	Kind            string
	Namespace, Name string
	// Desired is the number of replicas after this round's decision.
	Desired int
	// Controller will own the pods; nil while it does not exist.
	Controller *metav1.OwnerReference
	// Template is what pods are made from where there is no sample.
	Template v1.PodTemplateSpec
	// RevisionLabel and Revision are carried by pods made from Template.
	RevisionLabel, Revision string
	// Pods are the existing pods.
	Pods []*v1.Pod
	// Slots is nil for a workload whose pods are interchangeable.
	Slots *Slots
}

// Slots is what makes the pods of a set different from each other.
type Slots struct {
	// Start is the first ordinal.
	Start int
	// Ordered tells that a slot is filled when all lower ones are ready.
	Ordered bool
	// Service is the name of the governing service.
	Service string
	// Selector labels every claim.
	Selector map[string]string
	// Claims are the claim templates, Existing the names of the claims that exist.
	Claims   []v1.PersistentVolumeClaim
	Existing map[string]bool
}

// Decision is what will exist.
type Decision struct {
	Pods []*v1.Pod
	// Claims are those of Pods that do not exist yet.
	Claims []*v1.PersistentVolumeClaim
	// Held are the workloads that lack pods which are not returned, and why.
	Held []Held
}

// Held is a number of missing pods that are not forecast.
type Held struct {
	Kind            string
	Namespace, Name string
	Pods            int
	Reason          string
}

// Decide decides.
func Decide(in Input) Decision {
	workloads := slices.SortedFunc(slices.Values(in.Workloads), func(a, b Workload) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	var d Decision
	gaps := make([]gap, len(workloads))
	for i, w := range workloads {
		gaps[i] = w.gap(in.Budget)
	}
	share(gaps, in.Budget)
	for i, w := range workloads {
		g := gaps[i]
		if held := g.missing - g.granted; held > 0 {
			reason := g.reason
			if reason == "" {
				reason = fmt.Sprintf("the budget of %d future pods is used up", in.Budget)
			}
			d.Held = append(d.Held, Held{w.Kind, w.Namespace, w.Name, held, reason})
		}
		sample := w.sample()
		for _, index := range g.indices[:g.granted] {
			pod := w.pod(sample, index)
			d.Pods = append(d.Pods, pod)
			d.Claims = append(d.Claims, w.claims(index, in.DefaultStorageClass)...)
		}
	}
	return d
}

// gap is what a workload lacks.
type gap struct {
	missing int
	// indices are the ordinals, or for interchangeable pods the numbers, of
	// those that may be forecast, at most as many as the budget.
	indices []int
	granted int
	// reason says why there are fewer indices than missing pods; empty when
	// it is the budget.
	reason string
}

func (w Workload) gap(budget int) gap {
	if len(w.Template.Spec.SchedulingGates) > 0 {
		return gap{missing: w.lacking(), reason: fmt.Sprintf("its pods wait for the scheduling gate %s", w.Template.Spec.SchedulingGates[0].Name)}
	}
	if w.Slots == nil {
		g := gap{missing: w.lacking()}
		for i := range min(g.missing, budget) {
			g.indices = append(g.indices, i)
		}
		return g
	}
	return w.slotGap(budget)
}

// slotGap finds the missing ordinals. Where they are filled in order, those
// above a pod that cannot become ready are not forecast.
func (w Workload) slotGap(budget int) gap {
	present := make(map[string]*v1.Pod, len(w.Pods))
	for _, pod := range w.Pods {
		present[pod.Name] = pod
	}
	g := gap{missing: w.lacking()}
	for ordinal := w.Slots.Start; ordinal < w.Slots.Start+w.Desired && len(g.indices) < min(budget, g.missing); ordinal++ {
		pod := present[w.slotName(ordinal)]
		if pod == nil {
			g.indices = append(g.indices, ordinal)
			continue
		}
		if why := stuck(pod); why != "" && w.Slots.Ordered {
			g.reason = fmt.Sprintf("%s must be ready first and cannot be: %s", pod.Name, why)
			break
		}
	}
	return g
}

// lacking is the number of pods that will come.
func (w Workload) lacking() int {
	if w.Slots == nil {
		return max(0, w.Desired-len(slices.DeleteFunc(slices.Clone(w.Pods), over)))
	}
	// A slot's pod that is on its way out comes back to the room that it
	// leaves, so it is not counted as lacking until it is gone.
	lacking := w.Desired
	for _, pod := range w.Pods {
		if ordinal, ok := w.ordinal(pod); ok && ordinal >= w.Slots.Start && ordinal < w.Slots.Start+w.Desired {
			lacking--
		}
	}
	return max(0, lacking)
}

// over tells that the pod does not count as a replica any more.
func over(pod *v1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}

// share grants the budget evenly: one pod to each that still lacks one, in
// their order, until it is used up.
func share(gaps []gap, budget int) {
	for granted := true; granted && budget > 0; {
		granted = false
		for i := range gaps {
			if g := &gaps[i]; budget > 0 && g.granted < len(g.indices) {
				g.granted++
				budget--
				granted = true
			}
		}
	}
}

// stuck says why a pod cannot become ready without someone's help; empty when it may.
func stuck(pod *v1.Pod) string {
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
