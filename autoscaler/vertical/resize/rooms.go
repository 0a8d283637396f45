// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// keep goes on asking for the place of a pod that has to wait before it is looked at again: a node that was added for
// it would be removed in the meantime. A pod that is to become larger than that is not known to find a place there.
func (d *decider) keep(g *group, m *member) {
	had, ok := d.History.Rooms[m.Object.UID]
	if !ok || !m.wants() || modeOf(g.Target) == vpav1.UpdateModeInPlace || m.to.grows(had) || m.class == Impossible || m.Object.DeletionTimestamp != nil || g.spared(m) {
		return
	}
	d.reserve(g, m, had)
}

// reserve asks for a place for the pod's successor, and remembers the largest size that was found to be right for it.
func (d *decider) reserve(g *group, m *member, most Sizes) {
	d.out.Rooms = append(d.out.Rooms, Room{Target: g.Key, Pod: m.Object, Sizes: m.to})
	if d.out.History.Rooms == nil {
		d.out.History.Rooms = map[types.UID]Sizes{}
	}
	d.out.History.Rooms[m.Object.UID] = most
}
