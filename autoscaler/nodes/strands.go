// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"encoding/json"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// strands returns a wanted slot whose volume no node would reach any more once
// this one is gone, and that no group could add a node for; empty when there is none.
func (p *planner) strands(leaver *node) string {
	for _, r := range p.reachesOfVolumes() {
		if r.has(leaver.Object) && !p.reachable(r.has, leaver) {
			return r.slot
		}
	}
	return ""
}

// reach is where some volumes can be reached from, slot the first that has one.
type reach struct {
	slot     string
	selector *nodeaffinity.LazyErrorNodeSelector
}

func (r reach) has(n *v1.Node) bool {
	ok, err := r.selector.Match(n)
	return ok && err == nil
}

// reachesOfVolumes returns the reaches that differ: of the volumes of a zone there is one.
func (p *planner) reachesOfVolumes() []reach {
	if p.reaches != nil {
		return p.reaches
	}
	p.reaches = []reach{}
	known := map[string]bool{}
	for _, volume := range p.in.Volumes {
		if volume.Affinity == nil {
			continue
		}
		text, err := json.Marshal(volume.Affinity)
		if err == nil && known[string(text)] {
			continue
		}
		known[string(text)] = true
		p.reaches = append(p.reaches, reach{volume.Slot, nodeaffinity.NewLazyErrorNodeSelector(volume.Affinity)})
	}
	return p.reaches
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
