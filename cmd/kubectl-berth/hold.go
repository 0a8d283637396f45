// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	podresources "k8s.io/component-helpers/resource"
	corev1defaults "k8s.io/kubernetes/pkg/apis/core/v1"
)

// hold is the room that is kept for a slot, as far as it is seen.
type hold struct {
	statefulset.Hold
	// pod is the one of the slot that leaves, or the next one that waits.
	pod *v1.Pod
	// gone means that the last pod is not there any more.
	gone    bool
	holdFor time.Duration
	// required means that the policy lets the slot run nowhere else.
	required bool
	// assumed means that this is what defaults say, as the configuration of the
	// scheduler was not found.
	assumed bool
}

// noted lists the slots of which a claim says that room is kept for them.
func (v *view) noted() map[statefulset.Slot]struct{} {
	noted := map[statefulset.Slot]struct{}{}
	for name, claim := range v.claims {
		note, err := statefulset.ParseNote(claim.Annotations[statefulset.LastNode])
		if err != nil || note.HoldStart == nil {
			continue
		}
		of := statefulset.SlotsOfClaim(claim.Namespace, name, v.templatesOf)
		for _, claimed := range of {
			noted[claimed.Slot] = struct{}{}
		}
		if slot, ok := v.policies.book.SlotOfClaim(claim); ok && len(of) == 0 {
			noted[slot] = struct{}{}
		}
	}
	return noted
}

// kept returns the room that is kept for a slot by its note. The scheduler
// writes notes a moment after it decides, and none while it is down: so the
// decision is made again, by its own code, and a note that what exists speaks
// against is left out. Only time ends no hold here. The scheduler counts it from
// when the pod was gone, of which the note knows no more than that it was later.
func (s *subject) kept(slot statefulset.Slot) (hold, bool) {
	note, noted := s.planner.Noted(slot)
	if !noted || note.HoldStart == nil {
		return hold{}, false
	}
	pods := statefulset.OccupantsOf(slot, s.podsOf(slot), s.slotOf)
	if pods.Stays != nil {
		return hold{}, false
	}
	h := hold{pod: cmp.Or(pods.Waits, pods.Leaves), gone: pods.Leaves == nil}
	next := pods.Waits
	if next == nil && s.set != nil {
		next = podOf(s.set, slot)
	}
	h.holdFor, h.required, h.assumed = s.patience(next)
	sight := statefulset.Sight{
		Now: note.HoldStart.Time, Note: &note, Wanted: s.planner.Wants(slot),
		Fixed: h.required || s.planner.Confined(slot, note.Node), HoldFor: h.holdFor, Next: requestsOf(next),
	}
	if node := s.Node(note.Node); node != nil {
		sight.NodeThere, sight.NodeLeaving = true, statefulset.NodeGoes(node)
	}
	ledger := statefulset.NewHoldLedger()
	ledger.Look([]statefulset.Slot{slot}, func(statefulset.Slot, statefulset.Berth) statefulset.Sight { return sight })
	kept := ledger.Of(slot).Hold
	if kept == nil {
		return hold{}, false
	}
	h.Hold = *kept
	return h, true
}

// podsOf yields the pods that may fill a slot.
func (s *subject) podsOf(slot statefulset.Slot) iter.Seq[*v1.Pod] {
	if slot.Set.Selected {
		return maps.Values(s.pods)
	}
	return slices.Values([]*v1.Pod{s.pods[slot.PodName()]})
}

// patience returns what the scheduler goes by for slots of the set: how long it
// keeps the room of those that could run elsewhere, or that they may not. It
// does so for pods of other schedulers, too.
func (s *subject) patience(next *v1.Pod) (holdFor time.Duration, required, assumed bool) {
	policy := s.policies.book.OfSelected(s.key)
	if s.set != nil {
		policy = s.policies.book.OfSet(s.set)
	}
	if policy == nil && s.set != nil {
		profile, _ := s.profiles.of(next.Spec.SchedulerName)
		policy, assumed = profile.placement, s.profiles.unread != ""
	}
	if policy == nil {
		return v1alpha1.DefaultHoldFor, false, assumed
	}
	return policy.Home.HoldFor, policy.Home.Return == statefulset.ReturnRequired, assumed
}

// requestsOf returns what a pod asks of its node, as the API server completes it.
func requestsOf(pod *v1.Pod) statefulset.Needs {
	if pod == nil {
		return statefulset.Needs{}
	}
	pod = pod.DeepCopy()
	corev1defaults.SetDefaults_Pod(pod)
	return statefulset.Needs{Requests: podresources.PodRequests(pod, podresources.PodResourcesOptions{UseStatusResources: true})}
}

// ends returns between which times the hold ends, both zero while that is not
// known: it is holdFor after the last pod was gone, which was not before it
// began to leave, and not after its successor was made.
func (h hold) ends(now time.Time) (earliest, latest time.Time) {
	if h.Fixed || !h.gone {
		return time.Time{}, time.Time{}
	}
	gone := now
	if h.pod != nil && h.pod.CreationTimestamp.Time.Before(now) {
		gone = h.pod.CreationTimestamp.Time
	}
	if gone.Before(h.Since) { // the clocks differ
		gone = h.Since
	}
	return h.Since.Add(h.holdFor), gone.Add(h.holdFor)
}
