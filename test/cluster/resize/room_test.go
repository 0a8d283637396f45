// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"fmt"
	"math/rand"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// TestRoom: who gets room on the node, as the kubelet's own packages decide it.
func TestRoom(t *testing.T) {
	type step struct {
		do   func(w *world)
		want string
	}
	for name, steps := range map[string][]step{
		"what fits is made so": {
			{func(w *world) { w.add("a", "1"); w.resize("a", cpu("4")) }, "a=4"},
			{func(w *world) { w.resize("a", cpu("2")) }, "a=2"},
		},
		"what does not fit waits, with what it has": {
			{func(w *world) { w.add("a", "1"); w.add("b", "2"); w.resize("a", cpu("3")) }, "a=1 Deferred@2, b=2"},
			{func(w *world) { w.remove("b") }, "a=3"},
		},
		"and until something shrinks": {
			{func(w *world) { w.add("a", "1"); w.add("b", "2"); w.resize("a", cpu("3")) }, "a=1 Deferred@2, b=2"},
			{func(w *world) { w.resize("b", cpu("1")) }, "a=3, b=1"},
		},
		"memory is room as well": {
			{func(w *world) { w.add("a", "1"); w.add("b", "1"); w.resize("a", memory("8Gi")) }, "a=1 Deferred@2, b=1"},
		},
		"what was deferred can be taken back": {
			{func(w *world) { w.add("a", "1"); w.add("b", "2"); w.resize("a", cpu("3")) }, "a=1 Deferred@2, b=2"},
			{func(w *world) { w.resize("a", cpu("1")) }, "a=1, b=2"},
		},
		"or be asked for in another way": {
			{func(w *world) { w.add("a", "1"); w.add("b", "2"); w.resize("a", cpu("3")) }, "a=1 Deferred@2, b=2"},
			{func(w *world) { w.resize("a", cpu("2500m")) }, "a=1 Deferred@3, b=2"},
			{func(w *world) { w.resize("a", cpu("2")) }, "a=2, b=2"},
		},
		"others count with what is allocated to them, not with what they wait for": {
			{func(w *world) { w.add("a", "1"); w.add("b", "1"); w.resize("a", cpu("3500m")) }, "a=1 Deferred@2, b=1"},
			{func(w *world) { w.resize("b", cpu("3")) }, "a=1 Deferred@2, b=3"},
		},
		"a shrink that is not actuated frees nothing": {
			{func(w *world) {
				w.add("a", "1")
				w.add("b", "2", annotated(layout.AnnotationResize, "hang"))
				w.resize("b", cpu("1"))
			}, "a=1, b=2(1) InProgress@2"},
			{func(w *world) { w.resize("a", cpu("3")) }, "a=1 Deferred@2, b=2(1) InProgress@2"},
			{func(w *world) { w.change("b", annotated(layout.AnnotationResize, "")) }, "a=3, b=1"},
		},
		"what has ended counts no more, what is to end does": {
			{func(w *world) {
				w.add("a", "1")
				w.add("b", "2")
				w.change("b", func(pod *corev1.Pod) { pod.DeletionTimestamp = pod.Status.StartTime; pod.Finalizers = []string{"x"} })
				w.resize("a", cpu("3"))
			}, "a=1 Deferred@2, b=2"},
			{func(w *world) { w.change("b", func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded }) }, "a=3, b=2"},
		},
		"those that ask for less come first": {
			{func(w *world) {
				w.add("a", "1", priority(9))
				w.add("b", "3")
				w.resize("a", cpu("3"))
				w.resize("b", cpu("1"))
			}, "a=3, b=1"},
		},
		"then those of higher priority": {
			{func(w *world) {
				w.add("a", "1")
				w.add("b", "1", priority(9))
				w.resize("a", cpu("3"))
				w.resize("b", cpu("3"))
			}, "a=1 Deferred@2, b=3"},
		},
		"then the guaranteed": {
			{func(w *world) {
				w.add("a", "1")
				w.add("b", "1", limited)
				w.resize("a", cpu("3"))
				w.resize("b", cpu("3"), limited)
			}, "a=1 Deferred@2, b=3"},
		},
		"the static cpu policy is of the guaranteed, and of cpu": {
			{func(w *world) {
				w.node.Annotations[layout.AnnotationCPUManager] = "static"
				w.add("a", "1", limited)
				w.add("b", "1")
				w.resize("a", cpu("2"), limited)
				w.resize("b", cpu("2"))
			}, "a=1 Infeasible@2, b=2"},
			{func(w *world) { w.resize("a", cpu("1"), memory("2Gi"), limited) }, "a=1, b=2"},
		},
		"what is infeasible is so until the kubelet's configuration changes": {
			{func(w *world) {
				w.node.Annotations[layout.AnnotationCPUManager] = "static"
				w.add("a", "1", limited)
				w.resize("a", cpu("2"), limited)
			}, "a=1 Infeasible@2"},
			{func(w *world) { delete(w.node.Annotations, layout.AnnotationCPUManager) }, "a=2"},
		},
		"and can be taken back": {
			{func(w *world) {
				w.node.Annotations[layout.AnnotationCPUManager] = "static"
				w.add("a", "1", limited)
				w.resize("a", cpu("2"), limited)
			}, "a=1 Infeasible@2"},
			{func(w *world) { w.resize("a", cpu("1"), limited) }, "a=1"},
		},
		"the static memory policy": {
			{func(w *world) {
				w.node.Annotations[layout.AnnotationMemoryManager] = "Static"
				w.add("a", "1", limited)
				w.resize("a", memory("2Gi"), limited)
			}, "a=1 Infeasible@2"},
		},
		"swap is not resized": {
			{func(w *world) {
				w.node.Annotations[layout.AnnotationSwap] = "LimitedSwap"
				w.add("a", "1", memoryLimit("2Gi"))
				w.resize("a", memory("1500Mi"))
				w.add("b", "1", memoryLimit("2Gi"))
				w.resize("b", cpu("2"))
				w.add("c", "1", memoryLimit("1Gi")) // it never swaps
				w.resize("c", cpu("500m"), memory("2Gi"), memoryLimit("2Gi"))
			}, "a=1 Infeasible@2, b=2, c=500m"},
		},
		"unless the container is restarted for it": {
			{func(w *world) {
				w.node.Annotations[layout.AnnotationSwap] = "LimitedSwap"
				w.add("a", "1", memoryLimit("2Gi"), restartsOn(corev1.ResourceMemory))
				w.resize("a", memory("1500Mi"))
			}, "a=1 restarted 1 not ContainersReady not Ready"},
		},
		"other changes of the spec are seen": {
			{func(w *world) { w.add("a", "1"); w.resize("a") }, "a=1"},
		},
		"a kubelet that is dead does nothing": {
			{func(w *world) {
				w.node.Annotations[layout.AnnotationKubelet] = layout.KubeletDead
				w.add("a", "1")
				w.resize("a", cpu("2"))
			}, "a=1 not seen"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, s := range steps {
				s.do(w)
				w.settle()
				w.expect(s.want)
			}
		})
	}
}

