// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"maps"
	"slices"
	"sync"

	"github.com/berth-dev/berth/plugins/volumeaffinity"
	"github.com/berth-dev/berth/plugins/volumeaffinity/reach"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// waiters are the pods that were judged by what the shared state knew of nodes
// and room, and have no node yet. The state may know of a change a moment later
// than the scheduler's own queue, which then woke a pod too early: the state
// wakes it again.
type waiters struct {
	mu   sync.Mutex
	pods map[types.UID]waiting
}

// waiting is a pod and what it was judged by.
type waiting struct {
	pod *v1.Pod
	volumeaffinity.Judged
}

func newWaiters() *waiters { return &waiters{pods: map[types.UID]waiting{}} }

func (w *waiters) add(pod *v1.Pod, by volumeaffinity.Judged) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods[pod.UID] = waiting{pod: pod, Judged: by}
}

func (w *waiters) remove(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pods, uid)
}

// sweep removes who is not there any more, whose removal may have come first.
func (w *waiters) sweep(there func(*v1.Pod) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.pods, func(_ types.UID, pod waiting) bool { return !there(pod.pod) })
}

// reaching returns the pods whose volumes are all reached from a node with its
// labels as they are, and were not as they were; nil is a node that was not there.
func (w *waiters) reaching(was, is map[string]string) []*v1.Pod {
	return w.which(func(pod waiting) bool {
		return len(pod.Volumes) > 0 && reached(pod.Volumes, is) && (was == nil || !reached(pod.Volumes, was))
	})
}

func reached(volumes []*reach.Volume, labels map[string]string) bool {
	return !slices.ContainsFunc(volumes, func(v *reach.Volume) bool { return !v.ReachedFrom(labels) })
}

// wanting returns the pods that want new volumes of a class.
func (w *waiters) wanting(class string) []*v1.Pod {
	return w.which(func(pod waiting) bool { return slices.Contains(pod.Classes, class) })
}

// contending returns the pods that were judged while others had drafts in a class.
func (w *waiters) contending(class string) []*v1.Pod {
	return w.which(func(pod waiting) bool { return slices.Contains(pod.Contended, class) })
}

// using returns the pods that use a claim.
func (w *waiters) using(claim *v1.PersistentVolumeClaim) []*v1.Pod {
	return w.which(func(pod waiting) bool {
		return pod.pod.Namespace == claim.Namespace && volumeaffinity.Uses(pod.pod, claim.Name)
	})
}

func (w *waiters) which(concerned func(waiting) bool) (pods []*v1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pod := range w.pods {
		if concerned(pod) {
			pods = append(pods, pod.pod)
		}
	}
	return pods
}
