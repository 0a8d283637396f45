// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Gate is whether a slot may start, and what it waits for if not. The zero
// Gate is open.
type Gate struct {
	Slot   Slot
	Closed bool
	// For is the ordinal that has to come first.
	For int
	// Policy orders the slots.
	Policy *Policy
}

// String says what a closed gate waits for: "ordinal 3 of prod/db starts when
// every lower ordinal is ready, and ordinal 1 was not yet (start.order Ordered)".
func (g Gate) String() string {
	state, by := "scheduled", "start.order Ordered"
	if g.Policy != nil && g.Policy.Start.UntilReady {
		state = "ready"
	}
	if g.Policy != nil && g.Policy.Name != "" {
		by += fmt.Sprintf(" of PlacementPolicy %q", g.Policy.Name)
	}
	lower := "every lower ordinal"
	if g.Policy != nil && g.Policy.Spread != nil && g.Policy.Spread.ShardSize > 0 {
		lower += " of its shard"
	}
	return fmt.Sprintf("%s starts when %s is %s, and ordinal %d was not yet (%s)", g.Slot, lower, state, g.For, by)
}

// Start tells whether the pod of a slot may start. A pod that may not counts
// as waiting at the gate until it may or is gone. While the set or its policy
// is not known, the gate is open: Place refuses the pod with the reason, and
// who is woken then comes to the gate again.
func (p *Planner) Start(slot Slot, pod *corev1.Pod) Gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	q, err := p.ask(slot, pod)
	if err != nil || q.policy == nil || !q.policy.Start.Ordered {
		if r := p.records[slot.Set]; r != nil {
			delete(r.gated, slot.Ordinal)
		}
		return Gate{}
	}
	r := p.record(slot.Set)
	p.update(r, slot.Set, q)
	i, _ := r.index(slot.Ordinal)
	gate := Gate{Slot: slot, Policy: q.policy}
	gate.For, gate.Closed = r.first(q.policy, i)
	if gate.Closed = gate.Closed && !p.boundBefore(r, slot, i); gate.Closed {
		r.gated[slot.Ordinal] = waiter{pod: pod, behind: gate.For}
	} else {
		delete(r.gated, slot.Ordinal)
	}
	return gate
}

// first returns the lowest slot that the one at i has to wait for.
func (r *record) first(policy *Policy, i int) (ordinal int, waits bool) {
	shard := policy.ShardOf(int(r.slots[i].Ordinal))
	for j := range i {
		if lower := int(r.slots[j].Ordinal); policy.ShardOf(lower) == shard && !r.facts[j].started(policy) {
			return lower, true
		}
	}
	return 0, false
}

// started tells whether the next slot need not wait for this one any more.
func (f *fact) started(policy *Policy) bool {
	return f.scheduled && (f.ready || !policy.Start.UntilReady)
}

// boundBefore tells whether a slot was bound before: it was seen to be, or a
// claim of it shows it.
func (p *Planner) boundBefore(r *record, slot Slot, i int) bool {
	_, seen := p.bound[slot.Set][slot.Ordinal]
	return seen || r.facts[i].before
}

// openGates returns the pods of a set that waited at the gate and may start
// now. One pass over the slots serves them all.
func (p *Planner) openGates(key SetKey, r *record) (wake []*corev1.Pod) {
	for ordinal, w := range r.gated {
		q, err := p.ask(Slot{Set: key, Ordinal: ordinal}, w.pod)
		if err == nil && q.policy != nil && q.policy.Start.Ordered {
			p.update(r, key, q)
			return p.openOrdered(key, r, q.policy)
		}
		break // it is the same for all of them
	}
	for ordinal, w := range r.gated {
		wake = append(wake, w.pod)
		delete(r.gated, ordinal)
	}
	return wake
}

func (p *Planner) openOrdered(key SetKey, r *record, policy *Policy) (wake []*corev1.Pod) {
	first := map[int]int{} // by shard, the lowest slot that others wait for
	for i := range r.facts {
		ordinal := int(r.slots[i].Ordinal)
		shard := policy.ShardOf(ordinal)
		if _, found := first[shard]; !found && !r.facts[i].started(policy) {
			first[shard] = ordinal
		}
	}
	next := map[int]int{} // by shard, the lowest slot that waits
	for ordinal, w := range r.gated {
		shard := policy.ShardOf(ordinal)
		lower, waits := first[shard]
		i, wanted := r.index(ordinal)
		if !waits || lower >= ordinal || (wanted && p.boundBefore(r, Slot{Set: key, Ordinal: ordinal}, i)) {
			wake = append(wake, w.pod)
			delete(r.gated, ordinal)
		} else if lowest, found := next[shard]; !found || ordinal < lowest {
			next[shard] = ordinal
		}
	}
	// What the next in line waits for is told anew: it comes to the gate again.
	// To tell all of them at each step would be work by the square of the set.
	for shard, ordinal := range next {
		if w := r.gated[ordinal]; w.behind != first[shard] {
			wake = append(wake, w.pod)
		}
	}
	return wake
}
