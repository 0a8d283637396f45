// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"cmp"
	"slices"
	"strings"
)

// choice is what was chosen for the class at the head.
type choice struct {
	// options are the best and those that are as good, among which nodes are shared.
	options []*option
	// left is how many nodes may be added before options are looked at again.
	left int
	// asked are the groups that took the class, fresh the one that has said so just now.
	asked map[*group]bool
	fresh *group
}

// refusals hold why groups do not help.
type refusals map[*group]string

// choose returns the best option for the class whose group takes it, nothing
// where no group does. The groups are asked in the order in which they are
// preferred, so most never are.
func (p *planner) choose(c *class, behind []*class) (*choice, error) {
	clear(c.refused)
	c.promised = 0
	var options, small []*option
	for _, g := range p.groups {
		if obstacle := p.obstacle(g); obstacle != "" {
			c.refused[g] = obstacle
			continue
		}
		if err := p.measureRoom(g); err != nil {
			return nil, err
		}
		if o := p.reckon(c, g, behind); o != nil {
			options = append(options, o)
		} else {
			// It is asked for its reasons, and believed if it takes the pod.
			small = append(small, &option{group: g, perNode: 1, nodes: 1, small: true})
		}
	}
	slices.SortFunc(options, func(a, b *option) int {
		return cmp.Or(p.compare(a, b), cmp.Compare(a.group.size(), b.group.size()), cmp.Compare(a.group.Name, b.group.Name))
	})
	options = append(options, small...)
	for i, o := range options {
		fits, reasons, err := p.ask(c, o.group)
		if err != nil {
			return nil, err
		}
		if !fits {
			c.refused[o.group] = strings.Join(reasons, ", ")
			continue
		}
		limited, err := p.measure(c, o)
		if err != nil {
			return nil, err
		}
		if limited {
			return p.choose(c, behind)
		}
		for along, pods := range o.along {
			along.promised += pods
		}
		return &choice{options: p.alike(o, options[i+1:]), left: o.nodes, asked: map[*group]bool{}, fresh: o.group}, nil
	}
	return nil, nil
}

// alike returns the option with those behind it that are as good.
func (p *planner) alike(best *option, others []*option) []*option {
	found := []*option{best}
	for _, o := range others {
		if !o.small && !best.small && (p.compare(best, o) == 0 || p.in.Config.BalanceSimilarGroups && similar(best.group, o.group)) {
			found = append(found, o)
		}
	}
	return found
}

// enoughBehind is with how many classes the rest of new nodes is reckoned to be filled.
const enoughBehind = 200

// reckon returns what the group would do for the class, if its new nodes have
// the room: as many nodes as the class fills, and in what they leave, evenly,
// the classes behind, but for those that nodes were added for already.
func (p *planner) reckon(c *class, g *group, behind []*class) *option {
	perNode := c.demand.into(g.room, len(c.pods))
	if c.perNode > 0 {
		perNode = min(perNode, c.perNode)
	}
	if perNode == 0 {
		return nil
	}
	o := &option{group: g, perNode: perNode, nodes: max(1, min(len(c.pods)/perNode, g.Max-g.grown())), draw: p.draw(g, c.pods[0]), along: map[*class]int{}}
	o.whole = float64(len(c.pods)) / float64(perNode)
	room := slices.Clone(g.room)
	unused := g.capacity
	put := func(c *class, pods int) {
		room.take(c.demand, pods, o.nodes)
		n := int64(o.nodes)
		unused = unused.minus(capacity{c.needs.cpu * int64(pods) / n, c.needs.memory * int64(pods) / n})
		o.pods += pods
		o.used += c.needs.of(p.largest) * float64(pods)
	}
	put(c, perNode*o.nodes)
	seen := 0
	for _, next := range behind {
		if seen == enoughBehind || !p.least.fits(room) {
			break
		}
		pods := len(next.pods) - next.promised
		if pods <= 0 {
			continue
		}
		seen++
		each := next.demand.into(room, pods)
		if next.perNode > 0 {
			each = min(each, next.perNode)
		}
		if each > 0 && p.admitted(next, g) {
			pods = min(pods, each*o.nodes)
			put(next, pods)
			o.along[next] = pods
		}
	}
	o.waste = unused.of(g.capacity)
	return o
}

// admitted reckons, once for each class and group, whether a new node lets the class in.
func (p *planner) admitted(c *class, g *group) bool {
	if ok, known := c.answers[g]; known {
		return ok
	}
	c.answers[g] = c.admits(g.Template)
	return c.answers[g]
}

// ask asks whether an empty new node of the group takes a pod of the class.
func (p *planner) ask(c *class, g *group) (fits bool, reasons []string, err error) {
	p.sim.Fork()
	defer p.sim.Revert()
	name := g.nextName()
	if err := p.sim.AddTemplate(newNode(g.Template, name), g.Drivers, g.Storage); err != nil {
		return false, nil, err
	}
	node, reasons, err := p.sim.Place(c.pods[0].pod, name)
	if err == nil {
		c.answers[g] = node != ""
	}
	return node != "", reasons, err
}

// measureRoom finds out, once, what a new node of the group leaves for pods.
func (p *planner) measureRoom(g *group) error {
	if g.room != nil {
		return nil
	}
	p.sim.Fork()
	defer p.sim.Revert()
	name := g.nextName()
	if err := p.sim.AddTemplate(newNode(g.Template, name), g.Drivers, g.Storage); err != nil {
		return err
	}
	g.room = p.amountsOf(p.sim.Room(name), unknown)
	return nil
}

// measure finds out, once, whether a node takes fewer pods of the class than it
// has room for, as where they keep away from each other. Where the next node
// of the group takes none either, it is not the node that limits them.
func (p *planner) measure(c *class, o *option) (limited bool, err error) {
	if c.plain || c.measured != nil || o.perNode == 1 {
		return false, nil
	}
	c.measured = o.group
	p.sim.Fork()
	defer p.sim.Revert()
	one, other := o.group.nextName(), o.group.nextName()+"-beside"
	if err := p.sim.AddTemplate(newNode(o.group.Template, one), o.group.Drivers, o.group.Storage); err != nil {
		return false, err
	}
	for placed, pod := range c.pods[:o.perNode] {
		node, _, err := p.sim.Place(pod.pod, one)
		if err != nil {
			return false, err
		}
		if node != "" {
			continue
		}
		if err := p.sim.AddTemplate(newNode(o.group.Template, other), o.group.Drivers, o.group.Storage); err != nil {
			return false, err
		}
		node, _, err = p.sim.Place(pod.pod, other)
		if err == nil && node != "" {
			c.perNode, limited = placed, true
		}
		return limited, err
	}
	return false, nil
}
