// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/kwok/pkg/utils/gotpl"
	"sigs.k8s.io/kwok/pkg/utils/lifecycle"
)

// played is the pod after the one stage that comes next, written as kwok writes it, and the
// version that this must be written on; empty for any.
func played(t *testing.T, pod *corev1.Pod) (after *corev1.Pod, version string) {
	t.Helper()
	stages := matching(t, DefaultOptions(), "Pod", eventOf(pod))
	if len(stages) != 1 {
		t.Fatalf("%d stages come next", len(stages))
	}
	address := func(...any) string { return "10.0.0.1" }
	renderer := gotpl.NewRenderer(gotpl.FuncMap{"NodeIPWith": address, "PodIPWith": address})
	after = &corev1.Pod{}
	write := func(patch *lifecycle.Patch) error {
		if patch.Subresource != "status" {
			t.Errorf("it writes %q", patch.Subresource)
		}
		before, err := json.Marshal(pod)
		if err != nil {
			return err
		}
		written := &corev1.Pod{}
		if err := json.Unmarshal(patch.Data, written); err != nil {
			return fmt.Errorf("%w: %s", err, patch.Data)
		}
		version = written.ResourceVersion
		merged, err := strategicpatch.StrategicMergePatch(before, patch.Data, pod)
		if err != nil {
			return fmt.Errorf("%w: %s", err, patch.Data)
		}
		return json.Unmarshal(merged, after)
	}
	if _, err := stages[0].DoSteps(0, nil, pod, renderer, nil, nil, write, nil); err != nil {
		t.Fatal(err)
	}
	return stored(t, after), version
}

// stored is the pod as the API server keeps it: nothing is empty, no time has fractions.
func stored(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	data, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	pod = &corev1.Pod{}
	if err := json.Unmarshal(data, pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

func running(name string, since metav1.Time) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, Started: new(true), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: since}}}
}

// TestPodStatusOfSizes: a pod starts with what it asks for, and the rest of kwok's writes leave that alone.
func TestPodStatusOfSizes(t *testing.T) {
	sidecar := corev1.ContainerRestartPolicyAlways
	sized := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "pod", Generation: 3, ResourceVersion: "7", Annotations: map[string]string{AnnotationReadySeconds: "0"}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "init", Resources: sized}, {Name: "side", Resources: sized, RestartPolicy: &sidecar}},
			Containers:     []corev1.Container{{Name: "main", Resources: sized}, {Name: "free"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	pod, _ = played(t, pod)
	if pod.Status.ObservedGeneration != 3 || pod.Status.Conditions[0].ObservedGeneration != 3 {
		t.Errorf("generation %d, of conditions %v, want 3", pod.Status.ObservedGeneration, pod.Status.Conditions)
	}
	for _, cs := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		want := sized
		if cs.Name == "free" {
			want = corev1.ResourceRequirements{}
		}
		if diff := cmp.Diff(&want, cs.Resources); diff != "" {
			t.Errorf("resources of %s (-want +got):\n%s", cs.Name, diff)
		}
		if diff := cmp.Diff(want.Requests, cs.AllocatedResources); diff != "" {
			t.Errorf("allocated to %s (-want +got):\n%s", cs.Name, diff)
		}
	}

	// A resize restarts two containers and takes cpu from one.
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady || c.Type == corev1.ContainersReady {
			c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ContainersNotReady", "x"
		}
	}
	for _, cs := range []*corev1.ContainerStatus{&pod.Status.InitContainerStatuses[1], &pod.Status.ContainerStatuses[0]} {
		cs.Ready, cs.RestartCount = false, 2
		cs.Resources.Requests[corev1.ResourceCPU] = resource.MustParse("400m")
		cs.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "Completed"}
	}
	want := pod.DeepCopy()
	want.Status.InitContainerStatuses[1].Ready, want.Status.ContainerStatuses[0].Ready = true, true
	pod, version := played(t, pod)
	if version != "7" {
		t.Errorf("it is written on version %q, which another resize may have", version)
	}
	if diff := cmp.Diff(want.Status.ContainerStatuses, pod.Status.ContainerStatuses); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Status.InitContainerStatuses, pod.Status.InitContainerStatuses); diff != "" {
		t.Errorf("init containers (-want +got):\n%s", diff)
	}
	for _, c := range pod.Status.Conditions {
		if c.Status != corev1.ConditionTrue || c.Reason != "" || c.Message != "" {
			t.Errorf("condition %+v", c)
		}
	}
}
