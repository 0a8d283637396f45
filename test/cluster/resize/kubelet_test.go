// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/test/cluster/layout"
)

func TestResizeTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("a", "1", annotated(layout.AnnotationResizeSeconds, "5"))
		w.add("b", "1", annotated(layout.AnnotationResizeSeconds, "3"))
		w.resize("a", cpu("2"))
		w.resize("b", cpu("2"))
		w.settle()
		w.expect("a=1(2) InProgress@2, b=1(2) InProgress@2")
		w.pass(2900 * time.Millisecond)
		w.expect("a=1(2) InProgress@2, b=1(2) InProgress@2")
		w.pass(100 * time.Millisecond)
		w.expect("a=1(2) InProgress@2, b=2")
		w.pass(2 * time.Second)
		w.expect("a=2, b=2")
	})
}

// TestLaterResize: the time begins anew, and the condition is about the later one.
func TestLaterResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("a", "1", annotated(layout.AnnotationResizeSeconds, "3"))
		w.resize("a", cpu("2"))
		w.settle()
		w.pass(2 * time.Second)
		w.resize("a", cpu("3"))
		w.settle()
		w.expect("a=1(3) InProgress@3")
		w.pass(2 * time.Second)
		w.expect("a=1(3) InProgress@3")
		w.resize("a", cpu("1"))
		w.settle()
		w.expect("a=1")
	})
}

func TestResizeHangs(t *testing.T) {
	w := newWorld(t)
	w.add("a", "1", annotated(layout.AnnotationResize, layout.ResizeHangs))
	w.resize("a", cpu("2"))
	w.settle()
	w.expect("a=1(2) InProgress@2")
	w.restart()
	w.settle()
	w.expect("a=1(2) InProgress@2")
	w.change("a", annotated(layout.AnnotationResize, ""))
	w.settle()
	w.expect("a=2")
	if w.kubelets.on("n") != nil {
		t.Error("a kubelet that has nothing to do is kept")
	}
}

func TestResizeFails(t *testing.T) {
	for name, tc := range map[string]struct {
		before, now []option
		repair      option
		message     string
		want        string
	}{
		"as the annotation says": {
			before:  []option{annotated(layout.AnnotationResize, layout.ResizeFails)},
			now:     []option{cpu("2")},
			repair:  annotated(layout.AnnotationResize, ""),
			message: "annotation cluster.berth.dev/resize is fail",
			want:    "a=2",
		},
		"as the memory is used": {
			before:  []option{memoryLimit("2Gi"), annotated(layout.AnnotationUsageMemory, "1500Mi")},
			now:     []option{cpu("2"), memoryLimit("1500Mi")},
			repair:  annotated(layout.AnnotationUsageMemory, "1400Mi"),
			message: `cannot decrease memory limits: container "main" uses 1500Mi, which is not below 1500Mi`,
			want:    "a=2",
		},
		"but not as long as the limit does not fall": {
			before: []option{memoryLimit("1Gi"), annotated(layout.AnnotationUsageMemory, "3Gi")},
			now:    []option{cpu("2"), memoryLimit("2Gi")},
			want:   "a=2",
		},
		"or the container loses its memory first": {
			before: []option{memoryLimit("2Gi"), annotated(layout.AnnotationUsageMemory, "3Gi"), restartsOn(corev1.ResourceMemory)},
			now:    []option{cpu("2"), memoryLimit("1Gi")},
			want:   "a=2 restarted 1 not ContainersReady not Ready",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add("a", "1", tc.before...)
			w.resize("a", tc.now...)
			w.settle()
			if tc.message != "" {
				w.expect("a=1(2) Error@2")
				for _, c := range w.pod("a").Status.Conditions {
					if c.Type == corev1.PodResizeInProgress && c.Message != tc.message {
						t.Errorf("got  %s\nwant %s", c.Message, tc.message)
					}
				}
				w.change("a", annotated(layout.AnnotationResize, layout.ResizeHangs))
				w.settle()
				w.restart()
				w.settle()
				w.expect("a=1(2) Error@2") // an error stays until it is over
				w.change("a", annotated(layout.AnnotationResize, ""), tc.repair)
				w.settle()
			}
			w.expect(tc.want)
		})
	}
}

