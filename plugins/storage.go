// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"sync"
	"time"

	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	"github.com/berth-dev/berth/plugins/volumeaffinity/capacity"
	"github.com/berth-dev/berth/plugins/volumeaffinity/reach"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
)

// storage is what the plugins know of volumes, and of the room for them.
type storage struct {
	reach       *reach.Index
	room        *capacity.Ledger
	counting    *sync.Mutex
	heard       map[types.NamespacedName]*storagev1.CSIStorageCapacity // what the ledger knows
	attachments *attachments
	unclaimed   *unclaimed
	waiters     *waiters
	dropped     *dropped
	vain        *vain
}

func newStorage() storage {
	return storage{
		reach: reach.NewIndex(), room: capacity.NewLedger(), counting: &sync.Mutex{}, attachments: newAttachments(),
		unclaimed: &unclaimed{count: map[string]int{}}, waiters: newWaiters(), vain: newVain(),
		dropped: &dropped{last: map[string]time.Time{}, again: map[string]struct{}{}}, heard: map[types.NamespacedName]*storagev1.CSIStorageCapacity{},
	}
}

// volumes is what VolumeAffinity is given.
func (s *slots) volumes() volumeaffinity.Shared {
	return volumeaffinity.Shared{Reach: s.storage.reach, Room: s.storage.room, Homes: s, Waiters: s, Claims: s}
}

// HasUnclaimed: see volumeaffinity.Claims.
func (s *slots) HasUnclaimed(class string) bool { return s.storage.unclaimed.has(class) }

// Waits: see volumeaffinity.Waiters. Nobody waits in a simulation.
func (s *slots) Waits(pod *v1.Pod, by volumeaffinity.Judged) {
	s.storage.vain.forget(pod.UID) // it was placed without its home this time
	if !s.simulated {
		s.storage.waiters.add(pod, by)
	}
}

// Settled: see volumeaffinity.Waiters.
func (s *slots) Settled(pod *v1.Pod) { s.storage.waiters.remove(pod.UID) }

// GaveUp drops the draft of a claim, and wakes who waits for the room. A claim
// that is being provisioned already keeps it: the driver may be at it.
func (s *slots) GaveUp(claim capacity.Claim) {
	if now := s.source.Claim(claim.Namespace, claim.Name); now != nil && beingProvisioned(now) {
		return
	}
	s.dropDraft(claim.Namespace, claim.Name, claim.StorageClass)
}

// dropDraft wakes who was judged while there was the draft. They are woken also
// when it became a volume: the driver says so before the claim does, and whoever
// asked in between saw the room go twice.
func (s *slots) dropDraft(namespace, name, class string) {
	if s.storage.room.Release(namespace, name) && s.storage.dropped.now(class, time.Now()) {
		s.activate(s.storage.waiters.contending(class))
	}
}

// tick wakes who was not woken at once, and forgets who is gone.
func (s *slots) tick() {
	for _, class := range s.storage.dropped.due(time.Now()) {
		s.activate(s.storage.waiters.contending(class))
	}
	s.activate(s.holds.refused.due())
	there := func(pod *v1.Pod) bool {
		now := s.source.Pod(pod.Namespace, pod.Name)
		return now != nil && now.UID == pod.UID
	}
	s.storage.waiters.sweep(there)
	s.holds.refused.sweep(there)
	s.sparing.sweep(there)
}

// dropped keeps those who wait for room from being woken more than once a
// second: when many claims are bound at a time, each gives way to all.
type dropped struct {
	mu    sync.Mutex
	last  map[string]time.Time // by class, when they were woken
	again map[string]struct{}  // classes where they are to be woken again
}

// now tells whether to wake at once.
func (d *dropped) now(class string, at time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at.Sub(d.last[class]) < expiryPeriod {
		d.again[class] = struct{}{}
		return false
	}
	d.last[class] = at
	return true
}

// due returns the classes whose second is over.
func (d *dropped) due(at time.Time) (classes []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for class, last := range d.last {
		if at.Sub(last) < expiryPeriod {
			continue
		}
		delete(d.last, class)
		if _, again := d.again[class]; again {
			delete(d.again, class)
			d.last[class] = at
			classes = append(classes, class)
		}
	}
	return classes
}

