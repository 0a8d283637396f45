// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package slothold

import (
	"cmp"
	"context"
	"slices"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// PreScore skips where the pod may take nothing. Whoever may take a hold would
// be drawn to it: to those who score resources, a node whose slots are away
// looks emptier than others.
func (pl *SlotHold) PreScore(_ context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) *fwk.Status {
	if pl.shared.Ledger.None() {
		return fwk.NewStatus(fwk.Skip)
	}
	s := pl.subject(state, pod)
	for _, nodeInfo := range nodes {
		if slices.ContainsFunc(pl.shared.Ledger.On(nodeInfo.Node().Name), s.mayTake) {
			return nil
		}
	}
	return fwk.NewStatus(fwk.Skip)
}

// Score prefers every node where the pod takes nothing that is kept.
func (pl *SlotHold) Score(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodeInfo fwk.NodeInfo) (int64, *fwk.Status) {
	if pl.touches(ctx, pl.subject(state, pod), pod, nodeInfo, pl.shared.Ledger.On(nodeInfo.Node().Name)) {
		return 0, nil
	}
	return fwk.MaxScore, nil
}

// ScoreExtensions is nil: scores need no second look.
func (pl *SlotHold) ScoreExtensions() fwk.ScoreExtensions { return nil }

// other tells whether a hold is not the pod's own.
func (s *subject) other(hold statefulset.Hold) bool { return !s.fills || s.slot != hold.Slot }

// mayTake tells whether a hold is another's, and does not keep the pod out.
func (s *subject) mayTake(hold statefulset.Hold) bool { return s.other(hold) && !s.respects(hold) }

// touches tells whether a pod that is not refused would take of what is kept on
// a node: not all slots could come back beside it.
func (pl *SlotHold) touches(ctx context.Context, s *subject, pod *v1.Pod, nodeInfo fwk.NodeInfo, holds []statefulset.Hold) bool {
	return slices.ContainsFunc(holds, s.mayTake) && pl.lacking(ctx, s.other, pod, nodeInfo, holds) != ""
}

// takes returns the holds that a pod which is not refused would take. Where
// there is room beside it for some, the most important ones stay.
func (pl *SlotHold) takes(ctx context.Context, s *subject, pod *v1.Pod, nodeInfo fwk.NodeInfo, holds []statefulset.Hold) (taken []statefulset.Hold) {
	if !pl.touches(ctx, s, pod, nodeInfo, holds) {
		return nil
	}
	var stay, open []statefulset.Hold
	for _, hold := range holds {
		if s.mayTake(hold) {
			open = append(open, hold)
		} else {
			stay = append(stay, hold)
		}
	}
	slices.SortStableFunc(open, func(a, b statefulset.Hold) int { return cmp.Compare(b.Priority, a.Priority) })
	for _, hold := range open {
		with := append(slices.Clone(stay), hold)
		if pl.lacking(ctx, s.other, pod, nodeInfo, with) != "" {
			taken = append(taken, hold)
		} else {
			stay = with
		}
	}
	return taken
}
