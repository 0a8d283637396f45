// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import "time"

// Upstream's updater evicts and resizes the pods of any VPA, whoever recommends for it, and upstream's webhook
// sizes the pods that are created. The updater does so only while the webhook renews a Lease, so that Lease is
// what tells of both.
//
// What is promised, for any sequence of looks:
//
//   - while upstream's updater may believe the Lease to be fresh, by its own rule and Berth's clock, Berth does not act;
//   - a Lease that moves between two looks is fresh, whatever its times say: clocks differ;
//   - a Lease that is out of sight stands for a fresh one, unless a look has shown none less than a lifetime ago.

// UpdaterLife is how long upstream's updater trusts a Lease that nobody renews: AdmissionControllerStatusTimeout in
// pkg/utils/status of VPA 1.7.3. The duration that the Lease names is not looked at, there neither.
const UpdaterLife = time.Minute

// Updater is what is known of upstream's updater.
type Updater int

const (
	// UpdaterUnknown: it may be there.
	UpdaterUnknown Updater = iota
	// UpdaterGone: it cannot act.
	UpdaterGone
	// UpdaterActive: it may act.
	UpdaterActive
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

// UpdaterInput is one look at the Lease, and what the last one left.
type UpdaterInput struct {
	Now   time.Time
	Sight LeaseSight
	// Created and Renewed are the times of a Lease that is seen; Renewed is zero where nobody has yet.
	Created, Renewed time.Time
	// History is UpdaterDecision.History of the last look.
	History UpdaterHistory
}

// UpdaterDecision is what to think of upstream's updater.
type UpdaterDecision struct {
	Updater Updater
	// Age is the time since the last sign of life, where one is known.
	Age     time.Duration
	History UpdaterHistory
}

// UpdaterHistory is what must be remembered between looks.
type UpdaterHistory struct {
	seen    bool      // a Lease
	renewed time.Time // as it says
	moved   time.Time // when that was seen to change last, by Berth's clock
	absent  time.Time // when a look has shown last that there is no fresh one
}

// JudgeUpdater decides whether upstream's updater may act.
func JudgeUpdater(in UpdaterInput) UpdaterDecision {
	h := in.History
	switch in.Sight {
	case LeaseUnseen:
		if !h.absent.IsZero() && in.Now.Sub(h.absent) < UpdaterLife {
			return UpdaterDecision{Updater: UpdaterGone, History: h}
		}
		return UpdaterDecision{Updater: UpdaterUnknown, History: h}
	case LeaseMissing:
		return UpdaterDecision{Updater: UpdaterGone, History: UpdaterHistory{absent: in.Now}}
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
	d := UpdaterDecision{Updater: UpdaterActive, Age: in.Now.Sub(alive)}
	if d.Age >= UpdaterLife {
		d.Updater, h.absent = UpdaterGone, in.Now
	} else {
		h.absent = time.Time{}
	}
	d.History = h
	return d
}
