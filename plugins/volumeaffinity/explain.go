// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

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

// PostFilter makes no room. Where few nodes reach a volume it says which volume
// that is and what stands in the way there: the nodes that were left out get no
// reason of their own.
func (pl *VolumeAffinity) PostFilter(_ context.Context, state fwk.CycleState, _ *v1.Pod, refusals fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	if v, err := read(state); err == nil {
		if text := pl.explain(v, refusals); text != "" {
			return nil, fwk.NewStatus(fwk.Unschedulable, text)
		}
	}
	return nil, fwk.NewStatus(fwk.Unschedulable)
}

// mostReasons bounds an explanation: an event has 1,024 characters.
const mostReasons = 4

func (pl *VolumeAffinity) explain(v *verdict, refusals fwk.NodeToStatusReader) string {
	var parts []string
	for i, b := range v.bound {
		if slices.ContainsFunc(v.bound[:i], func(other bound) bool { return other.reach == b.reach }) {
			continue // beside a volume that was named
		}
		nodes := pl.shared.Reach.Nodes(b.reach)
		if n := nodes.Len(); n == 0 || n > narrowLimit || (n > 1 && v.home.Slot != "") {
			continue // PreFilter said it, or the nodes say it themselves, or where the slot belongs does
		}
		counts := map[string]int{}
		for name := range nodes.All() {
			for _, reason := range refusals.Get(name).Reasons() {
				counts[reason]++
			}
		}
		there := fmt.Sprintf("%d nodes reach it", nodes.Len())
		if nodes.Len() == 1 {
			there = "1 node reaches it"
		}
		parts = append(parts, fmt.Sprintf("volume %q of claim %q is in %s; %s: %s", b.name, b.claim, b.reach.Where(), there, list(counts)))
	}
	if v.home.Required && pl.present(v.home.Node) { // else PreFilter said it
		parts = append(parts, fmt.Sprintf("%s must return to node %q (home.returnToNode is Required), so make room there or change the policy: %s",
			v.home.Slot, v.home.Node, strings.Join(refusals.Get(v.home.Node).Reasons(), ", ")))
	}
	if v.home.Attached != "" {
		if why := pl.slowToDetach(v.home.Attached); why != "" {
			parts = append(parts, fmt.Sprintf("volume %q is still attached to node %q, %s", v.home.Volume, v.home.Attached, why))
		}
	}
	return strings.Join(parts, "; ")
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
