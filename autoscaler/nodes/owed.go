// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Upcoming returns the nodes on their way as they will be once they are ready:
// those that have a Node object, and those that a group still owes.
func Upcoming(in Input) []*v1.Node {
	var found []*v1.Node
	for _, a := range newPlanner(in, nil).awaited() {
		found = append(found, a.object)
	}
	return found
}

// awaitedNode is a node on its way as it will be.
type awaitedNode struct {
	object *v1.Node
	group  *group // nil where Berth does not scale it
	exists bool
}

// expect shows the simulator the nodes on their way as ready.
func (p *planner) expect() {
	for _, a := range p.awaited() {
		var err error
		if a.exists {
			err = p.sim.AddNode(a.object)
		} else {
			err = p.sim.AddTemplate(a.object, a.group.Drivers, a.group.Storage)
		}
		if !p.answered(err) {
			return
		}
		p.opened(a.object, a.group)
		p.decision.Upcoming++
	}
}

// awaited returns the nodes on their way, and records what groups owe and will not give.
func (p *planner) awaited() (found []awaitedNode) {
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
		found = append(found, awaitedNode{object: p.asReady(n.Object, template), group: g, exists: true})
	}
	for _, g := range p.groups {
		p.forgo(g)
		for i := range g.missing() - g.forgone {
			n := newNode(g.Template, fmt.Sprintf("%s-awaited-%d", g.Name, i))
			found = append(found, awaitedNode{object: n, group: g})
			p.total.add(g.Template)
		}
		if asked, ok := p.unseen(g); ok && p.in.Now.Sub(asked.At) > p.own(g).MaxNodeProvisionTime {
			p.fail(g.Name, fmt.Sprintf("%d nodes were asked for %s ago, and its provider says %d",
				asked.Target, p.in.Now.Sub(asked.At).Round(time.Second), g.Target))
		}
	}
	return found
}

// forgo gives up the nodes of a group that will never come: first those whose
// machines have failed, then those that took too long.
func (p *planner) forgo(g *group) {
	give := func(count int, reason string) {
		p.fail(g.Name, reason)
		if count > 0 {
			g.forgone += count
			p.decision.Forgo = append(p.decision.Forgo, Forgo{Group: g.Name, Count: count, Reason: reason})
		}
	}
	for _, failing := range g.Failing {
		if failing.Count > 0 {
			give(min(failing.Count, g.missing()-g.forgone), fmt.Sprintf("%d machines failed: %s", failing.Count, failing.Reason))
		}
	}
	since := p.missingSince(g)[g.forgone:]
	late := slices.IndexFunc(since, func(t time.Time) bool { return p.in.Now.Sub(t) <= p.own(g).MaxNodeProvisionTime })
	if late < 0 {
		late = len(since)
	}
	if late > 0 {
		give(late, fmt.Sprintf("%d nodes asked for did not appear within %s", late, p.in.Now.Sub(since[0]).Round(time.Second)))
	}
}

// missingSince returns since when each missing node of the group has been
// missing, the oldest first. Of those that came since, the oldest are taken to have come.
func (p *planner) missingSince(g *group) []time.Time {
	missing := g.missing()
	since := slices.Clone(p.in.History.MissingSince[g.Name])
	if came := len(since) - missing; came > 0 {
		return since[came:]
	}
	for len(since) < missing {
		since = append(since, p.in.Now)
	}
	return since
}

// tooLate says how long a node that never became ready has had.
func (p *planner) tooLate(n *node) string {
	age := p.in.Now.Sub(n.Object.CreationTimestamp.Time).Round(time.Second)
	return fmt.Sprintf("is not ready %s after its creation (limit %s)", age, p.own(p.byName[n.Group]).MaxNodeProvisionTime)
}

// fail records a failure of a group, at most one for each back-off.
func (p *planner) fail(group, reason string) {
	known := slices.ContainsFunc(p.failures, func(f failure) bool { return f.group == group })
	if known || p.in.Now.Before(p.in.History.Backoff[group].Until) {
		return
	}
	p.failures = append(p.failures, failure{group, reason})
}
