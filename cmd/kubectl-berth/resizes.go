// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// resizes adds what becomes of the pods: the decision of berth-autoscaler once more. What
// it would ask for before it goes on stays open.
func (r *vpaReport) resizes(s *sizing, known vertical.Recommendation, tuned config.Vertical) {
	if s.podless != "" {
		r.Notes = append(r.Notes, fmt.Sprintf("what becomes of the pods is left out: %s", s.podless))
		return
	}
	recommended := written(s.vpa, known)
	if len(recommended.Containers) == 0 || len(s.Pods) == 0 {
		return
	}
	target := s.resizable(recommended, tuned).Target()
	if acts := r.BerthActs; acts.from != "" || acts.Reason == reasonObserve {
		target.Hold = acts.Message
	}
	decision := resize.Decide(resize.Input{Now: s.now, Config: autoscaler.ResizeConfig(tuned), Targets: []resize.Target{target}, Budgets: s.budgets()})
	for _, told := range decision.Pods {
		r.Pods = append(r.Pods, s.sizedPod(told, target.Workload.Ordered))
	}
}

// written is what the VPA says of each container, with the slots that the checkpoints know.
func written(vpa *vpav1.VerticalPodAutoscaler, known vertical.Recommendation) vertical.Recommendation {
	if vpa.Status.Recommendation == nil {
		return vertical.Recommendation{}
	}
	var out vertical.Recommendation
	for _, one := range vpa.Status.Recommendation.ContainerRecommendations {
		c := vertical.Container{RecommendedContainerResources: one}
		if i := slices.IndexFunc(known.Containers, func(c vertical.Container) bool { return c.ContainerName == one.ContainerName }); i >= 0 {
			c.Slots = known.Containers[i].Slots
		}
		out.Containers = append(out.Containers, c)
	}
	return out
}

// resizable is the VPA with its workload, as one look shows them.
func (s *sizing) resizable(recommended vertical.Recommendation, tuned config.Vertical) autoscaler.Resizable {
	r := autoscaler.Resizable{
		VPA: s.vpa, Recommendation: recommended, Set: s.Set, Deployment: s.Deployment, Replicas: s.Replicas, Pods: s.Pods,
		LimitRanges: s.reader.LimitRanges(s.vpa.Namespace), SlotOf: s.view.slotOf, Node: s.reader.Node, Usage: s.usage,
		StaticCPU: selecting(tuned.StaticCPUNodes), StaticMemory: selecting(tuned.StaticMemoryNodes),
	}
	if policy := s.policy(); policy != nil {
		r.Quorum = policy.Quorum
	}
	return r
}

// policy is the PlacementPolicy of the workload, or nil.
func (s *sizing) policy() *statefulset.Policy {
	if s.Set != nil {
		return s.view.policies.book.OfSet(s.Set)
	}
	for _, pod := range s.Pods {
		if slot, ok := s.view.slotOf(pod); ok {
			return s.view.policies.book.OfSelected(slot.Set)
		}
	}
	return nil
}

// selecting is a selector of the configuration, which has been validated.
func selecting(selector *metav1.LabelSelector) labels.Selector {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return labels.Nothing()
	}
	return parsed
}

// usage is the memory that the containers of a pod use, nil where nobody has measured it.
func (s *sizing) usage(pod *v1.Pod) map[string]resize.Bytes {
	if measured, ok := s.used[pod.Name]; ok {
		return autoscaler.MemoryOf(pod, measured)
	}
	return nil
}

// budgets are those of the namespace with the pods that they cover.
func (s *sizing) budgets() []resize.Budget {
	var all []resize.Budget
	for _, budget := range s.reader.Budgets(s.vpa.Namespace) {
		b := resize.Budget{Object: budget}
		if selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector); err == nil {
			b.Pods = s.reader.PodsOf(s.vpa.Namespace, selector)
		}
		all = append(all, b)
	}
	return all
}

// sizedPod is what is told of one pod.
func (s *sizing) sizedPod(told resize.Explanation, ordered bool) sizedPodReport {
	p := sizedPodReport{Pod: told.Pod, Class: told.Class, Reason: told.Reason, Step: told.Step, Waits: told.Waits,
		change: told.To.Describe(told.From) + ": "}
	if ordered {
		p.Ordinal = &told.Ordinal
	}
	i := slices.IndexFunc(s.Pods, func(pod *v1.Pod) bool { return pod.UID == told.UID })
	p.Node = s.Pods[i].Spec.NodeName
	for _, c := range s.Pods[i].Spec.Containers {
		one := sizedContainerReport{Name: c.Name, Requests: only(c.Resources.Requests), Limits: only(c.Resources.Limits)}
		if has := reported(s.Pods[i], c.Name); has != nil && !same(only(has), one.Requests) {
			one.Actual = only(has)
		}
		if to, changes := told.To[c.Name]; changes {
			one.To = &to
		}
		p.Containers = append(p.Containers, one)
	}
	return p
}

// reported are the requests that the kubelet reports; nil where it reports none.
func reported(pod *v1.Pod, container string) v1.ResourceList {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container && status.Resources != nil {
			return status.Resources.Requests
		}
	}
	return nil
}

// only keeps the resources that a VPA recommends.
func only(list v1.ResourceList) v1.ResourceList {
	var kept v1.ResourceList
	for _, name := range sized() {
		if q := amountOf(list, name); q != nil {
			if kept == nil {
				kept = v1.ResourceList{}
			}
			kept[name] = *q
		}
	}
	return kept
}

func same(a, b v1.ResourceList) bool {
	for _, name := range sized() {
		x, y := a[name], b[name]
		if x.Cmp(y) != 0 {
			return false
		}
	}
	return true
}
