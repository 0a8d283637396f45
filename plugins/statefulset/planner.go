// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"
	"maps"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Source is where the planner reads what exists. It must be at least as new as
// the changes the planner is told of; informer stores are. Objects that do not
// exist are nil.
type Source interface {
	Set(SetKey) *appsv1.StatefulSet
	Claim(namespace, name string) *corev1.PersistentVolumeClaim
	Volume(name string) *corev1.PersistentVolume
	Pod(namespace, name string) *corev1.Pod
	Nodes() []*corev1.Node
}

// Rules are the judgements that live outside this package because upstream
// has them already.
type Rules struct {
	// Usable returns whether a pod may use a node as far as its node selector,
	// required node affinity and lasting taints go.
	Usable func(*corev1.Pod) func(*corev1.Node) bool
	// Reaches tells whether a volume's node affinity admits a node.
	Reaches func(*corev1.PersistentVolume, *corev1.Node) bool
}

// SetUnknownError says that the set of a slot is not known: it is not yet in
// the cache, or it is gone and its pods will follow.
type SetUnknownError struct{ Slot Slot }

func (e *SetUnknownError) Error() string {
	return fmt.Sprintf("StatefulSet %s is unknown, so %s has no place yet", e.Slot.Set, e.Slot)
}

// Planner answers where slots belong, and remembers the answers. It is told of
// every change of what it read (SetChanged, SlotChanged, PodSettled, NodeChanged) and
// works out again only what depends on it: a home per changed slot, a plan per
// changed set. Those methods return the pods that wait for a place and whose
// answer is another one now; whoever calls wakes exactly these.
//
// One lock is held from reading to remembering, and the source is always as
// new as the change that is told, so an answer from before a change can not
// outlive it. All methods may be called from any goroutine.
type Planner struct {
	source Source
	rules  Rules

	mu       sync.Mutex
	topology *topology // nil when nodes changed since it was read
	records  map[SetKey]*record
	reserved map[Slot]reservation
}

// NewPlanner returns a planner that reads from source when asked.
func NewPlanner(source Source, rules Rules) *Planner {
	return &Planner{source: source, rules: rules, records: map[SetKey]*record{}, reserved: map[Slot]reservation{}}
}

// Place returns where the slot of a pod belongs. The pod counts as waiting
// until it is reserved or gone.
func (p *Planner) Place(slot Slot, pod *corev1.Pod, spread Spread) (Placement, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.record(slot.Set)
	w := waiter{pod: pod, spread: spread}
	placement, err := p.place(r, slot, w)
	w.domain = placement.Domain
	r.waiting[slot.Ordinal] = w
	return placement, err
}

// Reserve makes the node a slot's home from now on. The node is given with its
// labels, since a node of a simulation is known to no informer.
func (p *Planner) Reserve(slot Slot, uid types.UID, node *corev1.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reserved[slot] = reservation{uid: uid, node: node.Name, labels: node.Labels}
	r := p.record(slot.Set)
	delete(r.waiting, slot.Ordinal)
	r.forget(slot.Ordinal)
}

// Unreserve takes back the reservation of this very pod, if there is one.
func (p *Planner) Unreserve(slot Slot, uid types.UID) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held, ok := p.reserved[slot]; !ok || held.uid != uid {
		return nil
	}
	delete(p.reserved, slot)
	return p.changed(slot)
}

// SlotChanged tells that the slot's pod, a claim or a volume of it came, went
// or changed.
func (p *Planner) SlotChanged(slot Slot) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed(slot)
}

// PodSettled tells that a slot's pod is bound, or gone: it no longer waits,
// and its reservation has served.
func (p *Planner) PodSettled(slot Slot, uid types.UID) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held, ok := p.reserved[slot]; ok && held.uid == uid {
		delete(p.reserved, slot)
	}
	if r := p.records[slot.Set]; r != nil && r.waiting[slot.Ordinal].waits(uid) {
		delete(r.waiting, slot.Ordinal)
	}
	return p.changed(slot)
}

// SetChanged tells that the set came, went or changed its ordinals or claim
// templates.
func (p *Planner) SetChanged(key SetKey) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.records[key]; r != nil {
		return p.reconsider(key, r)
	}
	return nil
}

// NodeChanged tells that a node came, changed or, being nil, went. Only what
// differs from the node as the planner read it counts: heartbeats, and events
// that arrive after the planner has read their outcome, cost a comparison.
func (p *Planner) NodeChanged(name string, now *corev1.Node) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.topology == nil || !topologyChanged(p.topology.byName[name], now) {
		return nil
	}
	p.topology = nil
	for key, r := range p.records {
		wake = append(wake, p.reconsider(key, r)...)
	}
	return wake
}

// Waiting returns the domain that a waiting pod was told last, empty if it was
// told that it has none.
func (p *Planner) Waiting(slot Slot, uid types.UID) (domain string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.records[slot.Set]
	if r == nil {
		return "", false
	}
	w := r.waiting[slot.Ordinal]
	return w.domain, w.waits(uid)
}

// Checkpoint remembers which slots are reserved and who waits; restore puts
// that back. A simulation asks between the two.
func (p *Planner) Checkpoint() (restore func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	reserved := maps.Clone(p.reserved)
	waiting := make(map[SetKey]map[int]waiter, len(p.records))
	for key, r := range p.records {
		waiting[key] = maps.Clone(r.waiting)
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, slots := range []map[Slot]reservation{p.reserved, reserved} {
			for slot := range slots {
				p.record(slot.Set).forget(slot.Ordinal)
			}
		}
		p.reserved = maps.Clone(reserved)
		for key, r := range p.records {
			r.waiting = maps.Clone(waiting[key])
			if r.waiting == nil {
				r.waiting = map[int]waiter{}
			}
		}
	}
}
