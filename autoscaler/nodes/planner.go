// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"cmp"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// planner carries one decision through its steps.
type planner struct {
	in       Input
	sim      Simulator
	nodes    []*node
	groups   []*group
	byName   map[string]*group
	largest  capacity
	used     map[string]bool // nodes that a pod was placed on
	total    totals
	present  []string // names of the nodes that are ready
	landed   int      // pods that found their node
	opens    []*openNode
	open     map[string]*openNode
	names    []string // of open nodes to ask about, at their places in opens: space that is used again
	places   []int
	failures []failure
	decision Decision

	reaches []reach // of volumes, once they were asked for

	// unremovable are the nodes that could not go, found so by this decision or remembered.
	unremovable map[types.UID]Unremovable

	resources []v1.ResourceName
	least     amounts // no pod takes less
}
type failure struct{ group, reason string }

// group is a Group with what this decision does to it.
type group struct {
	Group
	// registered counts the nodes that exist and are not leaving, draining those
	// that Berth has marked to go and that still count.
	registered int
	draining   int
	added      int
	removed    int
	forgone    int
	helped     []types.NamespacedName
	belowMin   int
	capacity   capacity
	room       amounts   // what a new node leaves for pods, once measured
	spare      *openNode // added to the simulation for nothing
}

// size is the number of nodes that the group will have.
func (g *group) size() int {
	return g.Target - g.forgone + g.added - g.removed - g.draining
}

// grown is the number of nodes that the group may have after its growth, by whoever counts more.
func (g *group) grown() int { return max(g.Target, g.registered+g.draining) + g.added }

// missing is the number of nodes asked for that have no Node object yet.
func (g *group) missing() int { return max(0, g.Target-g.registered-g.draining) }

func newPlanner(in Input, sim Simulator) *planner {
	p := &planner{in: in, sim: sim, byName: map[string]*group{}, used: map[string]bool{}, open: map[string]*openNode{}}
	for _, g := range in.Groups {
		g.Template = p.withoutStartup(g.Template)
		added := &group{Group: g, capacity: capacityOf(g.Template)}
		p.groups = append(p.groups, added)
		p.byName[g.Name] = added
		p.largest.cpu = max(p.largest.cpu, added.capacity.cpu)
		p.largest.memory = max(p.largest.memory, added.capacity.memory)
	}
	for _, n := range in.Nodes {
		seen := &node{Node: n, state: p.stateOf(n.Object, p.own(p.byName[n.Group]).MaxNodeProvisionTime)}
		p.nodes = append(p.nodes, seen)
		if seen.state != leaving || n.Draining {
			p.total.add(n.Object)
		}
		switch g := p.byName[n.Group]; {
		case g == nil:
		case seen.state != leaving:
			g.registered++
		case n.Draining:
			g.draining++
		}
	}
	p.in.Volumes = slices.SortedFunc(slices.Values(in.Volumes), func(a, b Volume) int { return cmp.Compare(a.Slot, b.Slot) })
	slices.SortFunc(p.groups, func(a, b *group) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(p.nodes, func(a, b *node) int { return cmp.Compare(a.Object.Name, b.Object.Name) })
	for _, n := range p.nodes {
		if n.state == ready {
			p.present = append(p.present, n.Object.Name)
		}
	}
	p.resources = resourcesOf(p.groups)
	return p
}

// Stopped says why nothing at all may be decided; empty where something may.
func Stopped(in Input) string {
	p := newPlanner(in, nil)
	p.blocked()
	return p.decision.Blocked
}

// blocked stops everything where too many nodes are unready: then it is more
// likely that something common to them failed than that nodes are missing.
func (p *planner) blocked() {
	unready, total := 0, len(p.nodes)
	for _, n := range p.nodes {
		if n.state == unreadyNow || n.state == neverReady {
			unready++
		}
	}
	limit := p.in.Config.MaxTotalUnreadyPercentage
	if unready > p.in.Config.OKTotalUnready && unready*100 > limit*total {
		p.decision.Blocked = fmt.Sprintf("%d of %d nodes are unready, more than %d%%", unready, total, limit)
	}
}

// answered notes an error of the simulation and reports that there was none.
func (p *planner) answered(err error) bool {
	if err != nil && p.decision.Incomplete == "" {
		p.decision.Incomplete = err.Error()
	}
	return err == nil
}
