// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

// recallTries is how many classes of waiting pods are tried on a node on its way out before it is let go.
const recallTries = 20

// recall keeps nodes on their way out that take pods which fit on no other, and returns those that still wait: a node
// that is there beats one that would have to be made.
func (p *planner) recall(waiting []*class) []*class {
	for _, n := range p.nodes {
		if len(waiting) == 0 || p.decision.Incomplete != "" {
			return waiting
		}
		if !n.Draining || n.state != leaving || n.Object.DeletionTimestamp != nil {
			continue
		}
		g := p.byName[n.Group]
		back := unmarked(n.Object)
		if p.stateOf(back, p.own(g).MaxNodeProvisionTime) != ready || !p.takes(back, waiting) {
			continue
		}
		if !p.answered(p.sim.AddNode(back)) {
			return waiting
		}
		first := ""
		for _, c := range waiting {
			head, before := c.pods[0].key(), len(c.pods)
			if p.place(c, back.Name); first == "" && len(c.pods) < before {
				first = head.String()
			}
		}
		waiting = slices.DeleteFunc(waiting, func(c *class) bool { return len(c.pods) == 0 })
		p.used[back.Name] = true
		n.state, n.Object = ready, back
		p.present = append(p.present, back.Name)
		if g != nil {
			g.draining--
			g.registered++
		}
		p.decision.Recalls = append(p.decision.Recalls, Recall{
			Node: back.Name, UID: back.UID, Reason: fmt.Sprintf("pod %s fits on no other node", first),
		})
	}
	return waiting
}

// takes tells whether the node would take any of the first pods.
func (p *planner) takes(n *v1.Node, waiting []*class) bool {
	p.sim.Fork()
	defer p.sim.Revert()
	if !p.answered(p.sim.AddNode(n)) {
		return false
	}
	for _, c := range waiting[:min(len(waiting), recallTries)] {
		if node, _, err := p.sim.Place(c.pods[0].pod, n.Name); p.answered(err) && node != "" {
			return true
		}
	}
	return false
}

// unmarked is the node without Berth's taint.
func unmarked(n *v1.Node) *v1.Node {
	n = n.DeepCopy()
	n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, func(t v1.Taint) bool { return t.Key == drain.Taint })
	return n
}
