// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
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

type waiting struct {
	pod     *v1.Pod
	volumes []*reach.Volume
	classes []string
}

func newWaiters() *waiters { return &waiters{pods: map[types.UID]waiting{}} }

func (w *waiters) add(pod *v1.Pod, volumes []*reach.Volume, classes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods[pod.UID] = waiting{pod: pod, volumes: volumes, classes: classes}
}

func (w *waiters) remove(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pods, uid)
}

// reaching returns the pods whose volumes are all reached from a node now, and
// were not before.
func (w *waiters) reaching(before, after *v1.Node) []*v1.Pod {
	return w.which(func(pod waiting) bool {
		return len(pod.volumes) > 0 && reached(pod.volumes, after) && (before == nil || !reached(pod.volumes, before))
	})
}

func reached(volumes []*reach.Volume, node *v1.Node) bool {
	return !slices.ContainsFunc(volumes, func(v *reach.Volume) bool { return !v.ReachedFrom(node.Labels) })
}

// of returns the pods that wait for room in a class.
func (w *waiters) of(class string) []*v1.Pod {
	return w.which(func(pod waiting) bool { return slices.Contains(pod.classes, class) })
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
