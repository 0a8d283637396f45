// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"cmp"
	"hash/fnv"
	"math"
	"strconv"
)

// Expander chooses among groups that can help. Each has the meaning and the
// name that it has in Cluster Autoscaler.
type Expander string

const (
	// LeastWaste prefers the group whose new nodes leave least of their cpu and memory unused.
	LeastWaste Expander = "least-waste"
	// MostPods prefers the group whose new nodes take most pods.
	MostPods Expander = "most-pods"
	// Priority prefers the group of the highest Priority.
	Priority Expander = "priority"
	// Price prefers the group that costs least for what the pods ask for; a group of unknown price is the last.
	Price Expander = "price"
	// LeastNodes prefers the group that needs fewest nodes.
	LeastNodes Expander = "least-nodes"
	// Random prefers any group, the same for the same Seed and pod.
	Random Expander = "random"
)

// Expanders returns all there are.
func Expanders() []Expander {
	return []Expander{LeastWaste, MostPods, LeastNodes, Priority, Price, Random}
}

// option is what a group would do for the class at the head.
type option struct {
	group *group
	// perNode is the number of pods of the class on each of nodes new nodes,
	// pods that of all that would go there.
	perNode, nodes, pods int
	// whole is the number of nodes that the class needs, parts of nodes too.
	whole float64
	// waste is the share of the nodes that stays unused, used what pods ask for.
	waste, used float64
	draw        uint64
	small       bool // by reckoning, the class does not fit at all
	// along are the pods of other classes that were reckoned with.
	along map[*class]int
}

// compare is negative where a is better by the expanders, 0 where they see no difference.
func (p *planner) compare(a, b *option) int {
	for _, e := range p.in.Config.Expanders {
		if c := e.compare(a, b); c != 0 {
			return c
		}
	}
	if len(p.in.Config.Expanders) == 0 {
		return LeastWaste.compare(a, b)
	}
	return 0
}

func (e Expander) compare(a, b *option) int {
	switch e {
	case LeastWaste:
		return near(a.waste, b.waste)
	case MostPods:
		return cmp.Compare(b.pods, a.pods)
	case LeastNodes:
		return near(a.whole, b.whole)
	case Priority:
		return cmp.Compare(b.group.Priority, a.group.Priority)
	case Price:
		if c := boolCompare(!a.group.PriceKnown, !b.group.PriceKnown); c != 0 || !a.group.PriceKnown {
			return c
		}
		return near(a.cost(), b.cost())
	case Random:
		return cmp.Compare(a.draw, b.draw)
	}
	return 0
}

// cost is the price of what is used.
func (o *option) cost() float64 {
	price := o.group.PricePerHour * float64(o.nodes)
	if o.used <= 0 {
		return price
	}
	return price / o.used
}

// near compares what was reckoned: the order of additions is no difference.
func near(a, b float64) int {
	const same = 1e-9
	if math.Abs(a-b) <= same*max(1, math.Abs(a), math.Abs(b)) {
		return 0
	}
	return cmp.Compare(a, b)
}

// draw returns the lot of a group for a pod.
func (p *planner) draw(g *group, head candidate) uint64 {
	lot := fnv.New64a()
	for _, part := range []string{strconv.FormatUint(p.in.Seed, 10), g.Name, head.key().String()} {
		_, _ = lot.Write(append([]byte(part), 0)) // it never fails
	}
	return lot.Sum64()
}