// TestRandomResizes: whatever is asked for, and however often the kubelet starts anew.
func TestRandomResizes(t *testing.T) {
	for seed := range int64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewSource(seed))
			w := newWorld(t)
			for _, name := range []string{"a", "b", "c", "d"} {
				w.add(name, "1")
			}
			for range 40 {
				w.stir(r)
				w.settle()
				w.check()
			}
		})
	}
}

// stir does one thing that may happen at any time.
func (w *world) stir(r *rand.Rand) {
	pods := w.pods()
	pod := pods[r.Intn(len(pods))]
	switch r.Intn(8) {
	case 0:
		w.restart()
	case 1:
		w.change(pod.Name, annotated(layout.AnnotationResize, []string{"", "hang", "fail"}[r.Intn(3)]))
	case 2:
		w.remove(pod.Name)
		w.settle() // its successor is placed where there is room for it
		if free := w.free(); free >= 100 {
			w.add(pod.Name, fmt.Sprintf("%dm", 100+r.Int63n(free-99)))
		} else {
			w.add(pod.Name, "0")
		}
	default:
		w.resize(pod.Name, cpu(fmt.Sprintf("%dm", 100*(1+r.Intn(30)))))
	}
}

// held is what the pod keeps from others, in milli cpu.
func held(pod *corev1.Pod) int64 {
	cs := pod.Status.ContainerStatuses[0]
	return max(cs.AllocatedResources.Cpu().MilliValue(), cs.Resources.Requests.Cpu().MilliValue())
}

func (w *world) free() int64 {
	free := resource.MustParse("4")
	left := free.MilliValue()
	for _, pod := range w.pods() {
		left -= held(pod)
	}
	return left
}

// check says what must hold whenever nothing goes on.
func (w *world) check() {
	w.t.Helper()
	free := w.free()
	if free < 0 {
		w.t.Fatalf("more is given than there is: %s", w.show())
	}
	for _, pod := range w.pods() {
		cs := pod.Status.ContainerStatuses[0]
		asked := pod.Spec.Containers[0].Resources.Requests.Cpu()
		deferred, progress := resizing(pod, corev1.PodResizePending), resizing(pod, corev1.PodResizeInProgress)
		switch {
		case pod.Status.ObservedGeneration != pod.Generation:
			w.t.Fatalf("%s is not seen: %s", pod.Name, w.show())
		case deferred != (asked.Cmp(*cs.AllocatedResources.Cpu()) != 0):
			w.t.Fatalf("%s asks for %s: %s", pod.Name, asked, w.show())
		case deferred && asked.MilliValue() <= free+held(pod):
			w.t.Fatalf("%s waits for %s, and %dm are free: %s", pod.Name, asked, free, w.show())
		case progress != (cs.AllocatedResources.Cpu().Cmp(*cs.Resources.Requests.Cpu()) != 0):
			w.t.Fatalf("%s is in progress: %t: %s", pod.Name, progress, w.show())
		case progress && pod.Annotations[layout.AnnotationResize] == "":
			w.t.Fatalf("nothing holds %s: %s", pod.Name, w.show())
		}
	}
}
