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
	waiting := p.recall(p.placePresent(p.classes(p.candidates())))
	// A fickle class may need a pod that comes after it: as long as somebody
	// finds a place, those that found none are asked again.
	for before := -1; len(waiting) > 0 && before != p.landed; {
		before = p.landed
		var left []*class
		for i, c := range waiting {
			if p.help(c, waiting[i+1:]); len(c.pods) > 0 {
				left = append(left, c)
			}
		}
		waiting = slices.DeleteFunc(left, func(c *class) bool {
			if !c.fickle {
				p.unhelped(c)
			}
			return !c.fickle
		})
	}
	for _, c := range waiting {
		p.unhelped(c)
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
	p.landed++
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
// it are the classes that wait for their turn. Pods that are left fit nowhere, and the class knows why.
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
		anew := chosen == nil || chosen.left == 0
		if anew {
			var err error
			if chosen, err = p.choose(c, behind); !p.answered(err) {
				c.pods = nil
				return
			}
			if chosen == nil {
				return
			}
		}
		chosen.left--
		switch grown, ok := p.grow(chosen, c); {
		case !ok:
			c.pods = nil
			return
		case !grown && anew:
			return // refused where it was taken a moment ago
		case !grown:
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
		g := o.group
		if p.obstacle(g) != "" {
			continue
		}
		// What one empty node took the next takes too, but for a fickle class.
		if !chosen.asked[g] || c.fickle {
			fits, reasons, err := true, []string(nil), error(nil)
			if chosen.fresh != g {
				fits, reasons, err = p.ask(c, g)
			}
			if !p.answered(err) {
				return false, false
			}
			if !fits {
				c.refused[g] = strings.Join(reasons, ", ")
				continue
			}
		}
		chosen.fresh, chosen.asked[g] = nil, true
		n, ok := p.build(g)
		if !ok {
			return false, false
		}
		n.helps = true
		before := len(c.pods)
		p.fill(c, n)
		if len(c.pods) < before {
			c.from = len(p.opens) - 1
			return true, true
		}
		p.spare(n)
		delete(chosen.asked, g)
	}
	return false, true
}

// fill puts pods of the class on an open node while there seems to be room.
func (p *planner) fill(c *class, n *openNode) {
	for placed := 0; len(c.pods) > 0 && (placed == 0 || c.demand.fits(n.room)); placed++ {
		full := c.perNode > 0 && placed >= c.perNode && (c.alone || n.group == c.measured)
		if full || c.fickle && placed > 0 {
			return // to the others of a fickle class, all open nodes are offered
		}
		node, _, err := p.sim.Place(c.pods[0].pod, n.name)
		if !p.answered(err) {
			c.pods = nil
		}
		if node == "" {
			return
		}
		p.land(c, node)
	}
}

// build adds a node of the group for good.
func (p *planner) build(g *group) (*openNode, bool) {
	if n := g.spare; n != nil {
		g.spare = nil
		g.added++
		p.total.add(g.Template)
		p.opens, p.open[n.name] = append(p.opens, n), n
		return n, true
	}
	n := newNode(g.Template, g.nextName())
	if !p.answered(p.sim.AddTemplate(n, g.Drivers, g.Storage)) {
		return nil, false
	}
	g.added++
	p.total.add(g.Template)
	return p.opened(n, g), true
}

// spare takes back a node that nobody went to. The simulation keeps it, so the
// group's next node is this one.
func (p *planner) spare(n *openNode) {
	g := n.group
	g.spare = n
	g.added--
	p.total.take(g.Template)
	p.opens = slices.DeleteFunc(p.opens, func(o *openNode) bool { return o == n })
	delete(p.open, n.name)
}

// nextName is the name of the group's next node in the simulation.
func (g *group) nextName() string {
	next := g.added
	if g.spare != nil {
		next++
	}
	return fmt.Sprintf("%s-new-%d", g.Name, next)
}

func (g *group) add() Add {
	var why []string
	if g.belowMin > 0 {
		why = append(why, fmt.Sprintf("%d nodes, minimum %d", g.Target, g.Min))
	}
	if len(g.helped) > 0 {
		why = append(why, fmt.Sprintf("pods that fit on no other node (%d), first %s", len(g.helped), first(g.helped)))
	}
	return Add{
		Group:  g.Name,
		Count:  g.added,
		Target: g.Target + g.added,
		Pods:   g.helped,
		Reason: strings.Join(why, "; "),
	}
}

func first(pods []types.NamespacedName) string { return pods[0].String() }