// Misdirected: see volumeaffinity.Claims.
func (s *slots) Misdirected(claim *v1.PersistentVolumeClaim) {
	if s.scribe != nil {
		s.scribe.misdirected(claim)
	}
}

func beingProvisioned(claim *v1.PersistentVolumeClaim) bool {
	return claim != nil && claim.Spec.VolumeName == "" && claim.Annotations[statefulset.SelectedNode] != ""
}

// drafted follows the room that a claim takes: it is promised while the claim
// is being provisioned, whoever chose the node, and the driver's to count once
// the claim is bound.
func (s *slots) drafted(before, after *v1.PersistentVolumeClaim) {
	switch is := either(before, after); {
	case beingProvisioned(after):
		name := after.Annotations[statefulset.SelectedNode]
		node, size := s.source.Node(name), after.Spec.Resources.Requests[v1.ResourceStorage]
		if node == nil {
			return
		}
		s.storage.room.Reserve(capacity.Claim{
			Namespace: after.Namespace, Name: after.Name,
			StorageClass: volume.GetPersistentVolumeClaimClass(after), Bytes: size.Value(),
		}, name, node.Labels)
	case after == nil, after.Spec.VolumeName != "", beingProvisioned(before): // or the provisioner could not, and another node is sought
		s.dropDraft(is.Namespace, is.Name, volume.GetPersistentVolumeClaimClass(is))
	}
}

// redraft drafts once more what is being provisioned: when claims were heard of
// first, their nodes may not have been.
func (s *slots) redraft() {
	claims, _ := s.source.claims.List(labels.Everything())
	for _, claim := range claims {
		if beingProvisioned(claim) {
			s.drafted(nil, claim)
		}
	}
}

// reconcile puts the drafts right after a simulation, in which claims went on
// living.
func (s *slots) reconcile() {
	for _, key := range s.storage.room.Drafts() {
		if !beingProvisioned(s.source.Claim(key.Namespace, key.Name)) {
			s.storage.room.Release(key.Namespace, key.Name)
		}
	}
	s.redraft()
}

// capacityChanged follows what a driver says. The queue wakes pods for more room
// by itself, with what it finds in the ledger then; whoever came in between
// is woken here.
func (s *slots) capacityChanged(before, after *storagev1.CSIStorageCapacity) {
	is := either(before, after)
	if s.RoomChanged(is.Namespace, is.Name) && after != nil && (before == nil || volumeaffinity.HasMore(before, after)) {
		s.activate(s.storage.waiters.wanting(is.StorageClassName))
	}
}

// RoomChanged: see volumeaffinity.Claims.
func (s *slots) RoomChanged(namespace, name string) (news bool) {
	s.storage.counting.Lock() // what is read first is written first
	defer s.storage.counting.Unlock()
	key := types.NamespacedName{Namespace: namespace, Name: name}
	room := orNil(s.source.rooms.CSIStorageCapacities(namespace).Get(name))
	if room == nil {
		delete(s.storage.heard, key)
		s.storage.room.DeleteCapacity(namespace, name)
		return true
	}
	if s.storage.heard[key] == room {
		return false
	}
	s.storage.heard[key] = room
	s.storage.room.SetCapacity(room)
	return true
}

// unclaimed counts the volumes by class that wait for a claim.
type unclaimed struct {
	mu    sync.RWMutex
	count map[string]int
}

func (u *unclaimed) has(class string) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.count[class] > 0
}

// changed follows a volume, and tells whether it is the first of its class that
// waits for a claim.
func (u *unclaimed) changed(before, after *v1.PersistentVolume) (first bool) {
	was, is := waitsForClaim(before), waitsForClaim(after)
	if was == is {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	class := either(before, after).Spec.StorageClassName
	if is {
		u.count[class]++
		first = u.count[class] == 1
	} else if u.count[class]--; u.count[class] == 0 {
		delete(u.count, class)
	}
	return first
}

// waitsForClaim tells whether a claim may be bound to a volume: it has none, or
// one that is named by hand.
func waitsForClaim(pv *v1.PersistentVolume) bool {
	return pv != nil && (pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID == "")
}
