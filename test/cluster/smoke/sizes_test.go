// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package smoke

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func cpuAndMemory(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

// start makes a pod that requests so much cpu; sized waits until it is ready.
func (c *cluster) start(t *testing.T, name, cpu string, change func(*corev1.Pod)) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "any", Resources: corev1.ResourceRequirements{Requests: cpuAndMemory(cpu, "64Mi")},
		}}},
	}
	if change != nil {
		change(pod)
	}
	if _, err := c.kube.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) sized(t *testing.T, name, cpu string, change func(*corev1.Pod)) {
	t.Helper()
	c.start(t, name, cpu, change)
	c.untilReady(t, name)
}

func (c *cluster) get(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	pod, err := c.kube.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func (c *cluster) tryResize(t *testing.T, name, cpu string) error {
	t.Helper()
	return c.patchSize(t, name, corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}})
}

func (c *cluster) resize(t *testing.T, name, cpu string) {
	t.Helper()
	if err := c.tryResize(t, name, cpu); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) resizeTo(t *testing.T, name string, size corev1.ResourceRequirements) {
	t.Helper()
	if err := c.patchSize(t, name, size); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) patchSize(t *testing.T, name string, size corev1.ResourceRequirements) error {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "main", "resources": size}}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.kube.CoreV1().Pods("default").Patch(t.Context(), name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "resize")
	return err
}

func (c *cluster) annotatePod(t *testing.T, name, key, value string) {
	t.Helper()
	argument := key + "=" + value
	if value == "" {
		argument = key + "-"
	}
	c.command(t, t.Context(), "kubectl", "annotate", "--overwrite", "pod/"+name, argument)
}

// shows waits until the kubelet says of a pod: the cpu it has of the cpu that is allocated
// to it, and the condition of a resize. It must have seen the pod as it is.
func (c *cluster) shows(t *testing.T, name, want string) {
	t.Helper()
	eventually(t, name, func(ctx context.Context) error {
		pod, err := c.kube.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return shows(pod, want)
	})
}

func shows(pod *corev1.Pod, want string) error {
	cs := pod.Status.ContainerStatuses[0]
	got := fmt.Sprintf("%s of %s", cs.Resources.Requests.Cpu(), cs.AllocatedResources.Cpu())
	for _, kind := range []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress} {
		if c := condition(pod, kind); c != nil {
			got += strings.TrimRight(", "+string(kind)+" "+c.Reason, " ")
		}
	}
	if got != want || pod.Status.ObservedGeneration != pod.Generation {
		return fmt.Errorf("got %q of generation %d, want %q of %d", got, pod.Status.ObservedGeneration, want, pod.Generation)
	}
	return nil
}

// follow hears every state of a pod from now on: what lasts for seconds may be over before
// anybody looks. What it returns waits for the first one that shows what is wanted.
func (c *cluster) follow(t *testing.T, name string) (heard func(want string) *corev1.Pod) {
	t.Helper()
	changes, err := c.kube.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(changes.Stop)
	var mu sync.Mutex
	var states []*corev1.Pod
	go func() {
		for event := range changes.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok {
				mu.Lock()
				states = append(states, pod)
				mu.Unlock()
			}
		}
	}()
	return func(want string) (found *corev1.Pod) {
		t.Helper()
		eventually(t, name, func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			var errs []error
			for _, found = range states {
				err := shows(found, want)
				if err == nil {
					return nil
				}
				errs = append(errs, err)
			}
			return fmt.Errorf("%d states: %w", len(states), errors.Join(errs...))
		})
		return found
	}
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

func (c *cluster) unschedulable(t *testing.T, name string) {
	t.Helper()
	eventually(t, name, func(ctx context.Context) error {
		pod, err := c.kube.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if err == nil && !unschedulable(pod) {
			err = fmt.Errorf("it is %s on %q", pod.Status.Phase, pod.Spec.NodeName)
		}
		return err
	})
}

// happened waits for the events of a pod, whoever else has any.
func (c *cluster) happened(t *testing.T, name string, reasons ...string) {
	t.Helper()
	eventually(t, "events", func(ctx context.Context) error {
		list, err := c.kube.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
		if err != nil {
			return err
		}
		seen := map[string]bool{}
		for _, event := range list.Items {
			seen[event.Reason] = true
		}
		for _, reason := range reasons {
			if !seen[reason] {
				return fmt.Errorf("no %s of %s", reason, name)
			}
		}
		return nil
	})
}
