// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Hold is the room that is kept on a node for a slot whose pod leaves it, or is
// gone. It is never changed once made.
type Hold struct {
	Slot Slot
	Node string
	// PodUID is the UID of the slot's last pod. While that is on the node, it
	// takes the room itself.
	PodUID   types.UID
	Priority int32
	// Needs are those of the last pod and of the next one, whichever are larger.
	Needs Needs
	// Since is when the pod began to leave.
	Since time.Time
	// Fixed means that the slot can run on this node only. Such a hold never
	// ends by time, nor because the node is cordoned or drained.
	Fixed bool
	// Until is when the hold ends; zero while that is not known, and of a Fixed one.
	Until time.Time
	// StandIn is a pod that takes the Needs.
	StandIn *corev1.Pod
}

// standInUID is like no UID that the API server gives.
func standInUID(slot Slot) types.UID {
	return types.UID("hold/" + slot.Set.Namespace + "/" + slot.PodName())
}

// Release is why a hold ended.
type Release string

// The releases.
const (
	// Bound: the slot has a pod on a node again, whichever that is.
	Bound Release = "bound"
	// Unwanted: the set was scaled below the slot, or is gone.
	Unwanted Release = "unwanted"
	// NodeGone: the node object is gone.
	NodeGone Release = "node_gone"
	// NodeLeaving: the node was cordoned or is being drained, and the slot can
	// run elsewhere.
	NodeLeaving Release = "node_leaving"
	// Expired: the slot can run elsewhere, and its policy keeps no room for so long.
	Expired Release = "expired"
)

// Aboard is a pod on a node. The zero Aboard is none.
type Aboard struct {
	Node     string
	UID      types.UID
	Priority int32
	Needs    Needs
	// Leaving means that the pod is being deleted.
	Leaving bool
}

// Sight is what is seen of a slot when it is looked at. What is behind Pod
// matters only of a slot whose pod is not there to stay.
type Sight struct {
	Now time.Time
	Pod Aboard
	// Wanted means that its set wants the slot.
	Wanted bool
	// Gone is the pod that made somebody look and is not there any more, and Note
	// what a claim remembers. They matter of a slot that the ledger does not know.
	Gone Aboard
	Note *Note
	// NodeThere means that the node of the berth exists, NodeLeaving that it is
	// cordoned or being drained.
	NodeThere, NodeLeaving bool
	// Fixed means that this node is the only one where the slot can run.
	Fixed bool
	// HoldFor is how long the room is kept of a slot that is not Fixed.
	HoldFor time.Duration
	// Undecided means that HoldFor is not known yet: nothing ends by time.
	Undecided bool
	// Next is what the next pod will take, as far as that is known.
	Next Needs
}

// Berth is where a slot's last pod is, or was. The zero Berth is none.
type Berth struct {
	// Aboard is that pod. It leaves, or has left, unless gone and Hold are zero.
	Aboard
	// Hold is nil where no room is kept.
	Hold *Hold
	// gone is when the pod was seen to be gone.
	gone time.Time
	// forfeit means that the room was given up: it is not kept again before the
	// slot has had another pod.
	forfeit bool
}

// absent tells whether the berth is of a slot without a pod that stays.
func (b Berth) absent() bool { return b.Leaving || !b.gone.IsZero() }

// Kept returns since when room is kept for the slot, zero if none is.
func (b Berth) Kept() time.Time {
	if b.Hold == nil {
		return time.Time{}
	}
	return b.Hold.Since
}

// next returns the berth after a look at its slot, and why there is no hold,
// which matters if there was one.
func (b Berth) next(slot Slot, s Sight) (Berth, Release) {
	since := s.Now
	switch {
	case s.Pod.Node != "" && !s.Pod.Leaving:
		return Berth{Aboard: s.Pod}, Bound
	case s.Pod.Node != "" && s.Pod.UID != b.UID: // it leaves already when it is seen first
		b = Berth{Aboard: s.Pod}
	case s.Pod.Node != "":
		b.Aboard, b.gone = s.Pod, time.Time{}
	case b.Node == "":
		if b, since = noted(s); b.Node == "" {
			return Berth{}, Unwanted
		}
		b.gone = since
	case b.gone.IsZero():
		b.gone = s.Now
	}
	if b.Hold != nil {
		since = b.Hold.Since
	}
	if why := b.against(s); why != "" {
		if why == Unwanted && s.Pod.Node == "" {
			return Berth{}, why // when it is wanted again, it is new
		}
		b.Hold, b.forfeit = nil, why != Unwanted
		return b, why
	}
	hold := Hold{
		Slot: slot, Node: b.Node, PodUID: b.UID, Priority: b.Priority,
		Needs: b.Needs.Larger(s.Next), Since: since, Fixed: s.Fixed,
	}
	if !s.Fixed && !s.Undecided && !b.gone.IsZero() {
		hold.Until = b.gone.Add(s.HoldFor)
	}
	hold.StandIn = hold.Needs.standIn(slot, hold.Priority)
	b.Hold, b.forfeit = &hold, false
	return b, ""
}

// against returns what speaks against keeping the room, empty if nothing does.
func (b Berth) against(s Sight) Release {
	switch {
	case !s.Wanted:
		return Unwanted
	case !s.NodeThere:
		return NodeGone
	case s.Fixed:
		return ""
	case b.forfeit:
		return Expired
	case s.NodeLeaving:
		return NodeLeaving
	case s.Undecided:
		return ""
	case s.HoldFor <= 0:
		return Expired
	case !b.gone.IsZero() && !s.Now.Before(b.gone.Add(s.HoldFor)):
		return Expired
	}
	return ""
}

// noted returns the berth of a pod that is just gone, else the one that a claim
// remembers, and since when its slot is absent. A note without the UID of a pod
// is of a slot whose room was given up, or that its set did not want.
func noted(s Sight) (Berth, time.Time) {
	if s.Gone.Node != "" {
		return Berth{Aboard: s.Gone}, s.Now
	}
	if s.Note == nil || (s.Note.HoldStart == nil && s.Note.PodUID == "") {
		return Berth{}, time.Time{}
	}
	since := s.Now
	if s.Note.HoldStart != nil {
		since = s.Note.HoldStart.Time
	}
	return Berth{Aboard: Aboard{
		Node: s.Note.Node, UID: s.Note.PodUID, Priority: s.Note.Priority, Needs: Needs{Requests: s.Note.Requests},
	}}, since
}
