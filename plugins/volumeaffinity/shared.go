// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	"time"

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
	// HomeFailed tells that the pod fits at home and could not be bound there: the
	// next time it is placed as if it had none.
	HomeFailed(pod *v1.Pod, node string)
}

// Waiters knows who was judged and has no node yet.
type Waiters interface {
	// Waits tells what a pod is judged by, as far as it is known now. The pod is
	// woken when a node comes to reach the volumes, when there is more room in
	// one of the classes, when a draft in a contended one ends, and when a claim
	// of it goes.
	Waits(pod *v1.Pod, by Judged)
	// Settled tells that a pod waits no longer.
	Settled(pod *v1.Pod)
}

// Judged is what the verdict about a pod was made of.
type Judged struct {
	// Volumes are the bound ones.
	Volumes []*reach.Volume
	// Classes are those of the volumes that are still to be made.
	Classes []string
	// Contended are those of them in which others had drafts.
	Contended []string
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
	// It returns whether that was news.
	RoomChanged(namespace, name string) bool
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
	// LostAfter is when the policy gives a local volume up whose node is gone; 0 is
	// never.
	LostAfter time.Duration
	// Attached is where the volume is still attached; Detaching that it will
	// not be for long.
	Attached, Volume string
	Detaching        bool
}
