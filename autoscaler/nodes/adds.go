// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// fillMinimum grows the groups that are below their minimum.
func (p *planner) fillMinimum() {
	for _, g := range p.groups {
		for g.Target+g.added < g.Min && p.obstacle(g) == "" {
			if !p.answered(p.sim.AddNode(newNode(g.Template, g.nextName()))) {
				return
			}
			g.added++
			g.belowMin++
		}
	}
}

// add places every pod that needs a place, and adds nodes where none is left.
func (p *planner) add() {
	waiting, _ := p.placePresent(p.candidates())
	waiting = p.recall(waiting)
	for len(waiting) > 0 {
		head := waiting[0]
		best, reasons, complete := p.bestFor(waiting)
		switch {
		case !complete:
			waiting = waiting[1:]
		case best == nil:
			// The refusal of the present nodes is asked for once more: nodes
			// that were added since may have changed it, or take the pod.
			left, present := p.placePresent(waiting[:1])
			if len(left) > 0 {
				p.decision.Unhelped = append(p.decision.Unhelped, Unhelped{
					Pod: head.key(), Forecast: head.forecast, Present: present, Groups: reasons,
				})
			}
			waiting = waiting[1:]
		default:
			waiting = p.grow(best, waiting)
		}
	}
	for _, g := range p.groups {
		if g.added > 0 {
			p.decision.Adds = append(p.decision.Adds, g.add())
		}
	}
}

// placePresent places the pods on nodes that the simulation has, and returns
// those that found no place, with the reasons of the last.
func (p *planner) placePresent(pods []candidate) (waiting []candidate, reasons []string) {
	for _, c := range pods {
		node, why, err := p.sim.Place(c.pod)
		switch {
		case !p.answered(err):
		case node == "":
			waiting, reasons = append(waiting, c), why
		default:
			p.used[node] = true
			p.decision.Placed++
		}
	}
	return waiting, reasons
}

// option is a group that can take the first of the waiting pods on a new node,
// and all that would go on that node.
type option struct {
	group  *group
	placed []int // indices of the waiting pods, ascending
	waste  float64
}

// bestFor returns the group whose new node for the first waiting pod wastes
// least, or the reason of every group, those with the same one together. It is
// incomplete when the simulation did not answer.
func (p *planner) bestFor(waiting []candidate) (best *option, reasons []string, complete bool) {
	var why []string
	groups := map[string][]string{}
	refuses := func(group, reason string) {
		if groups[reason] == nil {
			why = append(why, reason)
		}
		groups[reason] = append(groups[reason], group)
	}
	for _, g := range p.groups {
		if obstacle := p.obstacle(g); obstacle != "" {
			refuses(g.Name, obstacle)
			continue
		}
		tried, refusal, err := p.try(g, waiting)
		if !p.answered(err) {
			return nil, nil, false
		}
		if tried == nil {
			refuses(g.Name, strings.Join(refusal, ", "))
			continue
		}
		if best == nil || tried.better(best) {
			best = tried
		}
	}
	for _, reason := range why {
		word := "group"
		if len(groups[reason]) > 1 {
			word = "groups"
		}
		reasons = append(reasons, fmt.Sprintf("%s %s: %s", word, strings.Join(groups[reason], ", "), reason))
	}
	return best, reasons, true
}

// better prefers less waste; then the smaller group, which balances equal
// groups; then the name, by the order in which groups are tried.
func (o *option) better(than *option) bool {
	const same = 1e-9
	if math.Abs(o.waste-than.waste) > same {
		return o.waste < than.waste
	}
	return cmp.Less(o.group.size(), than.group.size())
}

// try fills one new node of the group with the first waiting pod and whatever
// else fits, and takes it all back. It returns nothing and the reasons when
// the first does not fit.
func (p *planner) try(g *group, waiting []candidate) (*option, []string, error) {
	p.sim.Fork()
	defer p.sim.Revert()
	name := g.nextName()
	if err := p.sim.AddNode(newNode(g.Template, name)); err != nil {
		return nil, nil, err
	}
	free := g.capacity
	o := &option{group: g}
	for i, c := range waiting {
		// What exceeds the bare capacity is not worth the question. The first
		// pod is asked for all the same, for the reasons.
		if i > 0 && !c.needs.within(free) {
			continue
		}
		node, reasons, err := p.sim.Place(c.pod, name)
		if i == 0 && (err != nil || node == "") {
			return nil, reasons, err
		}
		if !p.answered(err) || node == "" {
			continue
		}
		o.placed = append(o.placed, i)
		free = free.minus(c.needs)
	}
	o.waste = free.of(g.capacity)
	return o, nil, nil
}

// grow adds the node of the option for good and returns the pods still waiting.
func (p *planner) grow(o *option, waiting []candidate) []candidate {
	g := o.group
	name := g.nextName()
	if !p.answered(p.sim.AddNode(newNode(g.Template, name))) {
		return waiting[1:]
	}
	g.added++
	taken := make(map[int]bool, len(o.placed))
	for _, i := range o.placed {
		node, _, err := p.sim.Place(waiting[i].pod, name)
		if p.answered(err) && node != "" {
			taken[i] = true
			g.helped = append(g.helped, waiting[i].key())
		}
	}
	// The first pod leaves the list even if it was refused the second time:
	// every round ends with fewer pods.
	taken[0] = true
	rest := waiting[:0:0]
	for i, c := range waiting {
		if !taken[i] {
			rest = append(rest, c)
		}
	}
	return rest
}

// obstacle says why the group cannot grow now; empty when it can.
func (p *planner) obstacle(g *group) string {
	if g.Target+g.added >= g.Max {
		return fmt.Sprintf("at its maximum %d", g.Max)
	}
	backoff := p.in.History.Backoff[g.Name]
	if wait := backoff.Until.Sub(p.in.Now); wait > 0 {
		return fmt.Sprintf("left alone for another %s: %s", wait.Round(time.Second), backoff.Reason)
	}
	if i := slices.IndexFunc(p.failures, func(f failure) bool { return f.group == g.Name }); i >= 0 {
		return p.failures[i].reason
	}
	return ""
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
		Target: g.Target + g.added,
		Pods:   g.helped,
		Reason: strings.Join(why, "; "),
	}
}

func first(pods []types.NamespacedName) string { return pods[0].String() }
