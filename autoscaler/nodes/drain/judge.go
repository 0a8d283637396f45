// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package drain

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/disruption"
)

// Fate is what becomes of a pod when its node goes.
type Fate string

const (
	// Ends: it lives and dies with its node, or is over already.
	Ends Fate = "Ends"
	// Leaves: it is being deleted.
	Leaves Fate = "Leaves"
	// Moves: it may be evicted now.
	Moves Fate = "Moves"
	// Waits: it may not be evicted now.
	Waits Fate = "Waits"
	// Stays: it may not be evicted as long as it is what it is.
	Stays Fate = "Stays"
)

// Verdict is the fate of a pod, and why.
type Verdict struct {
	Fate Fate
	// Rule is the name of the rule that spoke; empty where none did and the pod moves.
	Rule   string
	Reason string
}

// Judge judges pods in one look at the cluster, and counts what moves.
type Judge struct {
	world  World
	rules  []rule
	ledger *disruption.Ledger
	sets   map[types.UID]*set // by pod
	reach  map[reachKey]bool
}

// reachKey is a volume and the node that it is asked about.
type reachKey struct{ volume, node string }

// set is a Set with what moves of it.
type set struct {
	Set
	available int
	// taken is the slot that is on its way by this decision, nil if there is none.
	taken *Slot
}

// NewJudge returns the judge of one look, who has taken nothing yet.
func NewJudge(w World) *Judge {
	j := &Judge{
		world: w, rules: rules(), ledger: disruption.NewLedger(w.Budgets, disruption.Ready),
		sets: map[types.UID]*set{}, reach: map[reachKey]bool{},
	}
	for _, s := range w.Sets {
		with := &set{Set: s}
		for _, slot := range s.Slots {
			j.sets[slot.Pod.UID] = with
			if disruption.Ready(slot.Pod) {
				with.available++
			}
		}
	}
	return j
}

// Pod says what becomes of a pod when its node goes. The first rule that says something counts.
func (j *Judge) Pod(pod *v1.Pod) Verdict {
	for _, r := range j.rules {
		if fate, reason := r.judge(j, pod); fate != "" {
			return Verdict{Fate: fate, Rule: r.name, Reason: reason}
		}
	}
	return Verdict{Fate: Moves}
}

// Take counts pods of one node that are to move, one after another: each of their sets and
// budgets gives one at a time.
func (j *Judge) Take(pods ...*v1.Pod) {
	j.ledger.Spend(true, pods...)
	for _, pod := range pods {
		if s := j.sets[pod.UID]; s != nil && s.taken == nil {
			s.taken = s.slot(pod)
		}
	}
}

func (s *set) slot(pod *v1.Pod) *Slot {
	for i := range s.Slots {
		if s.Slots[i].Pod.UID == pod.UID {
			return &s.Slots[i]
		}
	}
	return nil
}

// Returns tells that the pod is a slot that comes back when it has ended, though nobody has made its next pod yet.
func (j *Judge) Returns(pod *v1.Pod) bool {
	s := j.sets[pod.UID]
	return s != nil && pod.DeletionTimestamp != nil && !s.slot(pod).Extra
}

// Ordinal is that of the slot that the pod fills, or -1.
func (j *Judge) Ordinal(pod *v1.Pod) int {
	if s := j.sets[pod.UID]; s != nil {
		return s.slot(pod).Ordinal
	}
	return -1
}
