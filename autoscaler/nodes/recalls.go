// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

// recallTries is how many waiting pods are tried on a node on its way out before it is let go.
const recallTries = 20

// recall keeps nodes on their way out that take pods which fit on no other, and returns those that still wait: a node
// that is there beats one that would have to be made.
func (p *planner) recall(waiting []candidate) []candidate {
	for _, n := range p.nodes {
		if len(waiting) == 0 || p.decision.Incomplete != "" {
			return waiting
		}
		if !n.Draining || n.state != leaving || n.Object.DeletionTimestamp != nil {
			continue
		}
		back := unmarked(n.Object)
		if stateOf(back, p.in) != ready || !p.takes(back, waiting) {
			continue
		}
		if !p.answered(p.sim.AddNode(back)) {
			return waiting
		}
		var first candidate
		var rest []candidate
		for _, c := range waiting {
			node, _, err := p.sim.Place(c.pod, back.Name)
			switch {
			case !p.answered(err) || node == "":
				rest = append(rest, c)
				continue
			case first.pod == nil:
				first = c
			}
			p.decision.Placed++
		}
		waiting = rest
		p.used[back.Name] = true
		n.state, n.Object = ready, back
		g := p.byName[n.Group]
		if g != nil {
			g.draining--
			g.registered++
		}
		p.decision.Recalls = append(p.decision.Recalls, Recall{
			Node: back.Name, UID: back.UID, Reason: fmt.Sprintf("pod %s fits on no other node", first.key()),
		})
	}
	return waiting
}

// takes tells whether the node would take any of the first pods.
func (p *planner) takes(n *v1.Node, waiting []candidate) bool {
	p.sim.Fork()
	defer p.sim.Revert()
	if !p.answered(p.sim.AddNode(n)) {
		return false
	}
	for _, c := range waiting[:min(len(waiting), recallTries)] {
		if node, _, err := p.sim.Place(c.pod, n.Name); p.answered(err) && node != "" {
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
