// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package smoke

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestResize: each part has the node of 4 cpu to itself.
func TestResize(t *testing.T) {
	c := up(t, "smoke-resize", "--nodes=1", "--zones=1", "--metrics-adapter=false")
	for _, part := range []struct {
		what  string
		check func(t *testing.T, c *cluster)
	}{
		{"what fits is made so, and nothing restarts", resizedInPlace},
		{"more than the node has is refused by the API server", refusedResize},
		{"what waits for room reserves it", deferredResize},
		{"what is infeasible reserves nothing", infeasibleResize},
		{"a container is restarted, and its pod gets ready again", restartingResize},
		{"a resize can be slow, hang and fail", slowResize},
		{"memory in use is not taken away", memoryInUse},
	} {
		if !t.Run(part.what, func(t *testing.T) { part.check(t, c) }) {
			return
		}
		c.command(t, t.Context(), "kubectl", "delete", "pods", "--all", "--wait")
	}
}

func resizedInPlace(t *testing.T, c *cluster) {
	c.sized(t, "db", "1", nil)
	before := c.get(t, "db")
	if cs := before.Status.ContainerStatuses[0]; cs.Resources == nil || cs.AllocatedResources.Cpu().String() != "1" || before.Status.ObservedGeneration != before.Generation {
		t.Errorf("it started with %+v, generation %d", cs, before.Status.ObservedGeneration)
	}
	for _, size := range []string{"3", "500m"} {
		c.resize(t, "db", size)
		c.shows(t, "db", size+" of "+size)
	}
	after := c.get(t, "db")
	if cs := after.Status.ContainerStatuses[0]; cs.RestartCount != 0 || !ready(after) || after.UID != before.UID || after.Generation != before.Generation+2 {
		t.Errorf("restarted %d times, ready %t, generation %d after %d", cs.RestartCount, ready(after), after.Generation, before.Generation)
	}
	c.happened(t, "db", "ResizeStarted", "ResizeCompleted")
}

func refusedResize(t *testing.T, c *cluster) {
	c.sized(t, "db", "1", nil)
	if err := c.tryResize(t, "db", "4100m"); !apierrors.IsForbidden(err) {
		t.Errorf("got %v", err)
	}
}

func deferredResize(t *testing.T, c *cluster) {
	c.sized(t, "db", "1", nil)
	c.sized(t, "beside", "2", nil)
	c.resize(t, "db", "2500m")
	c.shows(t, "db", "1 of 1, PodResizePending Deferred")
	c.happened(t, "db", "ResizeDeferred")

	// By what is allocated there is room for one more; kube-scheduler counts what is asked for.
	c.start(t, "late", "500m", nil)
	c.unschedulable(t, "late")
	c.component(t, "restart", "berth-storage")
	c.shows(t, "db", "1 of 1, PodResizePending Deferred")

	c.annotatePod(t, "beside", "cluster.berth.dev/resize", "hang")
	c.resize(t, "beside", "500m")
	c.shows(t, "beside", "2 of 500m, PodResizeInProgress")
	c.shows(t, "db", "1 of 1, PodResizePending Deferred")
	c.unschedulable(t, "late")
	c.annotatePod(t, "beside", "cluster.berth.dev/resize", "")
	c.shows(t, "beside", "500m of 500m")
	c.shows(t, "db", "2500m of 2500m")
	c.untilReady(t, "late")
}

func infeasibleResize(t *testing.T, c *cluster) {
	c.annotate(t, "node-a-0", "cluster.berth.dev/cpu-manager", "static")
	defer c.annotate(t, "node-a-0", "cluster.berth.dev/cpu-manager", "")
	guaranteed := func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Resources.Limits = pod.Spec.Containers[0].Resources.Requests
	}
	c.sized(t, "db", "1", guaranteed)
	c.resizeTo(t, "db", corev1.ResourceRequirements{Requests: cpuAndMemory("3", "64Mi"), Limits: cpuAndMemory("3", "64Mi")})
	c.shows(t, "db", "1 of 1, PodResizePending Infeasible")
	c.sized(t, "beside", "2500m", nil)
}

func restartingResize(t *testing.T, c *cluster) {
	c.sized(t, "db", "1", func(pod *corev1.Pod) {
		pod.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}}
		pod.Annotations = map[string]string{"cluster.berth.dev/ready-seconds": "2"}
	})
	heard := c.follow(t, "db")
	c.resize(t, "db", "2")
	pod := heard("2 of 2")
	if cs := pod.Status.ContainerStatuses[0]; ready(pod) || cs.Ready || cs.RestartCount != 1 || cs.LastTerminationState.Terminated == nil {
		t.Errorf("after the restart: %+v", pod.Status)
	}
	c.untilReady(t, "db")
	pod = c.get(t, "db")
	cs := pod.Status.ContainerStatuses[0]
	if cs.RestartCount != 1 || !cs.Ready || cs.Resources.Requests.Cpu().String() != "2" {
		t.Errorf("once it is ready: %+v", cs)
	}
	for _, condition := range pod.Status.Conditions {
		if took := condition.LastTransitionTime.Sub(cs.State.Running.StartedAt.Time); condition.Type == corev1.PodReady && took < 2*time.Second {
			t.Errorf("ready %s after the restart, want two seconds", took)
		}
	}
}

func slowResize(t *testing.T, c *cluster) {
	c.sized(t, "db", "1", nil)
	c.annotatePod(t, "db", "cluster.berth.dev/resize-seconds", "3")
	heard := c.follow(t, "db")
	c.resize(t, "db", "2")
	begun := condition(heard("1 of 2, PodResizeInProgress"), corev1.PodResizeInProgress).LastTransitionTime
	c.shows(t, "db", "2 of 2")
	if took := time.Since(begun.Time); took < 3*time.Second {
		t.Errorf("it took %s, want three seconds", took)
	}

	c.annotatePod(t, "db", "cluster.berth.dev/resize-seconds", "")
	c.annotatePod(t, "db", "cluster.berth.dev/resize", "fail")
	c.resize(t, "db", "3")
	c.shows(t, "db", "2 of 3, PodResizeInProgress Error")
	c.happened(t, "db", "ResizeError")
	c.annotatePod(t, "db", "cluster.berth.dev/resize", "hang")
	c.shows(t, "db", "2 of 3, PodResizeInProgress Error")
	c.resize(t, "db", "2")
	c.shows(t, "db", "2 of 2")
}

func memoryInUse(t *testing.T, c *cluster) {
	size := func(memory string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: cpuAndMemory("1", "32Mi"), Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}}
	}
	c.sized(t, "db", "1", func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{"kwok.x-k8s.io/usage-memory": "100Mi"}
		pod.Spec.Containers[0].Resources = size("128Mi")
	})
	c.resizeTo(t, "db", size("64Mi"))
	c.shows(t, "db", "1 of 1, PodResizeInProgress Error")
	c.annotatePod(t, "db", "kwok.x-k8s.io/usage-memory", "50Mi")
	c.shows(t, "db", "1 of 1")
	if limit := c.get(t, "db").Status.ContainerStatuses[0].Resources.Limits.Memory(); limit.String() != "64Mi" {
		t.Errorf("its limit is %s", limit)
	}
}
