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
	scaled     fact = iota // a Deployment asks for another number of replicas
	nodeAdded              // a Node object appeared
	nodeReady              // a node became ready
	nodeGone               // a Node object went
	podBound               // a pod got a node
	podRuns                // a pod became Running
	podLeaves              // a pod was told to end
	podGone                // a Pod object went
	podKeptOut             // a pod was refused for room that is kept for a slot
	podSized               // a pod that ran got another size
)

// entry is one thing that happened: when this process heard of it, for API
// objects tell times in whole seconds only.
type entry struct {
	at     time.Time
	fact   fact
	name   string // namespace/name, or the name of a node
	number int32  // the replicas of scaled
	node   string // the node of podBound
}

// journal keeps what happened, in the order in which it was heard of.
type journal struct {
	mu      sync.Mutex
	entries []entry
}

func (j *journal) write(f fact, name string) { j.add(entry{fact: f, name: name}) }

func (j *journal) add(e entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.at = time.Now()
	j.entries = append(j.entries, e)
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

// pod writes down what became of a pod. One that took the name of another
// while the watch was away begins anew.
func (j *journal) pod(was, is *corev1.Pod) {
	name := cache.MetaObjectToName(is).String()
	if was.UID != is.UID {
		if was.UID != "" {
			j.write(podGone, name)
		}
		was = &corev1.Pod{}
	}
	if is.Spec.NodeName != was.Spec.NodeName {
		j.add(entry{fact: podBound, name: name, node: is.Spec.NodeName})
	}
	if is.Status.Phase == corev1.PodRunning && was.Status.Phase != corev1.PodRunning {
		j.write(podRuns, name)
	}
	if is.DeletionTimestamp != nil && was.DeletionTimestamp == nil {
		j.write(podLeaves, name)
	}
	if was.UID != "" && len(was.Status.ContainerStatuses) > 0 && memoryOf(is) != memoryOf(was) {
		j.write(podSized, name)
	}
	if keptOut(is) && !keptOut(was) {
		j.write(podKeptOut, name)
	}
}

// keptOut tells that the scheduler last refused the pod for room that is kept.
func keptOut(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && strings.Contains(c.Message, "keep room for absent slots")
	})
}

// follow writes down what the informers hear.
func (j *journal) follow(factory informers.SharedInformerFactory) error {
	nodes := cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if node, ok := o.(*corev1.Node); ok {
				j.write(nodeAdded, node.Name)
			}
		},
		UpdateFunc: func(old, new any) {
			was, ok := old.(*corev1.Node)
			is, ok2 := new.(*corev1.Node)
			if ok && ok2 && isReady(is) && !isReady(was) {
				j.write(nodeReady, is.Name)
			}
		},
		DeleteFunc: func(o any) {
			if name, err := cache.DeletionHandlingObjectToName(o); err == nil {
				j.write(nodeGone, name.String())
			}
		},
	}
	pods := cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if pod, ok := o.(*corev1.Pod); ok {
				j.pod(&corev1.Pod{}, pod)
			}
		},
		UpdateFunc: func(old, new any) {
			was, ok := old.(*corev1.Pod)
			is, ok2 := new.(*corev1.Pod)
			if ok && ok2 {
				j.pod(was, is)
			}
		},
		DeleteFunc: func(o any) {
			if name, err := cache.DeletionHandlingObjectToName(o); err == nil {
				j.write(podGone, name.String())
			}
		},
	}
	deployments := cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(old, new any) {
			was, ok := old.(*appsv1.Deployment)
			is, ok2 := new.(*appsv1.Deployment)
			if ok && ok2 && *is.Spec.Replicas != *was.Spec.Replicas {
				j.add(entry{fact: scaled, name: cache.MetaObjectToName(is).String(), number: *is.Spec.Replicas})
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
