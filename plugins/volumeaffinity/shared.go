// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity/capacity"
	"github.com/berth-dev/berth/plugins/volumeaffinity/reach"
	v1 "k8s.io/api/core/v1"
)

// Shared is what the plugin knows together with its siblings in other
// profiles. It follows the informers, and is followed by a simulation.
type Shared struct {
	// Reach knows which nodes reach a volume.
	Reach *reach.Index
	// Room knows how much storage is left where.
	Room    *capacity.Ledger
	Homes   Homes
	Waiters Waiters
	Claims  Claims
}

// Homes knows where pods come back to.
type Homes interface {
	// Placing tells that a pod is being placed: this process is the one that
	// places pods.
	Placing(pod *v1.Pod) (statefulset.Slot, bool)
	// Home returns the node that a pod is to come back to.
	Home(pod *v1.Pod) Home
	// Returns tells whether two pods fill one slot.
	Returns(pod, other *v1.Pod) bool
	// HomeFailed tells that the pod fits at home and could not be bound there.
	HomeFailed(pod *v1.Pod, node string)
}

// Waiters knows who was judged and has no node yet.
type Waiters interface {
	// Waits tells that a pod was judged by these volumes and classes, as far as
	// they are known now. It is woken when a node comes to reach the volumes, or
	// a draft in one of the classes ends.
	Waits(pod *v1.Pod, volumes []*reach.Volume, classes []string)
	// Settled tells that a pod waits no longer.
	Settled(pod *v1.Pod)
}

// Claims knows what becomes of claims without a volume, and of the room for them.
type Claims interface {
	// HasUnclaimed tells whether volumes of a class wait for a claim: then a
	// claim may need no room.
	HasUnclaimed(storageClass string) bool
	// GaveUp tells that a claim will not be provisioned for the node that its pod
	// was given.
	GaveUp(claim capacity.Claim)
	// RoomChanged tells that what a driver says of its room is another thing now.
	RoomChanged(namespace, name string)
	// Misdirected tells that a claim is being provisioned for a node that is gone.
	Misdirected(claim *v1.PersistentVolumeClaim)
}

// Home is the node that a pod comes back to. The zero Home is none.
type Home struct {
	// Node is where the pod is wanted; empty if that does not matter.
	Node string
	// Required means that no other node will do.
	Required bool
	// Certain means that it gets that node whenever it fits there; else the
	// node is only better than others.
	Certain bool
	// Slot is the slot for people, empty for a pod that fills none.
	Slot string
	// Last is where the last pod of the slot was.
	Last string
	// Attached is where the volume is still attached; Detaching that it will
	// not be for long.
	Attached, Volume string
	Detaching        bool
}
