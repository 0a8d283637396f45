// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
)

// candidate is a pod that needs a place.
type candidate struct {
	pod      *v1.Pod
	forecast bool
	needs    capacity
}

func (c candidate) key() types.NamespacedName {
	return types.NamespacedName{Namespace: c.pod.Namespace, Name: c.pod.Name}
}

// candidates returns the pods that a node could help. One that is nominated to
// a present node has its place there, unless that node cannot take it any more.
func (p *planner) candidates() []candidate {
	present := map[string]bool{}
	for _, n := range p.nodes {
		present[n.Object.Name] = n.state == ready || n.state == upcoming
	}
	var found []candidate
	for _, pod := range p.in.Pending {
		switch nominated := pod.Status.NominatedNodeName; {
		case !Waits(pod, p.in.Config.ExpendablePriority):
		case present[nominated]:
			p.used[nominated] = true
		default:
			found = append(found, candidate{pod: pod, needs: needsOf(pod)})
		}
	}
	for _, pod := range p.in.Forecast {
		if !Expendable(pod, p.in.Config.ExpendablePriority) {
			found = append(found, candidate{pod: pod, needs: needsOf(pod), forecast: true})
		}
	}
	return found
}

// Waits tells whether a new node could help the pod, now or by the time that
// it is ready: the pod has no node, is neither held by a scheduling gate of its
// spec nor finished nor leaving, and is not expendable. A pod that a plugin of
// the scheduler keeps out of the queue, OrdinalGate say, counts: it will come,
// and one by one the nodes for a set would take one node boot per ordinal.
func Waits(pod *v1.Pod, expendable int32) bool {
	return pod.Spec.NodeName == "" &&
		pod.DeletionTimestamp == nil &&
		len(pod.Spec.SchedulingGates) == 0 &&
		pod.Status.Phase != v1.PodSucceeded && pod.Status.Phase != v1.PodFailed &&
		!Expendable(pod, expendable)
}

// Expendable tells whether the pod neither causes an add nor keeps a node.
func Expendable(pod *v1.Pod, below int32) bool { return priority(pod) < below }

func priority(pod *v1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// capacity is an amount of the two resources that waste is measured by:
// millicores and bytes.
type capacity struct{ cpu, memory int64 }

func capacityOf(n *v1.Node) capacity {
	return capacity{n.Status.Allocatable.Cpu().MilliValue(), n.Status.Allocatable.Memory().Value()}
}

func needsOf(pod *v1.Pod) capacity {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	return capacity{requests.Cpu().MilliValue(), requests.Memory().Value()}
}

func (c capacity) minus(d capacity) capacity { return capacity{c.cpu - d.cpu, c.memory - d.memory} }

func (c capacity) plus(d capacity) capacity { return capacity{c.cpu + d.cpu, c.memory + d.memory} }

// of is the mean share of the whole.
func (c capacity) of(whole capacity) float64 {
	share := func(part, whole int64) float64 {
		if whole == 0 {
			return 0
		}
		return float64(part) / float64(whole)
	}
	return (share(c.cpu, whole.cpu) + share(c.memory, whole.memory)) / 2
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
