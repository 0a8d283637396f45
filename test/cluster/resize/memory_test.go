// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// TestPodStartsWithLess: what grew before it started is not changed afterwards.
func TestPodStartsWithLess(t *testing.T) {
	w := newWorld(t)
	w.add("a", "1", annotated(layout.AnnotationResize, layout.ResizeHangs))
	w.change("a", func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodPending })
	w.add("b", "1", annotated(layout.AnnotationResize, layout.ResizeHangs))
	w.resize("b", cpu("2"))
	w.settle()
	w.resize("a", cpu("2"))
	w.settle()
	w.change("a", startedByKwok)
	w.settle()
	w.expect("a=2, b=1(2) InProgress@2")
}

// TestPodStartsWithMore: kwok starts a pod with what the spec asks for, of which less was
// allocated when the kubelet saw it first.
func TestPodStartsWithMore(t *testing.T) {
	w := newWorld(t)
	w.add("a", "1")
	w.add("b", "2")
	w.change("a", func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodPending })
	w.change("b", annotated(layout.AnnotationResize, layout.ResizeHangs))
	w.resize("b", cpu("1")) // somebody to have a kubelet for
	w.settle()
	w.resize("a", cpu("3"))
	w.settle()
	w.change("a", startedByKwok)
	w.settle()
	w.expect("a=1 Deferred@2, b=2(1) InProgress@2")
}

// startedByKwok gives a pod what its spec asks for.
func startedByKwok(pod *corev1.Pod) {
	pod.Status.Phase, pod.Status.ObservedGeneration = corev1.PodRunning, pod.Generation
	for i := range pod.Status.Conditions {
		pod.Status.Conditions[i].ObservedGeneration = pod.Generation
	}
	pod.Status.ContainerStatuses[0].Resources = pod.Spec.Containers[0].Resources.DeepCopy()
	pod.Status.ContainerStatuses[0].AllocatedResources = pod.Spec.Containers[0].Resources.Requests
}

func TestLastAllocated(t *testing.T) {
	size := func(request, limit string) corev1.ResourceRequirements {
		out := corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(request)}}
		if limit != "" {
			out.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(limit)}
		}
		return out
	}
	for name, tc := range map[string]struct {
		spec, actual corev1.ResourceRequirements
		allocated    string
		actuating    bool
		want         corev1.ResourceRequirements
	}{
		"what runs as asked":              {spec: size("1", "2"), actual: size("1", "2"), allocated: "1", want: size("1", "2")},
		"what is not allocated yet":       {spec: size("3", "4"), actual: size("1", "2"), allocated: "1", want: size("1", "2")},
		"what is allocated, not actuated": {spec: size("3", "4"), actual: size("1", "2"), allocated: "3", actuating: true, want: size("3", "4")},
		"limits that are not allocated":   {spec: size("1", "4"), actual: size("1", "2"), allocated: "1", want: size("1", "2")},
		"limits that are":                 {spec: size("1", "4"), actual: size("1", "2"), allocated: "1", actuating: true, want: size("1", "4")},
		"one allocated, another asked":    {spec: size("5", "6"), actual: size("1", "2"), allocated: "3", actuating: true, want: size("3", "2")},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Resources: tc.spec}}},
				Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
					Name: "main", Resources: &tc.actual, AllocatedResources: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(tc.allocated)},
				}}},
			}
			if tc.actuating {
				pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue}}
			}
			if diff := cmp.Diff(tc.want, lastAllocated(pod).Spec.Containers[0].Resources); diff != "" {
				t.Errorf("allocated (-want +got):\n%s", diff)
			}
		})
	}
}
