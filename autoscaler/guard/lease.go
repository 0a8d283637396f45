// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import "time"

// Others who act on what Berth acts on renew a Lease, and that Lease is what tells of them. Upstream's updater evicts and
// resizes the pods of any VPA, whoever recommends for it, while upstream's webhook renews one; Cluster Autoscaler
// adds and removes nodes while it leads.
//
// What is promised, for any sequence of looks:
//
//   - while the holder may believe its Lease to be fresh, by its own rule and Berth's clock, Berth does not act;
//   - a Lease that moves between two looks is fresh, whatever its times say: clocks differ;
//   - a Lease that is out of sight stands for a fresh one, unless a look has shown none less than a lifetime ago.

// LeaseLife is how long a Lease stands that nobody renews. Upstream's updater trusts it as long:
// AdmissionControllerStatusTimeout in pkg/utils/status of VPA 1.7.3; a Cluster Autoscaler with its defaults stops to act
// after a quarter of it. The duration that the Lease names is not looked at.
const LeaseLife = time.Minute

// Holder is what is known of whoever holds a Lease.
type Holder int

const (
	// HolderUnknown: it may be there.
	HolderUnknown Holder = iota
	// HolderGone: it cannot act.
	HolderGone
	// HolderActive: it may act.
	HolderActive
)

// LeaseSight is what one look at the Lease has shown.
type LeaseSight int

const (
	// LeaseUnseen: the API server has not said.
	LeaseUnseen LeaseSight = iota
	// LeaseMissing: there is none.
	LeaseMissing
	// LeaseSeen: there is one.
	LeaseSeen
)

// LeaseInput is one look at the Lease, and what the last one left.
type LeaseInput struct {
	Now   time.Time
	Sight LeaseSight
	// Created and Renewed are the times of a Lease that is seen; Renewed is zero where nobody has yet.
	Created, Renewed time.Time
	// History is LeaseDecision.History of the last look.
	History LeaseHistory
}

// LeaseDecision is what to think of the holder.
type LeaseDecision struct {
	Holder Holder
	// Age is the time since the last sign of life, where one is known.
	Age     time.Duration
	History LeaseHistory
}

// LeaseHistory is what must be remembered between looks.
type LeaseHistory struct {
	seen    bool      // a Lease
	renewed time.Time // as it says
	moved   time.Time // when that was seen to change last, by Berth's clock
	absent  time.Time // when a look has shown last that there is no fresh one
}

// JudgeLease decides whether the holder of a Lease may act.
func JudgeLease(in LeaseInput) LeaseDecision {
	h := in.History
	switch in.Sight {
	case LeaseUnseen:
		if !h.absent.IsZero() && in.Now.Sub(h.absent) < LeaseLife {
			return LeaseDecision{Holder: HolderGone, History: h}
		}
		return LeaseDecision{Holder: HolderUnknown, History: h}
	case LeaseMissing:
		return LeaseDecision{Holder: HolderGone, History: LeaseHistory{absent: in.Now}}
	}
	if h.seen && !h.renewed.Equal(in.Renewed) {
		h.moved = in.Now
	}
	h.seen, h.renewed = true, in.Renewed
	alive := h.moved
	for _, sign := range []time.Time{in.Created, in.Renewed} {
		if sign.After(alive) {
			alive = sign
		}
	}
	d := LeaseDecision{Holder: HolderActive, Age: in.Now.Sub(alive)}
	if d.Age >= LeaseLife {
		d.Holder, h.absent = HolderGone, in.Now
	} else {
		h.absent = time.Time{}
	}
	d.History = h
	return d
}
