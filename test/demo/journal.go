// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// fact is a kind of thing that happens.
type fact int

const (
	scaled    fact = iota // a Deployment asks for another number of replicas
	nodeAdded             // a Node object appeared
	nodeReady             // a node became ready
	nodeGone              // a Node object went
	podRuns               // a pod became Running
)

// entry is one thing that happened: when this process heard of it, for API
// objects tell times in whole seconds only.
type entry struct {
	at     time.Time
	fact   fact
	name   string // namespace/name, or the name of a node
	number int32  // the replicas of scaled
}

// journal keeps what happened, in the order in which it was heard of.
type journal struct {
	mu      sync.Mutex
	entries []entry
}

func (j *journal) write(f fact, name string, number int32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry{time.Now(), f, name, number})
}

// since returns what happened at that time or later to objects whose names begin so.
func (j *journal) since(begin time.Time, f fact, prefix string) []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []entry
	for _, e := range j.entries {
		if e.fact == f && !e.at.Before(begin) && strings.HasPrefix(e.name, prefix) {
			found = append(found, e)
		}
	}
	return found
}

// span is the time of the first and of the last entry.
func span(entries []entry) (first, last time.Time) {
	if len(entries) > 0 {
		first, last = entries[0].at, entries[len(entries)-1].at
	}
	return first, last
}

// boots are the times that the nodes took from their object to ready, shortest first.
func boots(added, ready []entry) []time.Duration {
	var took []time.Duration
	for _, a := range added {
		i := slices.IndexFunc(ready, func(r entry) bool { return r.name == a.name && !r.at.Before(a.at) })
		if i >= 0 {
			took = append(took, ready[i].at.Sub(a.at))
		}
	}
	slices.Sort(took)
	return took
}

// follow writes down what the informers hear.
func (j *journal) follow(factory informers.SharedInformerFactory) error {
	nodes := cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if node, ok := o.(*corev1.Node); ok {
				j.write(nodeAdded, node.Name, 0)
			}
		},
		UpdateFunc: func(old, new any) {
			was, ok := old.(*corev1.Node)
			is, ok2 := new.(*corev1.Node)
			if ok && ok2 && isReady(is) && !isReady(was) {
				j.write(nodeReady, is.Name, 0)
			}
		},
		DeleteFunc: func(o any) {
			if name, err := cache.DeletionHandlingObjectToName(o); err == nil {
				j.write(nodeGone, name.String(), 0)
			}
		},
	}
	pods := cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(old, new any) {
			was, ok := old.(*corev1.Pod)
			is, ok2 := new.(*corev1.Pod)
			if ok && ok2 && is.Status.Phase == corev1.PodRunning && was.Status.Phase != corev1.PodRunning {
				j.write(podRuns, cache.MetaObjectToName(is).String(), 0)
			}
		},
	}
	deployments := cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(old, new any) {
			was, ok := old.(*appsv1.Deployment)
			is, ok2 := new.(*appsv1.Deployment)
			if ok && ok2 && *is.Spec.Replicas != *was.Spec.Replicas {
				j.write(scaled, cache.MetaObjectToName(is).String(), *is.Spec.Replicas)
			}
		},
	}
	if _, err := factory.Core().V1().Nodes().Informer().AddEventHandler(nodes); err != nil {
		return err
	}
	if _, err := factory.Core().V1().Pods().Informer().AddEventHandler(pods); err != nil {
		return err
	}
	_, err := factory.Apps().V1().Deployments().Informer().AddEventHandler(deployments)
	return err
}
