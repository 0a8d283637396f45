// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package quorumguard

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// Flights are the pods that preemptions of this process take away and that are
// not seen to terminate yet. Between the choice of victims and
// that moment further pods are scheduled, and must not count on them.
//
// A victim is in flight from the end of the cycle that chose it, or from when
// its deletion is asked for if that is earlier. That it is not seen to be bound
// changes nothing: it may be by now, and be ready before its deletion is asked
// for. It is no longer when it is seen to terminate, when it goes back to the
// queue instead, or when no preemptor is left that asks for it: one whose
// preemption failed asks for no more, and what it has asked for is answered.
type Flights struct {
	mu     sync.Mutex
	pods   map[types.UID]map[types.UID]stage // by victim and preemptor
	failed map[types.UID]struct{}            // preemptors whose last preemption did not go through
	// over are victims of each preemptor's last preemption that were no longer
	// in flight when the preemption of them ended.
	over map[types.UID]map[types.UID]struct{}
}

// stage is how far a preemptor is with a victim.
type stage int

const (
	chosen  stage = iota + 1
	asked         // the API server has not answered yet
	deleted       // it took the deletion
)

// NewFlights returns no flights.
func NewFlights() *Flights {
	return &Flights{pods: map[types.UID]map[types.UID]stage{}, failed: map[types.UID]struct{}{}, over: map[types.UID]map[types.UID]struct{}{}}
}

// Has tells whether a pod is in flight.
func (f *Flights) Has(uid types.UID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, has := f.pods[uid]
	return has
}

// Landed tells that a pod is seen to terminate, or is gone.
func (f *Flights) Landed(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pods, uid)
	f.forget(uid)
}

// requeued tells that the binding of a pod was ended in its stead: nobody
// deletes it.
func (f *Flights) requeued(victim types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pods, victim)
}

// begins tells that a preemptor looks for victims.
func (f *Flights) begins(preemptor types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(preemptor)
}

// forget forgets the last preemption by a preemptor.
func (f *Flights) forget(preemptor types.UID) {
	delete(f.failed, preemptor)
	delete(f.over, preemptor)
}

// chosen tells of a victim that is going to be deleted. The deletions may have
// begun by then, and even have failed or be over.
func (f *Flights) chosen(preemptor, victim types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, failed := f.failed[preemptor]
	if _, over := f.over[preemptor][victim]; !failed && !over {
		f.reach(preemptor, victim, chosen)
	}
}

// asks tells that the API server is about to be asked for the deletion.
func (f *Flights) asks(preemptor, victim types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reach(preemptor, victim, asked)
}

// deleted tells of a victim whose deletion the API server took, unless it was
// requeued, or landed already.
func (f *Flights) deleted(preemptor, victim types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, flies := f.pods[victim][preemptor]; flies {
		f.reach(preemptor, victim, deleted)
		return
	}
	if f.over[preemptor] == nil {
		f.over[preemptor] = map[types.UID]struct{}{}
	}
	f.over[preemptor][victim] = struct{}{}
}

// reach never goes back: who is taken twice goes all the same.
func (f *Flights) reach(preemptor, victim types.UID, to stage) {
	if f.pods[victim] == nil {
		f.pods[victim] = map[types.UID]stage{}
	}
	f.pods[victim][preemptor] = max(f.pods[victim][preemptor], to)
}

// fails tells that a preemption did not go through, for this victim stays.
// Upstream gives up those that it has not asked for, and tries again from the
// start. Others it deletes at the same time: their own answers are still to come.
func (f *Flights) fails(preemptor, victim types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed[preemptor] = struct{}{}
	for uid, its := range f.pods {
		if its[preemptor] == chosen || uid == victim && its[preemptor] == asked {
			delete(its, preemptor)
		}
		if len(its) == 0 {
			delete(f.pods, uid)
		}
	}
}
