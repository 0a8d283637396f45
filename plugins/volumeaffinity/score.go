// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	"context"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// PreScore skips where the nodes that are left are equally good.
func (pl *VolumeAffinity) PreScore(_ context.Context, state fwk.CycleState, _ *v1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	if v, err := read(state); err != nil || (v.room == nil && v.home.Node == "") {
		return fwk.NewStatus(fwk.Skip)
	}
	return nil
}

// Score prefers the node where the pod was or its volume still is attached, and
// then those where the volumes that are to be made for it leave the storage in
// the best shape.
func (pl *VolumeAffinity) Score(_ context.Context, state fwk.CycleState, _ *v1.Pod, nodeInfo fwk.NodeInfo) (int64, *fwk.Status) {
	v, err := read(state)
	switch {
	case err != nil:
		return 0, fwk.AsStatus(err)
	case nodeInfo.Node().Name == v.home.Node:
		return fwk.MaxScore, nil
	case v.room != nil:
		return v.room.Score(nodeInfo.Node().Labels), nil
	}
	return 0, nil
}

// ScoreExtensions is nil: scores need no second look.
func (pl *VolumeAffinity) ScoreExtensions() fwk.ScoreExtensions { return nil }
