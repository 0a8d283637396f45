// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	resourcehelpers "k8s.io/component-helpers/resource"
)

// addRequests fills in what each pod requests. One pod without a request, of whatever group, is an error:
// a percentage of it would be a guess. It names the first such pod by name.
func addRequests(samples []sample, pods []*v1.Pod, name v1.ResourceName, container string) error {
	var first error
	var nameless string
	for i, pod := range pods {
		request, err := podRequest(pod, name, container)
		if err != nil && (first == nil || pod.Name < nameless) {
			first, nameless = err, pod.Name
		}
		samples[i].request = request
	}
	return first
}

// podRequest is the request of one container, or of the pod if container is empty, in milli-units: that of the pod
// level where one is set (KEP-2837), else the sum over containers and sidecars.
func podRequest(pod *v1.Pod, name v1.ResourceName, container string) (int64, error) {
	if container == "" && resourcehelpers.IsPodLevelRequestsSet(pod) {
		requests := resourcehelpers.PodRequests(pod, resourcehelpers.PodResourcesOptions{})
		request, found := requests[name]
		if !found {
			return 0, fmt.Errorf("missing pod-level request for %s in Pod %s", name, pod.Name)
		}
		return request.MilliValue(), nil
	}
	var sum int64
	for c := range running(pod) {
		if container != "" && c.Name != container {
			continue
		}
		request, found := c.Resources.Requests[name]
		if !found {
			return 0, fmt.Errorf("missing request for %s in container %s of Pod %s", name, c.Name, pod.Name)
		}
		if container != "" {
			return request.MilliValue(), nil
		}
		sum += request.MilliValue()
	}
	if container != "" {
		return 0, fmt.Errorf("container %s not found in Pod %s", container, pod.Name)
	}
	return sum, nil
}

// running yields the containers, then the sidecars, which run as long as they do.
func running(pod *v1.Pod) func(yield func(*v1.Container) bool) {
	return func(yield func(*v1.Container) bool) {
		for i := range pod.Spec.Containers {
			if !yield(&pod.Spec.Containers[i]) {
				return
			}
		}
		for i := range pod.Spec.InitContainers {
			c := &pod.Spec.InitContainers[i]
			if c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways && !yield(c) {
				return
			}
		}
	}
}
