// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// enoughNames is how many groups are named that say the same.
const enoughNames = 5

// unhelped reports the pods of the class, which differ in nothing that matters.
func (p *planner) unhelped(c *class) {
	// Asked for once more: nodes that were added since may have changed the
	// refusal, or take the pod.
	present := p.place(c)
	groups := p.explain(c, c.refused)
	for _, pod := range c.pods {
		p.decision.Unhelped = append(p.decision.Unhelped, Unhelped{Pod: pod.key(), Forecast: pod.forecast, Present: present, Groups: groups})
	}
	c.pods = nil
}

// explain says why each group does not help, those that say the same together.
func (p *planner) explain(c *class, refused refusals) (reasons []string) {
	var order []string
	groups := map[string][]*group{}
	for _, g := range p.groups {
		reason, ok := refused[g]
		if !ok {
			continue
		}
		if groups[reason] == nil {
			order = append(order, reason)
		}
		groups[reason] = append(groups[reason], g)
	}
	for _, reason := range order {
		same := groups[reason]
		word, names := "group", same[0].Name
		for _, g := range same[1:min(len(same), enoughNames)] {
			word, names = "groups", names+", "+g.Name
		}
		if more := len(same) - enoughNames; more > 0 {
			names += fmt.Sprintf(" and %d more", more)
		}
		reasons = append(reasons, fmt.Sprintf("%s %s: %s", word, names, p.withFigures(c, reason, same)))
	}
	return reasons
}

// withFigures adds to each resource that is said to be short what is needed,
// and the most that a new node of the groups has.
func (p *planner) withFigures(c *class, reason string, groups []*group) string {
	parts := strings.Split(reason, ", ")
	for i, part := range parts {
		_, name, short := strings.Cut(part, "Insufficient ")
		needs, ok := p.resource(c.demand, v1.ResourceName(name))
		if !short || !ok {
			continue
		}
		most, known := int64(0), true
		for _, g := range groups {
			room, ok := p.resource(g.room, v1.ResourceName(name))
			most, known = max(most, room), known && ok
		}
		if !known || needs <= most {
			continue
		}
		at := ""
		if len(groups) > 1 {
			at = "at most "
		}
		parts[i] = fmt.Sprintf("%s (needs %s, a new node has %s%s free)", part, figure(name, needs), at, figure(name, most))
	}
	return strings.Join(parts, ", ")
}

func figure(name string, n int64) string {
	switch v1.ResourceName(name) {
	case v1.ResourceCPU:
		return resource.NewMilliQuantity(n, resource.DecimalSI).String()
	case v1.ResourceMemory, v1.ResourceEphemeralStorage:
		return resource.NewQuantity(n, resource.BinarySI).String()
	}
	return resource.NewQuantity(n, resource.DecimalSI).String()
}
