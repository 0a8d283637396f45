// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"math"
	"slices"

	v1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// amounts are figures of the resources that a planner reckons with, in its
// order: millicores of cpu, whole units of everything else.
type amounts []int64

// unknown is the room of a resource that a node says nothing of. The simulator
// is asked: devices, for one, may come by other ways.
const unknown = math.MaxInt64

// resourcesOf returns the names of all resources that a new node has.
func resourcesOf(groups []*group) []v1.ResourceName {
	names := []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory}
	for _, g := range groups {
		for name := range g.Template.Status.Allocatable {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// amountsOf returns the figures of a list, and what for a resource that is not in it.
func (p *planner) amountsOf(list v1.ResourceList, absent int64) amounts {
	found := make(amounts, len(p.resources))
	for i, name := range p.resources {
		quantity, ok := list[name]
		switch {
		case !ok:
			found[i] = absent
		case name == v1.ResourceCPU:
			found[i] = quantity.MilliValue()
		default:
			found[i] = quantity.Value()
		}
	}
	return found
}

// demandOf returns what a pod takes of a node.
func (p *planner) demandOf(pod *v1.Pod) amounts {
	demand := p.amountsOf(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}), 0)
	if i := slices.Index(p.resources, v1.ResourcePods); i >= 0 {
		demand[i] = 1
	}
	return demand
}

// fits tells that nothing of the demand exceeds the room.
func (demand amounts) fits(room amounts) bool {
	for i, d := range demand {
		if d > 0 && d > room[i] {
			return false
		}
	}
	return true
}

// into returns how many times the demand goes into the room, at most limit.
func (demand amounts) into(room amounts, limit int) int {
	for i, d := range demand {
		if d > 0 && room[i] != unknown {
			limit = int(min(int64(limit), max(0, room[i])/d))
		}
	}
	return limit
}

// least returns the smaller figure of each resource; nothing is no bound yet.
func (demand amounts) least(other amounts) amounts {
	if demand == nil {
		return slices.Clone(other)
	}
	for i := range demand {
		demand[i] = min(demand[i], other[i])
	}
	return demand
}

// take takes a share of the demand, count times over so many nodes, off the room.
func (room amounts) take(demand amounts, count, nodes int) {
	for i, d := range demand {
		if room[i] != unknown {
			room[i] -= d * int64(count) / int64(nodes)
		}
	}
}

// resource returns the figure of a resource, and whether there is one.
func (p *planner) resource(of amounts, name v1.ResourceName) (int64, bool) {
	i := slices.Index(p.resources, name)
	if i < 0 || of[i] == unknown {
		return 0, false
	}
	return of[i], true
}
