// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

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
