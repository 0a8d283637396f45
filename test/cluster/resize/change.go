// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"fmt"
	"iter"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// change is a container and the sizes that it has until now.
type change struct {
	*corev1.Container
	from     corev1.ResourceRequirements
	restarts bool
}

// changesOf are the containers of a pod whose cpu or memory is not the actual one.
func changesOf(pod *corev1.Pod, actual map[string]corev1.ResourceRequirements) []change {
	var changes []change
	for c := range containers(pod) {
		ch := change{Container: c, from: actual[c.Name]}
		changed := false
		for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if equal(ch.from.Requests, c.Resources.Requests, r) && equal(ch.from.Limits, c.Resources.Limits, r) {
				continue
			}
			changed = true
			ch.restarts = ch.restarts || restartsFor(c, r)
		}
		if changed {
			changes = append(changes, ch)
		}
	}
	return changes
}

func equal(a, b corev1.ResourceList, r corev1.ResourceName) bool {
	x, y := a[r], b[r]
	return x.Cmp(y) == 0
}

func restartsFor(c *corev1.Container, r corev1.ResourceName) bool {
	for _, p := range c.ResizePolicy {
		if p.ResourceName == r {
			return p.RestartPolicy == corev1.RestartContainer
		}
	}
	return false
}

// containers are those that run on and on, in the order of the spec: init containers that
// have run their course have no size to change.
func containers(pod *corev1.Pod) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for i := range pod.Spec.InitContainers {
			c := &pod.Spec.InitContainers[i]
			if sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways; sidecar && !yield(c) {
				return
			}
		}
		for i := range pod.Spec.Containers {
			if !yield(&pod.Spec.Containers[i]) {
				return
			}
		}
	}
}

// delay is how long the kubelet takes over a resize of the pod.
func delay(pod *corev1.Pod) time.Duration {
	seconds, err := strconv.ParseFloat(pod.Annotations[layout.AnnotationResizeSeconds], 64)
	if err != nil {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// obstacle says why the containers can not be changed: the pod's annotation wants it so, or a
// container that goes on would get a memory limit that it uses up
// (pkg/kubelet/kuberuntime/kuberuntime_manager.go: validateMemoryResizeAction).
func obstacle(pod *corev1.Pod, changes []change) string {
	if pod.Annotations[layout.AnnotationResize] == layout.ResizeFails {
		return fmt.Sprintf("annotation %s is %s", layout.AnnotationResize, layout.ResizeFails)
	}
	used, err := resource.ParseQuantity(pod.Annotations[layout.AnnotationUsageMemory])
	if err != nil {
		return ""
	}
	for _, ch := range changes {
		limit, has := ch.Resources.Limits[corev1.ResourceMemory]
		before, had := ch.from.Limits[corev1.ResourceMemory]
		if lower := has && (!had || limit.Cmp(before) < 0); lower && !ch.restarts && used.Cmp(limit) >= 0 {
			return fmt.Sprintf("cannot decrease memory limits: container %q uses %s, which is not below %s", ch.Name, used.String(), limit.String())
		}
	}
	return ""
}

// carryOut makes the changes.
func (r *running) carryOut(pod *corev1.Pod, changes []change) {
	for _, ch := range changes {
		r.actual[ch.Name] = *ch.Resources.DeepCopy()
		if !ch.restarts {
			continue
		}
		for _, cs := range statuses(pod) {
			if cs.Name == ch.Name {
				count := max(cs.RestartCount, r.restarts[ch.Name].count) + 1
				r.restarts[ch.Name] = restart{count: count, at: metav1.Now().Rfc3339Copy()}
			}
		}
	}
}

// statuses are those of all containers of the pod.
func statuses(pod *corev1.Pod) []*corev1.ContainerStatus {
	var all []*corev1.ContainerStatus
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			all = append(all, &list[i])
		}
	}
	return all
}
