// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// fillMinimum grows the groups that are below their minimum.
func (p *planner) fillMinimum() {
	for _, g := range p.groups {
		for g.grown() < g.Min && p.obstacle(g) == "" {
			if _, ok := p.build(g); !ok {
				return
			}
			g.belowMin++
		}
	}
}

// add places every pod that needs a place, and adds nodes where none is left.
func (p *planner) add() {
	waiting := p.placePresent(p.classes(p.candidates()))
	for i, c := range waiting {
		p.help(c, waiting[i+1:])
	}
	for _, g := range p.groups {
		if g.added > 0 {
			p.decision.Adds = append(p.decision.Adds, g.add())
		}
	}
}

// placePresent places the classes on nodes that the simulation has, and returns
// those that found no place for all of their pods.
func (p *planner) placePresent(classes []*class) (waiting []*class) {
	for _, c := range classes {
		if p.place(c); len(c.pods) > 0 {
			waiting = append(waiting, c)
		}
	}
	return waiting
}

// place puts pods of the class on the named nodes, or on any, until one is refused, and
// returns why. A class that gets no answer is done with.
func (p *planner) place(c *class, among ...string) (reasons []string) {
	for len(c.pods) > 0 {
		node, why, err := p.sim.Place(c.pods[0].pod, among...)
		switch {
		case !p.answered(err):
			c.pods = nil
		case node == "":
			return why
		default:
			p.land(c, node)
		}
	}
	return nil
}

// land notes that the first pod of the class has found its node.
func (p *planner) land(c *class, node string) {
	pod := c.pods[0]
	c.pods = c.pods[1:]
	p.used[node] = true
	o := p.open[node]
	if o != nil {
		o.room.take(c.demand, 1, 1)
	}
	if o != nil && o.helps {
		o.group.helped = append(o.group.helped, pod.key())
		return
	}
	p.decision.Placed++
}

// help finds places for the pods of a class that present nodes refused. Behind
// it are the classes that wait for their turn.
func (p *planner) help(c *class, behind []*class) {
	var chosen *choice
	for {
		if c.fickle || chosen == nil {
			p.settle(c)
		}
		if c.fickle && len(c.pods) > 0 && len(p.present) > 0 {
			p.place(c, p.present...)
		}
		if len(c.pods) == 0 {
			return
		}
		if chosen == nil || chosen.left == 0 {
			var refused refusals
			var err error
			if chosen, refused, err = p.choose(c, behind); !p.answered(err) {
				return
			}
			if chosen == nil {
				// Asked for once more: nodes that were added since may have
				// changed the refusal, or take the pod.
				if reasons := p.place(c); len(c.pods) > 0 {
					p.unhelped(c, reasons, refused)
				}
				return
			}
		}
		chosen.left--
		if grown, ok := p.grow(chosen, c); !ok {
			return
		} else if !grown {
			chosen = nil
		}
	}
}

// grow adds one node to the smallest group of the choice that takes a pod of
// the class, and as many of its pods to the node as it takes. It is not ok when
// there was no answer.
func (p *planner) grow(chosen *choice, c *class) (grown, ok bool) {
	bySize := func(a, b *option) int { return cmp.Compare(a.group.size(), b.group.size()) }
	for _, o := range slices.SortedStableFunc(slices.Values(chosen.options), bySize) {
		if p.obstacle(o.group) != "" {
			continue
		}
		if o.group != chosen.probed {
			fits, _, err := p.ask(c, o.group)
			if !p.answered(err) {
				return false, false
			}
			if !fits {
				continue
			}
		}
		chosen.probed = nil
		n, ok := p.build(o.group)
		if !ok {
			return false, false
		}
		n.helps = true
		before := len(c.pods)
		reasons := p.fill(c, n)
		if len(c.pods) == before {
			// Refused where it was taken a moment ago: the pod leaves the
			// list all the same, so that every round ends with fewer pods.
			one := *c
			one.pods, c.pods = c.pods[:1], c.pods[1:]
			p.unhelped(&one, nil, refusals{o.group: strings.Join(reasons, ", ")})
		}
		return true, true
	}
	return false, true
}

// fill puts pods of the class on an open node while there seems to be room.
func (p *planner) fill(c *class, n *openNode) (reasons []string) {
	for len(c.pods) > 0 && c.demand.fits(n.room) {
		node, why, err := p.sim.Place(c.pods[0].pod, n.name)
		if !p.answered(err) {
			c.pods = nil
			return nil
		}
		if node == "" {
			return why
		}
		p.land(c, node)
	}
	return nil
}

// build adds a node of the group for good.
func (p *planner) build(g *group) (*openNode, bool) {
	n := newNode(g.Template, g.nextName())
	if !p.answered(p.sim.AddTemplate(n, g.Drivers, g.Storage)) {
		return nil, false
	}
	g.added++
	p.total.add(g.Template)
	return p.opened(n, g), true
}

// nextName is the name of the group's next node in the simulation.
func (g *group) nextName() string { return fmt.Sprintf("%s-new-%d", g.Name, g.added) }

func (g *group) add() Add {
	var why []string
	if g.belowMin > 0 {
		why = append(why, fmt.Sprintf("%d nodes, minimum %d", g.Target, g.Min))
	}
	if len(g.helped) > 0 {
		why = append(why, fmt.Sprintf("%d pods that fit on no other node, first %s", len(g.helped), first(g.helped)))
	}
	return Add{
		Group:  g.Name,
		Count:  g.added,
		Target: g.size(),
		Pods:   g.helped,
		Reason: strings.Join(why, "; "),
	}
}

func first(pods []types.NamespacedName) string { return pods[0].String() }
