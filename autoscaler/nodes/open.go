// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
)

// openNode is a node of the simulation that is not there yet, and takes pods.
type openNode struct {
	name   string
	object *v1.Node
	group  *group // nil for a node on its way to no group
	// room is what is left by reckoning; the simulator has the last word.
	room amounts
	// helps tells that the node was added for pods.
	helps bool
}

// opened notes a node that was added to the simulation.
func (p *planner) opened(n *v1.Node, g *group) *openNode {
	o := &openNode{name: n.Name, object: n, group: g, room: p.amountsOf(p.sim.Room(n.Name), unknown)}
	p.open[n.Name] = o
	p.opens = append(p.opens, o)
	return o
}

// settle puts pods of the class on open nodes, the first that takes them.
func (p *planner) settle(c *class) {
	for len(c.pods) > 0 {
		at, err := p.firstOpen(c)
		if !p.answered(err) {
			c.pods = nil
			return
		}
		if at < 0 {
			if !c.fickle {
				c.from = len(p.opens)
			}
			return
		}
		// To the pods behind it in its class, the nodes before are what they
		// were; only a fickle one comes back to them.
		c.from = at
		p.land(c, p.opens[at].name)
	}
}

// firstOpen places the first pod of the class on the first open node that takes
// it, from where the class was last placed, and returns its index; none is -1.
// Plain pods fit where there is room for them, so it asks about few nodes first.
// To others each question costs a look at all pods, so there is one.
func (p *planner) firstOpen(c *class) (int, error) {
	names, places := p.names[:0], p.places[:0]
	defer func() { p.names, p.places = names, places }()
	ask := func() (int, error) {
		node, _, err := p.sim.Place(c.pods[0].pod, names...)
		if node == "" || err != nil {
			return -1, err
		}
		i := slices.Index(names, node)
		if i < 0 {
			return -1, fmt.Errorf("pod %s was placed on node %s, which nobody named", c.pods[0].key(), node)
		}
		return places[i], nil
	}
	limit := len(p.opens)
	if c.plain {
		limit = 1
	}
	for i := range p.opens {
		at := c.from + i
		if at >= len(p.opens) {
			if !c.fickle {
				break
			}
			at -= len(p.opens)
		}
		if o := p.opens[at]; !c.demand.fits(o.room) || !c.admits(o.object) {
			continue
		}
		names, places = append(names, p.opens[at].name), append(places, at)
		if len(names) < limit {
			continue
		}
		if at, err := ask(); at >= 0 || err != nil {
			return at, err
		}
		names, places, limit = names[:0], places[:0], 4*limit
	}
	if len(names) == 0 {
		return -1, nil
	}
	return ask()
}
