// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"cmp"
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// Created is what the containers of a pod get that is made from a template: requests of what is recommended, and the
// limits that move with them. It is fitted as Decide fits a running pod of that template, so that a successor has the
// size that is asked of it.
//
// It is empty where a LimitRange would refuse the pod: one without its size is better than none.
func Created(template v1.PodSpec, recommended []Recommendation, policy *vpav1.PodResourcePolicy, ranges []*v1.LimitRange) Sizes {
	pod := &v1.Pod{Spec: *template.DeepCopy()}
	setDefaults(&pod.Spec, ranges)
	recs, to := fit(Pod{Object: pod, Containers: recommended}, policy, ranges)
	if outOfRange(to.applied(pod), ranges) != "" {
		return nil
	}
	out := Sizes{}
	for _, r := range recs {
		size := v1.ResourceRequirements{Requests: r.Target}
		for _, name := range resizable() {
			_, moves := r.Target[name]
			limit, limited := to[r.Container].Limits[name]
			if moves && limited && !requestsOnly(policyFor(policy, r.Container)) {
				put(&size.Limits, name, limit)
			}
		}
		out[r.Container] = size
	}
	return out
}

// setDefaults fills in what the API server does before it gives a pod its size: a limit is the request where there is
// none (SetDefaults_Pod in pkg/apis/core/v1/defaults.go), and then LimitRanges have defaults
// (plugin/pkg/admission/limitranger/admission.go: PodMutateLimitFunc). Their minimum and maximum were written into their defaults when they
// were stored. Of several LimitRanges the API server takes any first; here it is the first by name.
func setDefaults(spec *v1.PodSpec, ranges []*v1.LimitRange) {
	ranges = slices.SortedFunc(slices.Values(ranges), func(a, b *v1.LimitRange) int { return cmp.Compare(a.Name, b.Name) })
	for _, containers := range [][]v1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			size := &containers[i].Resources
			fill(&size.Requests, size.Limits)
			for _, r := range ranges {
				// Of several items, the last has the word.
				requests, limits := v1.ResourceList{}, v1.ResourceList{}
				for _, item := range items([]*v1.LimitRange{r}, v1.LimitTypeContainer) {
					maps.Copy(requests, item.DefaultRequest)
					maps.Copy(limits, item.Default)
				}
				fill(&size.Limits, limits)
				fill(&size.Requests, requests)
			}
		}
	}
}

// fill adds what is missing.
func fill(list *v1.ResourceList, from v1.ResourceList) {
	for name, q := range from {
		if _, ok := (*list)[name]; !ok {
			put(list, name, q.DeepCopy())
		}
	}
}
