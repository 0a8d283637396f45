// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"maps"
	"slices"
	"sync"

	"github.com/berth-dev/berth/plugins/statefulset"
)

// members are the pods and claims of the sets that policies select. A
// StatefulSet says which ordinals it wants; here an ordinal is wanted while
// its pod or a claim of it exists.
type members struct {
	mu   sync.Mutex
	sets map[statefulset.SetKey]*roster
}

type roster struct {
	ordinals []int // sorted, replaced and not changed
	slots    map[int]*member
}

// member is the names of what fills a slot.
type member struct{ pods, claims map[string]struct{} }

func newMembers() *members { return &members{sets: map[statefulset.SetKey]*roster{}} }

// Members returns the ordinals of a set, sorted.
func (m *members) Members(key statefulset.SetKey) []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.sets[key]; r != nil {
		return r.ordinals
	}
	return nil
}

// Member returns the names of the pod and the claims of a slot. Of several
// pods, as while one takes the place of another, it is the last by name.
func (m *members) Member(slot statefulset.Slot) (pod string, claims []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.sets[slot.Set]
	if r == nil || r.slots[slot.Ordinal] == nil {
		return "", nil
	}
	for name := range r.slots[slot.Ordinal].pods {
		pod = max(pod, name)
	}
	return pod, slices.Sorted(maps.Keys(r.slots[slot.Ordinal].claims))
}

// podsOf returns the names of all pods that fill a slot.
func (m *members) podsOf(slot statefulset.Slot) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.sets[slot.Set]; r != nil && r.slots[slot.Ordinal] != nil {
		return slices.Sorted(maps.Keys(r.slots[slot.Ordinal].pods))
	}
	return nil
}

// slots returns all slots of all sets.
func (m *members) slots() (slots []statefulset.Slot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, r := range m.sets {
		for _, ordinal := range r.ordinals {
			slots = append(slots, statefulset.Slot{Set: key, Ordinal: ordinal})
		}
	}
	return slots
}

func (m *members) pod(slot statefulset.Slot, name string, exists bool) {
	m.note(slot, func(its *member) map[string]struct{} { return its.pods }, name, exists)
}

func (m *members) claim(slot statefulset.Slot, name string, exists bool) {
	m.note(slot, func(its *member) map[string]struct{} { return its.claims }, name, exists)
}

func (m *members) note(slot statefulset.Slot, of func(*member) map[string]struct{}, name string, exists bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.sets[slot.Set]
	if r == nil {
		r = &roster{slots: map[int]*member{}}
		m.sets[slot.Set] = r
	}
	its := r.member(slot.Ordinal)
	if exists {
		of(its)[name] = struct{}{}
	} else {
		delete(of(its), name)
	}
	if len(its.pods)+len(its.claims) == 0 {
		delete(r.slots, slot.Ordinal)
	}
	if len(r.slots) == 0 {
		delete(m.sets, slot.Set)
		return
	}
	if len(r.slots) != len(r.ordinals) {
		r.ordinals = slices.Sorted(maps.Keys(r.slots))
	}
}

func (r *roster) member(ordinal int) *member {
	its := r.slots[ordinal]
	if its == nil {
		its = &member{pods: map[string]struct{}{}, claims: map[string]struct{}{}}
		r.slots[ordinal] = its
	}
	return its
}

// replace puts what is noted in the place of the sets of a namespace, or of
// all. Others wait meanwhile.
func (m *members) replace(namespace string, all func(note func(slot statefulset.Slot, pod, claim string))) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.sets, func(key statefulset.SetKey, _ *roster) bool { return namespace == "" || key.Namespace == namespace })
	all(func(slot statefulset.Slot, pod, claim string) {
		r := m.sets[slot.Set]
		if r == nil {
			r = &roster{slots: map[int]*member{}}
			m.sets[slot.Set] = r
		}
		its := r.member(slot.Ordinal)
		if pod != "" {
			its.pods[pod] = struct{}{}
		}
		if claim != "" {
			its.claims[claim] = struct{}{}
		}
	})
	for key, r := range m.sets {
		if namespace == "" || key.Namespace == namespace {
			r.ordinals = slices.Sorted(maps.Keys(r.slots))
		}
	}
}
