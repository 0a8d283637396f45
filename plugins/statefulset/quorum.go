// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import "strconv"

// Quorum is how many slots of a set preemption leaves alone. The zero value is
// none at all.
type Quorum struct {
	// Majority is more than half of the slots that the set wants, whether they
	// run or not: who has voted for a leader counts members, not pods.
	Majority bool
	// Slots is a number of slots; it counts where Majority is false.
	Slots int
}

// None tells that preemption may take every slot.
func (q Quorum) None() bool { return !q.Majority && q.Slots == 0 }

// Of returns how many slots must stay of a set that wants so many.
func (q Quorum) Of(wanted int) int {
	if q.Majority {
		return wanted/2 + 1
	}
	return q.Slots
}

// String is what the policy says.
func (q Quorum) String() string {
	switch {
	case q.Majority:
		return "Majority"
	case q.Slots == 0:
		return "None"
	default:
		return strconv.Itoa(q.Slots)
	}
}
