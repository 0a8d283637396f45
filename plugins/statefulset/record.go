// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// record is what the planner remembers of a set.
type record struct {
	question question
	// facts and slots are those of the wanted ordinals, in their order.
	facts []fact
	slots []SlotFacts
	// stale are ordinals whose facts are to be read again.
	stale []int
	// allowed are the domains by rule, nil when to be worked out again; at
	// deadline they may be others.
	allowed  [][]string
	deadline time.Time
	// held are the ordinals by the one node that their volumes leave them, nil
	// when to be listed again; freed counts how often one was taken out.
	held    map[string]int
	freed   int
	plan    *Plan // nil when to be made again
	moved   bool  // the plan was made again since everyone who waits was asked about
	waiting map[int]waiter
	gated   map[int]waiter
}

// waiter is a pod that was told where it belongs and is not reserved yet, or
// that it may not start yet.
type waiter struct {
	pod    *corev1.Pod
	told   told
	behind int // the ordinal that one at the gate was told to wait for
}

// told is what an answer means to the pod: it is woken when it would be told
// something else.
type told struct {
	domain, fallback string
	policy           *Policy
	freed            int
	unknown          bool
}

func (r *record) tell(a Answer, err error) told {
	return told{domain: a.Domain, fallback: strings.Join(a.Fallback, ","), policy: a.Policy, freed: r.freed, unknown: err != nil}
}

func (w waiter) waits(uid types.UID) bool { return w.pod != nil && w.pod.UID == uid }

func (p *Planner) record(key SetKey) *record {
	r := p.records[key]
	if r == nil {
		r = &record{waiting: map[int]waiter{}, gated: map[int]waiter{}}
		p.records[key] = r
	}
	return r
}

// forget marks the facts of a slot to be read again. Those of a slot that is
// not known are read when it is asked about.
func (r *record) forget(ordinal int) {
	if i, known := r.index(ordinal); known && !r.facts[i].stale {
		r.facts[i].stale = true
		r.stale = append(r.stale, ordinal)
	}
}

// index returns the place of an ordinal among the wanted ones.
func (r *record) index(ordinal int) (int, bool) {
	return slices.BinarySearchFunc(r.slots, int32(ordinal), func(s SlotFacts, want int32) int { return int(s.Ordinal - want) })
}

// changed looks at one slot again. Where it is at the same place as before, as
// it is for every pod that is bound where it was planned, nobody who waits
// gets another answer.
func (p *Planner) changed(slot Slot) []*corev1.Pod {
	r := p.records[slot.Set]
	if r == nil {
		return nil
	}
	r.forget(slot.Ordinal)
	if len(r.waiting)+len(r.gated) == 0 {
		if p.unknown(slot.Set) {
			delete(p.records, slot.Set)
		}
		return nil
	}
	// Members of a selected set may have come or gone; where the next best
	// domains are told, too, they follow every home.
	if q := r.question; r.plan != nil && !slot.Set.Selected && !q.policy.Spread.Preferred {
		freed := r.freed
		if p.update(r, slot.Set, q); r.plan != nil && !r.moved && r.freed == freed {
			return p.openGates(slot.Set, r)
		}
	}
	return p.reconsider(slot.Set, r)
}

// unknown tells whether there is no such set.
func (p *Planner) unknown(key SetKey) bool {
	if key.Selected {
		return len(p.source.Members(key)) == 0
	}
	return p.source.Set(key) == nil
}

// forgetUnwanted drops the memory of slots that the set no longer wants: when
// they come back, they are new.
func (p *Planner) forgetUnwanted(key SetKey) {
	if len(p.bound[key]) == 0 {
		return
	}
	wanted := func(int) bool { return false }
	if key.Selected {
		members := p.source.Members(key)
		wanted = func(ordinal int) bool { return slices.Contains(members, ordinal) }
	} else if set := p.source.Set(key); set != nil {
		start, replicas := span(set)
		wanted = func(ordinal int) bool { return start <= ordinal && ordinal < start+replicas }
	}
	for ordinal := range p.bound[key] {
		if !wanted(ordinal) {
			p.remember(Slot{Set: key, Ordinal: ordinal}, "")
		}
	}
}

// reconsider asks again for everyone who waits in a set, and returns those who
// get another answer.
func (p *Planner) reconsider(key SetKey, r *record) (wake []*corev1.Pod) {
	if len(r.waiting)+len(r.gated) == 0 {
		if p.unknown(key) {
			delete(p.records, key)
		}
		r.deadline = time.Time{} // worked out again by whoever asks next
		r.allowed = nil
		return nil
	}
	for ordinal, w := range r.waiting {
		answer, err := p.place(r, Slot{Set: key, Ordinal: ordinal}, w.pod)
		if is := r.tell(answer, err); is != w.told {
			w.told = is
			r.waiting[ordinal] = w
			wake = append(wake, w.pod)
		}
	}
	r.moved = false
	return append(wake, p.openGates(key, r)...)
}

