// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"slices"

	v1 "k8s.io/api/core/v1"
)

// Size is what the API server gives a container that is created, by the policy
// in manifests/policies/pod-sizes.yaml.
type Size struct {
	// Slot is the ordinal that it is for, empty for any.
	Slot      string
	Container string
	Requests  v1.ResourceList
	Limits    v1.ResourceList
}

// resize gives the containers of a pod the sizes that are for its slot, as the
// policy does: a limit is changed and never added, and no request is above its limit.
func resize(pod *v1.Pod, slot string, sizes []Size) {
	if pod.Spec.Resources != nil {
		return
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			resizeContainer(c, slot, sizes)
		}
	}
	for i := range pod.Spec.Containers {
		resizeContainer(&pod.Spec.Containers[i], slot, sizes)
	}
}

func resizeContainer(c *v1.Container, slot string, sizes []Size) {
	i := slices.IndexFunc(sizes, func(s Size) bool { return s.Container == c.Name && (s.Slot == "" || s.Slot == slot) })
	if i < 0 {
		return
	}
	size, of := sizes[i], &c.Resources
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		request, asked := size.Requests[name]
		limit, limited := of.Limits[name]
		next, changes := size.Limits[name]
		if changes {
			limit = next
		}
		if !asked || limited && request.Cmp(limit) > 0 {
			continue
		}
		if of.Requests == nil {
			of.Requests = v1.ResourceList{}
		}
		of.Requests[name] = request
		if limited && changes {
			of.Limits[name] = next
		}
	}
}

// unsize gives a copy of a pod that was resized the resources of the template.
// What the template does not say, admission has said.
func unsize(pod *v1.Pod, template *v1.PodTemplateSpec) {
	resources := map[string]v1.ResourceRequirements{}
	for _, c := range slices.Concat(template.Spec.InitContainers, template.Spec.Containers) {
		resources[c.Name] = c.Resources
	}
	for _, containers := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			to := resources[containers[i].Name]
			put(containers[i].Resources.Requests, to.Requests)
			put(containers[i].Resources.Limits, to.Limits)
		}
	}
}

func put(list, over v1.ResourceList) {
	for name, amount := range over {
		if _, ok := list[name]; ok {
			list[name] = amount
		}
	}
}
