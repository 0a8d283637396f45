// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"cmp"
	"fmt"
	"slices"
	"time"

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
	failures []failure
	decision Decision

	// unremovable are the nodes that could not go, found so by this decision or remembered.
	unremovable map[types.UID]Unremovable
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
	helped     []types.NamespacedName
	belowMin   int
	capacity   capacity
}

// size is the number of nodes that the group will have.
func (g *group) size() int { return g.Target + g.added - g.removed - g.draining }

// missing is the number of nodes asked for that have no Node object yet.
func (g *group) missing() int { return max(0, g.Target-g.registered-g.draining) }

func newPlanner(in Input, sim Simulator) *planner {
	p := &planner{in: in, sim: sim, byName: map[string]*group{}, used: map[string]bool{}}
	for _, g := range in.Groups {
		added := &group{Group: g, capacity: capacityOf(g.Template)}
		p.groups = append(p.groups, added)
		p.byName[g.Name] = added
		p.largest.cpu = max(p.largest.cpu, added.capacity.cpu)
		p.largest.memory = max(p.largest.memory, added.capacity.memory)
	}
	for _, n := range in.Nodes {
		seen := &node{Node: n, state: stateOf(n.Object, in)}
		p.nodes = append(p.nodes, seen)
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

// Upcoming returns the nodes on their way as they will be once they are ready:
// those that have a Node object, and those that a group still owes.
func Upcoming(in Input) []*v1.Node { return newPlanner(in, nil).awaited() }

// expect shows the simulator the nodes on their way as ready.
func (p *planner) expect() {
	for _, n := range p.awaited() {
		if !p.answered(p.sim.AddNode(n)) {
			return
		}
		p.decision.Upcoming++
	}
}

// awaited returns the nodes on their way as ready, and records the groups whose
// nodes do not come.
func (p *planner) awaited() (found []*v1.Node) {
	for _, n := range p.nodes {
		g := p.byName[n.Group]
		if g != nil && n.state == neverReady {
			p.fail(g.Name, fmt.Sprintf("node %s %s", n.Object.Name, p.tooLate(n)))
		}
		if n.state != upcoming {
			continue
		}
		var template *v1.Node
		if g != nil {
			template = g.Template
		}
		found = append(found, asReady(n.Object, template))
	}
	for _, g := range p.groups {
		missing := g.missing()
		if missing == 0 {
			continue
		}
		since := earlier(p.in.History.MissingSince, g.Name, p.in.Now)
		if waited := p.in.Now.Sub(since); waited > p.in.Config.MaxNodeProvisionTime {
			p.fail(g.Name, fmt.Sprintf("%d nodes asked for did not appear within %s", missing, waited.Round(time.Second)))
			continue
		}
		for i := range missing {
			found = append(found, newNode(g.Template, fmt.Sprintf("%s-awaited-%d", g.Name, i)))
		}
	}
	return found
}

// tooLate says how long a node that never became ready has had.
func (p *planner) tooLate(n *node) string {
	age := p.in.Now.Sub(n.Object.CreationTimestamp.Time).Round(time.Second)
	return fmt.Sprintf("is not ready %s after its creation (limit %s)", age, p.in.Config.MaxNodeProvisionTime)
}

// fail records a failure of a group, at most one for each back-off.
func (p *planner) fail(group, reason string) {
	known := slices.ContainsFunc(p.failures, func(f failure) bool { return f.group == group })
	if known || p.in.Now.Before(p.in.History.Backoff[group].Until) {
		return
	}
	p.failures = append(p.failures, failure{group, reason})
}

// answered notes an error of the simulation and reports that there was none.
func (p *planner) answered(err error) bool {
	if err != nil && p.decision.Incomplete == "" {
		p.decision.Incomplete = err.Error()
	}
	return err == nil
}