// place answers from the record, after bringing it up to date.
func (p *Planner) place(r *record, slot Slot, pod *corev1.Pod) (Answer, error) {
	answer := Answer{Placement: Placement{Slot: slot}}
	q, err := p.ask(slot, pod)
	answer.Policy = q.policy
	if err != nil || q.policy == nil {
		return answer, err
	}
	p.update(r, slot.Set, q)
	if q.policy.SeparateNodes != MayShareNode {
		answer.held, answer.own = r.holders(slot.Ordinal)
	}
	if q.policy.Spread == nil {
		return answer, nil
	}
	if r.plan == nil {
		plan := PlanInput{Set: slot.Set, Policy: q.policy, Allowed: r.allowed, Slots: r.slots}.Plan()
		r.plan, r.moved = &plan, true
	}
	if placement, ok := r.plan.Of(slot.Ordinal); ok {
		answer.Placement = placement
	}
	return answer, nil
}

// update brings the facts and the domains of a record up to date with what is
// asked, and drops the plan if one of them is another one now.
func (p *Planner) update(r *record, key SetKey, q question) {
	nodes := p.nodes()
	asked := r.question
	r.question = q
	if asked.policy != q.policy {
		r.plan, r.allowed = nil, nil
	}
	again := asked.policy == nil || q.key() != asked.key() || !slices.Equal(q.templates, asked.templates) ||
		(key.Selected && asked.policy != q.policy) || // another policy finds ordinals elsewhere
		asked.policy.SeparateNodes != q.policy.SeparateNodes || asked.policy.Home.Return != q.policy.Home.Return
	if again || !slices.Equal(q.ordinals, asked.ordinals) || asked.policy != q.policy {
		p.arrange(r, key, q, again)
	}
	if len(r.stale) > 0 {
		read := p.reader(q)
		for _, ordinal := range r.stale {
			if i, wanted := r.index(ordinal); wanted {
				r.set(i, read.read(Slot{Set: key, Ordinal: ordinal}))
			}
		}
		r.stale = r.stale[:0]
	}
	if q.policy.Spread == nil {
		return
	}
	if expired := !r.deadline.IsZero() && !p.rules.Now().Before(r.deadline); r.allowed == nil || expired || !q.sameDomains(asked) {
		allowed, deadline := p.allowed(nodes, q)
		if r.allowed == nil || !slices.EqualFunc(allowed, r.allowed, slices.Equal) {
			r.plan = nil
		}
		r.allowed, r.deadline = allowed, deadline
	}
}

// arrange makes the slots those of the question. The facts of slots that were
// wanted before are kept, unless they are to be read again.
func (p *Planner) arrange(r *record, key SetKey, q question, again bool) {
	read := p.reader(q)
	before, facts := r.slots, r.facts
	r.slots, r.facts, r.plan = make([]SlotFacts, len(q.ordinals)), make([]fact, len(q.ordinals)), nil
	if len(r.held) > 0 {
		r.held, r.freed = nil, r.freed+1
	}
	i := 0
	for at, ordinal := range q.ordinals {
		for i < len(before) && int(before[i].Ordinal) < ordinal {
			i++
		}
		var f fact
		if !again && i < len(before) && int(before[i].Ordinal) == ordinal {
			f = facts[i]
		} else {
			f = read.read(Slot{Set: key, Ordinal: ordinal})
		}
		r.slots[at] = SlotFacts{Ordinal: int32(ordinal), Rule: int32(q.policy.RuleOf(ordinal) + 1)}
		r.set(at, f)
	}
}

// set replaces what is known of a slot. The plan stays if nothing else in it
// depends on the difference.
func (r *record) set(i int, f fact) {
	if was := r.facts[i].held; was != f.held {
		if r.held = nil; was != "" {
			r.freed++
		}
	}
	before := r.facts[i].home
	if before != nil && before.equal(*f.home) {
		f.home = before
	}
	r.facts[i], r.slots[i].Home = f, f.home
	if f.home != before && r.plan != nil && !r.plan.rehome(i, r.slots) {
		r.plan = nil
	}
}

func (p *Planner) reader(q question) reader {
	return reader{
		source: p.source, reaches: p.rules.Reaches, topology: p.nodes(), key: q.key(), templates: q.templates,
		reserved: p.reserved, separate: q.policy.SeparateNodes != MayShareNode,
		bound: p.bound, returns: q.policy.Home.Return == ReturnRequired,
	}
}

// holders returns the ordinals by the one node that their volumes leave them,
// and that node of one of them.
func (r *record) holders(ordinal int) (held map[string]int, own string) {
	if r.held == nil {
		r.held = map[string]int{}
		for i := range r.facts {
			if node := r.facts[i].held; node != "" {
				r.held[node] = int(r.slots[i].Ordinal)
			}
		}
	}
	if i, known := r.index(ordinal); known {
		own = r.facts[i].held
	}
	return r.held, own
}
