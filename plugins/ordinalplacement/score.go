// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package ordinalplacement

import (
	"context"
	"slices"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// PreScore skips where the nodes that are left are equally good.
func (pl *OrdinalPlacement) PreScore(_ context.Context, state fwk.CycleState, _ *v1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	if v, err := read(state); err != nil || !v.scores() {
		return fwk.NewStatus(fwk.Skip)
	}
	return nil
}

// Score prefers the planned domain, and nodes without siblings.
func (pl *OrdinalPlacement) Score(_ context.Context, state fwk.CycleState, _ *v1.Pod, nodeInfo fwk.NodeInfo) (int64, *fwk.Status) {
	v, err := read(state)
	if err != nil {
		return 0, fwk.AsStatus(err)
	}
	alone := true
	if v.placement.Policy.SeparateNodes == statefulset.PreferOwnNode {
		_, held := v.placement.Held(nodeInfo.Node().Name)
		_, shared := pl.sibling(v.placement.Slot, nodeInfo)
		alone = !held && !shared
	}
	return v.score(nodeInfo.Node(), alone), nil
}

// ScoreExtensions is nil: scores need no second look.
func (pl *OrdinalPlacement) ScoreExtensions() fwk.ScoreExtensions { return nil }

// scores tells whether some of the nodes that are not refused are better than
// others.
func (v *verdict) scores() bool {
	return len(v.domains) > 1 || v.placement.Policy.SeparateNodes == statefulset.PreferOwnNode
}

// Of the score of a node, its domain is the larger part.
const domainShare, nodeShare = 80, 20

// score judges a node that is not refused: the planned domain before the next
// best ones, and a node without siblings before one with some.
func (v *verdict) score(node *v1.Node, alone bool) int64 {
	score := int64(0)
	if n := len(v.domains); n > 0 {
		if rank := slices.Index(v.domains, node.Labels[v.key]); rank >= 0 {
			score = int64(domainShare * (n - rank) / n)
		}
	}
	if alone {
		score += nodeShare
	}
	return score
}