// TestRestart: the container is another one, and kwok makes it ready.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.add("a", "1", restartsOn(corev1.ResourceCPU))
	w.add("b", "1", restartsOn(corev1.ResourceMemory))
	w.resize("a", cpu("2"))
	w.resize("b", cpu("2"))
	w.settle()
	w.expect("a=2 restarted 1 not ContainersReady not Ready, b=2")

	pod := w.pod("a")
	cs := pod.Status.ContainerStatuses[0]
	if cs.Ready || cs.LastTerminationState.Terminated == nil || cs.State.Running == nil {
		t.Errorf("the container is %+v", cs)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Message != "containers with unready status: [main]" {
			t.Errorf("not ready: %s", c.Message)
		}
	}
	w.change("a", ready)
	w.settle()
	w.expect("a=2 restarted 1, b=2")
}

// ready is what kwok does.
func ready(pod *corev1.Pod) {
	pod.Status.ContainerStatuses[0].Ready = true
	for i := range pod.Status.Conditions {
		pod.Status.Conditions[i].Status = corev1.ConditionTrue
	}
}

// TestRestartIsNotLost: it is told of until it is written, and the next one counts on from it.
func TestRestartIsNotLost(t *testing.T) {
	w := newWorld(t)
	w.add("a", "1", restartsOn(corev1.ResourceCPU))
	k := newKubelet(klog.Background(), "n", w.kubelets.Events)
	for i, size := range []string{"2", "2", "3"} {
		w.resize("a", cpu(size))
		k.look(klog.Background(), w.node, w.pods())
		want := []int32{1, 1, 2}[i]
		if next := k.report(w.pod("a")); next == nil || next.Status.ContainerStatuses[0].RestartCount != want {
			t.Fatalf("reported, with %s: %v", size, next)
		}
	}
}

func TestSidecarsAreResized(t *testing.T) {
	w := newWorld(t)
	w.add("a", "1", func(pod *corev1.Pod) {
		sidecar := *pod.Spec.Containers[0].DeepCopy()
		sidecar.Name, sidecar.RestartPolicy = "sidecar", new(corev1.ContainerRestartPolicyAlways)
		pod.Spec.InitContainers = []corev1.Container{sidecar}
	})
	w.change("a", func(pod *corev1.Pod) {
		cs := *pod.Status.ContainerStatuses[0].DeepCopy()
		cs.Name = "sidecar"
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{cs}
	})
	w.resize("a", func(pod *corev1.Pod) {
		pod.Spec.InitContainers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("2")
	})
	w.settle()
	if got := w.pod("a").Status.InitContainerStatuses[0]; got.Resources.Requests.Cpu().String() != "2" || got.AllocatedResources.Cpu().String() != "2" {
		t.Errorf("the sidecar has %v, allocated %v", got.Resources, got.AllocatedResources)
	}
	w.expect("a=1")
}

// TestOthersAreLeftAlone: a pod that has what it asks for costs no write and no memory.
func TestOthersAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.add("a", "1")
	w.client.ClearActions()
	if err := w.kubelets.Sync(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	for _, action := range w.client.Actions() {
		if action.GetVerb() != "list" {
			t.Errorf("%s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
	if w.kubelets.on("n") != nil {
		t.Error("there is a kubelet")
	}
	for what, handle := range map[string]func(pod *corev1.Pod){
		"settled": func(pod *corev1.Pod) { w.kubelets.PodHandler().OnAdd(pod, false) },
		"deleted": func(pod *corev1.Pod) {
			pod.DeletionTimestamp = new(metav1.Now())
			w.kubelets.PodHandler().OnUpdate(pod, pod)
		},
		"not here": func(pod *corev1.Pod) {
			pod.Generation, pod.Spec.NodeName = 9, ""
			w.kubelets.PodHandler().OnDelete(pod)
		},
	} {
		if handle(w.pod("a")); w.kubelets.Queue.Len() != 0 {
			t.Errorf("%s: the node is looked at", what)
		}
	}
	w.resize("a", cpu("2"))
	if w.kubelets.PodHandler().OnAdd(w.pod("a"), false); w.kubelets.Queue.Len() != 1 {
		t.Error("a pod that is to be resized is not looked at")
	}
}
