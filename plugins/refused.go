// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"maps"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// refused are the pods that were refused a node for the room that is kept
// there, and have no node yet. They are woken when less is kept.
//
// The queue has a pod that is woken while it is tried wait out its back-off. So
// that one is woken once more, a moment after it was tried.
type refused struct {
	mu     sync.Mutex
	byNode map[string]map[types.UID]*v1.Pod
	byPod  map[types.UID]map[string]struct{}
	tried  types.UID // the one that is tried now, or was last: one is at a time
	again  map[types.UID]*v1.Pod
}

func newRefused() *refused {
	return &refused{byNode: map[string]map[types.UID]*v1.Pod{}, byPod: map[types.UID]map[string]struct{}{}, again: map[types.UID]*v1.Pod{}}
}

func (r *refused) add(pod *v1.Pod, node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byNode[node] == nil {
		r.byNode[node] = map[types.UID]*v1.Pod{}
	}
	if r.byPod[pod.UID] == nil {
		r.byPod[pod.UID] = map[string]struct{}{}
	}
	r.byNode[node][pod.UID] = pod
	r.byPod[pod.UID][node] = struct{}{}
}

// sweep forgets who is not there any more, whose removal may have come first.
func (r *refused) sweep(there func(*v1.Pod) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for node, pods := range r.byNode {
		for uid, pod := range pods {
			if !there(pod) {
				r.drop(uid, node)
			}
		}
	}
}

// take returns those who were refused a node, and forgets that.
func (r *refused) take(node string) (pods []*v1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid, pod := range r.byNode[node] {
		pods = append(pods, pod)
		r.drop(uid, node)
		if uid == r.tried {
			r.again[uid] = pod
		}
	}
	return pods
}

// begins tells that a pod is tried anew: what it was refused before is over.
func (r *refused) begins(uid types.UID) {
	r.forget(uid)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = uid
}

// later has a pod woken once more that is tried now.
func (r *refused) later(pod *v1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.again[pod.UID] = pod
}

// due returns those to wake once more.
func (r *refused) due() (pods []*v1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pods = slices.Collect(maps.Values(r.again))
	clear(r.again)
	return pods
}

// at tells whether a pod was refused a node.
func (r *refused) at(uid types.UID, node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, at := r.byPod[uid][node]
	return at
}

// forget drops a pod that has a node, is gone, or is tried anew.
func (r *refused) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.again, uid)
	for node := range r.byPod[uid] {
		r.drop(uid, node)
	}
}

func (r *refused) drop(uid types.UID, node string) {
	if delete(r.byNode[node], uid); len(r.byNode[node]) == 0 {
		delete(r.byNode, node)
	}
	if delete(r.byPod[uid], node); len(r.byPod[uid]) == 0 {
		delete(r.byPod, uid)
	}
}
