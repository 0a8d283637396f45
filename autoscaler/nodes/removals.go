// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// remove decides which nodes go: nodes that never became ready, then nodes
// that stayed empty, by name. One that goes counts as gone for the next.
func (p *planner) remove() {
	if p.decision.Incomplete != "" {
		return
	}
	for _, n := range p.nodes {
		g := p.byName[n.Group]
		if g == nil || n.state != neverReady || !n.empty() {
			continue
		}
		p.take(n, g, p.tooLate(n), true)
	}
	for _, n := range p.nodes {
		if g := p.byName[n.Group]; g != nil && n.state == ready && n.empty() && !p.used[n.Object.Name] {
			p.considerEmpty(n, g)
		}
	}
}

// considerEmpty removes an empty node, or says why it is kept.
func (p *planner) considerEmpty(n *node, g *group) {
	config := p.in.Config
	since, known := p.in.History.EmptySince[n.Object.UID]
	empty := p.in.Now.Sub(since)
	if !known || empty < config.UnneededTime {
		return
	}
	keep := func(format string, args ...any) {
		p.decision.Kept = append(p.decision.Kept, Kept{n.Object.Name, fmt.Sprintf(format, args...)})
	}
	afterAdd := p.in.Now.Sub(p.in.History.LastAdd)
	switch {
	case n.Object.Annotations[ScaleDownDisabled] == "true":
		keep("annotation %s", ScaleDownDisabled)
	case g.added > 0:
		keep("group %s grows by %d", g.Name, g.added)
	case !p.in.History.LastAdd.IsZero() && afterAdd < config.DelayAfterAdd:
		keep("nodes were added %s ago (limit %s)", afterAdd.Round(time.Second), config.DelayAfterAdd)
	case g.size() <= g.Min:
		keep("group %s is at its minimum %d", g.Name, g.Min)
	default:
		if slot := p.strands(n); slot != "" {
			keep("the last node that reaches the volume of %s, and no group can add another", slot)
			return
		}
		p.take(n, g, fmt.Sprintf("empty for %s (limit %s); group %s has %d nodes, minimum %d",
			empty.Round(time.Second), config.UnneededTime, g.Name, g.size(), g.Min), false)
	}
}

func (p *planner) take(n *node, g *group, reason string, failed bool) {
	n.gone = true
	g.removed++
	p.decision.Removals = append(p.decision.Removals, Removal{
		Node: n.Object.Name, UID: n.Object.UID, Group: g.Name, Failed: failed, Reason: reason,
	})
}

// strands returns a wanted slot whose volume no node would reach any more once
// this one is gone, and that no group could add a node for; empty when there is none.
func (p *planner) strands(leaver *node) string {
	for _, volume := range p.in.Volumes {
		if volume.Affinity == nil {
			continue
		}
		selector := nodeaffinity.NewLazyErrorNodeSelector(volume.Affinity)
		reaches := func(n *v1.Node) bool {
			ok, err := selector.Match(n)
			return ok && err == nil
		}
		if reaches(leaver.Object) && !p.reachable(reaches, leaver) {
			return volume.Slot
		}
	}
	return ""
}

// reachable tells whether another node, or a new one of a group, satisfies reaches.
func (p *planner) reachable(reaches func(*v1.Node) bool, leaver *node) bool {
	for _, n := range p.nodes {
		if n != leaver && !n.gone && (n.state == ready || n.state == upcoming) && !n.Object.Spec.Unschedulable && reaches(n.Object) {
			return true
		}
	}
	for _, g := range p.groups {
		// A new node never has the name of an old one, so a volume that is
		// local to a node is out of its reach.
		if g.Max > 0 && reaches(newNode(g.Template, g.nextName())) {
			return true
		}
	}
	return false
}
