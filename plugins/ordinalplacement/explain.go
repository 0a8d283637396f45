// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package ordinalplacement

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// PostFilter makes no room. It says where the slot belongs, why, and what
// stands in the way there, in the event and the condition of the pod.
func (pl *OrdinalPlacement) PostFilter(_ context.Context, state fwk.CycleState, _ *v1.Pod, refusals fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	v, err := read(state)
	if err != nil {
		return nil, fwk.NewStatus(fwk.Unschedulable) // PreFilter had nothing to do, or said it itself
	}
	nodes, err := pl.handle.SnapshotSharedLister().NodeInfos().List()
	if err != nil {
		return nil, fwk.AsStatus(err)
	}
	var texts []string
	for _, text := range []string{v.explain(nodes, refusals), pl.siblings(v, nodes, refusals)} {
		if text != "" {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return nil, fwk.NewStatus(fwk.Unschedulable)
	}
	return nil, fwk.NewStatus(fwk.Unschedulable, strings.Join(texts, "; "))
}

// mostDomains, mostReasons and mostSiblings bound an explanation: an event has
// 1,024 characters.
const mostDomains, mostReasons, mostSiblings = 3, 4, 4

// siblings names the slots whose nodes are refused because of them, in order:
// "node "n1" has ordinal 0, node "n2" has the volume of ordinal 1".
func (pl *OrdinalPlacement) siblings(v *verdict, nodes []fwk.NodeInfo, refusals fwk.NodeToStatusReader) string {
	if v.shared == nil {
		return ""
	}
	byOrdinal := map[int]string{}
	for _, nodeInfo := range nodes {
		name := nodeInfo.Node().Name
		switch reasons := refusals.Get(name).Reasons(); {
		case slices.Contains(reasons, v.shared[0]):
			if ordinal, found := pl.sibling(v.placement.Slot, nodeInfo); found {
				byOrdinal[ordinal] = fmt.Sprintf("node %q has ordinal %d", name, ordinal)
			}
		case slices.Contains(reasons, v.held[0]):
			if ordinal, found := v.placement.Held(name); found {
				byOrdinal[ordinal] = fmt.Sprintf("node %q has the volume of ordinal %d", name, ordinal)
			}
		}
	}
	var parts []string
	for i, ordinal := range slices.Sorted(maps.Keys(byOrdinal)) {
		if i == mostSiblings {
			parts = append(parts, fmt.Sprintf("and %d more", len(byOrdinal)-i))
			break
		}
		parts = append(parts, byOrdinal[ordinal])
	}
	return strings.Join(parts, ", ")
}

// explain says where a slot belongs, why, and what stands in the way there:
// "ordinal 4 of prod/db belongs in zone-b (…); 3 nodes there: 2 Insufficient
// cpu, 1 node(s) had untolerated taint(s)".
func (v *verdict) explain(nodes []fwk.NodeInfo, refusals fwk.NodeToStatusReader) string {
	if v.key == "" {
		return ""
	}
	text := v.placement.String()
	for i, domain := range v.domains {
		if i == mostDomains {
			return text + fmt.Sprintf("; and %d more", len(v.domains)-i)
		}
		place := "there"
		if i > 0 {
			place = "in " + domain
		}
		text += "; " + v.standsInTheWay(place, domain, nodes, refusals)
	}
	return text
}

func (v *verdict) standsInTheWay(place, domain string, nodes []fwk.NodeInfo, refusals fwk.NodeToStatusReader) string {
	total, counts := 0, map[string]int{}
	for _, nodeInfo := range nodes {
		node := nodeInfo.Node()
		if node.Labels[v.key] != domain {
			continue
		}
		total++
		for _, reason := range refusals.Get(node.Name).Reasons() {
			counts[reason]++
		}
	}
	switch total {
	case 0:
		return "no node " + place
	case 1:
		return "1 node " + place + ": " + list(counts)
	default:
		return fmt.Sprintf("%d nodes %s: %s", total, place, list(counts))
	}
}

// list writes counted reasons, the most frequent first.
func list(counts map[string]int) string {
	reasons := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var parts []string
	for i, reason := range reasons {
		if i == mostReasons {
			parts = append(parts, fmt.Sprintf("and %d more reasons", len(reasons)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%d %s", counts[reason], reason))
	}
	return strings.Join(parts, ", ")
}
