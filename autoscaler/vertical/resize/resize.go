// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package resize decides how recommended sizes reach the pods that run: which pod
// is changed next, in place or by being re-created, and which change is taken back.
//
// What it promises, whatever the node agents do and wherever a leader is replaced:
//
//   - of a set one ordinal changes at a time, the highest first. The next one waits
//     until the last is ready and its resize is acknowledged; one that can not be
//     changed now is stepped over, with its reason, and so is one whose revert the API
//     server refuses. Ordinals below the partition are
//     left alone;
//   - no PodDisruptionBudget, quorum, maxUnavailable or minReplicas is broken.
//     A container restart counts as a disruption, a resize without one does not;
//   - nothing is patched that the API server or the kubelet would refuse by a rule
//     that can be known before (class.go names the rules and their source);
//   - a pod is evicted only after an answer that its successor gets the new size and
//     has a place; what a resize has reserved is given back before;
//   - a resize that does not come through is reverted, and tried again after a time
//     that doubles. A resize that somebody else asked for is never touched.
//
// What must be known about the node or the scheduler is asked as a Question and
// answered in the next Input: Decide is called again until it asks nothing more.
//
// # After a change of the leader
//
// Everything that makes it resume is at the API server:
//
//   - spec.containers[*].resources against status.containerStatuses[*].resources and
//     allocatedResources, the conditions PodResizePending and PodResizeInProgress, and
//     status.observedGeneration say whether a resize is under way;
//   - the annotation RecordAnnotation on the pod, written before each patch, says whose
//     resize it is, what was there before, since when, and how often it failed. A record
//     whose sizes are not in the spec is an intention that was not carried out;
//   - an eviction needs no note: the slot is absent or its pod not ready, and the pod's
//     creationTimestamp keeps it from being evicted again at once.
//
// History holds only what the API server refused, which a new leader asks for once
// more, and the places that were asked for, which it asks for when it is their turn.
package resize

import (
	"slices"

	"github.com/berth-dev/berth/autoscaler/disruption"
)

// Decide says what to do.
func Decide(in Input) Decision { return decide(in, nil) }

// decide says what to do beside actions that are decided already.
func decide(in Input, beside []Action) Decision {
	d := &decider{Input: in, ledger: disruption.NewLedger(in.Budgets, available), taken: map[string]bool{}}
	d.out.History = in.History.learn(in)
	for _, a := range beside {
		d.count(a)
	}
	targets := slices.SortedFunc(slices.Values(in.Targets), func(a, b Target) int { return a.compare(b.Key) })
	for _, t := range targets {
		d.decide(t)
	}
	return d.out
}

// decider gathers a decision over the targets, which share the budgets.
type decider struct {
	Input
	out Decision
	// ledger counts the disruptions that this decision takes from the budgets.
	ledger *disruption.Ledger
	// taken are the nodes to which this decision lets a pod grow or go.
	taken map[string]bool
}

// learn takes the refusals in and forgets pods that are gone.
func (h History) learn(in Input) History {
	next := History{Refusals: map[Write]Refusal{}}
	for _, t := range in.Targets {
		for _, p := range t.Pods {
			for _, kind := range []Kind{Patch, Revert, Evict} {
				write := Write{Pod: p.Object.UID, Kind: kind}
				if r, ok := h.Refusals[write]; ok {
					next.Refusals[write] = r
				}
			}
		}
	}
	for _, r := range in.Refused {
		write := Write{Pod: r.Pod, Kind: r.Kind}
		next.Refusals[write] = Refusal{At: in.Now, Tries: next.Refusals[write].Tries + 1, Message: r.Message}
	}
	return next
}
