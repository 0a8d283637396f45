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
// A victim is in flight from the end of the cycle that chose it, or from its
// deletion if that is earlier. It is no longer when it is seen to terminate,
// or when the preemption failed before anybody asked for its deletion.
type Flights struct {
	mu     sync.Mutex
	pods   map[types.UID]flight
	failed map[types.UID]struct{} // preemptors whose last preemption did not go through
}

type flight struct {
	preemptor types.UID
	deleted   bool // the API server took the deletion
}

// NewFlights returns no flights.
func NewFlights() *Flights {
	return &Flights{pods: map[types.UID]flight{}, failed: map[types.UID]struct{}{}}
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
	delete(f.failed, uid)
}

// begins tells that a preemptor looks for victims.
func (f *Flights) begins(preemptor types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.failed, preemptor)
}

// chosen tells of a victim that is going to be deleted. The deletions may have
// begun by then, and even have failed.
func (f *Flights) chosen(preemptor, victim types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, failed := f.failed[preemptor]; failed {
		return
	}
	if _, has := f.pods[victim]; !has {
		f.pods[victim] = flight{preemptor: preemptor}
	}
}

// deleted tells of a victim whose deletion the API server took.
func (f *Flights) deleted(preemptor, victim types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pods[victim] = flight{preemptor: preemptor, deleted: true}
}

// fails tells that a preemption did not go through: upstream gives up the
// victims that are left, and tries again from the start.
func (f *Flights) fails(preemptor types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed[preemptor] = struct{}{}
	for victim, its := range f.pods {
		if its.preemptor == preemptor && !its.deleted {
			delete(f.pods, victim)
		}
	}
}
