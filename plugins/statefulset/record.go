// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
)

// record is what the planner remembers of a set.
type record struct {
	question question
	topology *topology
	domains  []string
	homes    map[int]*Home // ordinals present are up to date
	plan     *Plan         // nil when to be made again
	moved    bool          // the plan was made again since everyone who waits was asked about
	waiting  map[int]waiter
}

// question is what a plan depends on besides homes and nodes.
type question struct {
	pod             *corev1.Pod // for what it may use
	spread          Spread
	start, replicas int
	beyond          int // the ordinal asked about, if it is not one of the set's; else -1
	templates       []string
}

// waiter is a pod that was told a domain and is not reserved yet.
type waiter struct {
	pod    *corev1.Pod
	spread Spread
	domain string // empty while it has none
}

// reservation is a slot whose pod has a node in memory, not yet in the API.
type reservation struct {
	uid    types.UID
	node   string
	labels map[string]string
}

func (w waiter) waits(uid types.UID) bool { return w.pod != nil && w.pod.UID == uid }

func (p *Planner) record(key SetKey) *record {
	r := p.records[key]
	if r == nil {
		r = &record{homes: map[int]*Home{}, waiting: map[int]waiter{}}
		p.records[key] = r
	}
	return r
}

func (r *record) forget(ordinal int) {
	delete(r.homes, ordinal)
	r.plan = nil
}

// changed looks at the home of one slot again. Where it is the same place as
// before, as it is for every pod that is bound where it was planned, nobody
// who waits gets another answer.
func (p *Planner) changed(slot Slot) []*corev1.Pod {
	r := p.records[slot.Set]
	if r == nil {
		return nil
	}
	before := r.homes[slot.Ordinal]
	r.forget(slot.Ordinal)
	if len(r.waiting) > 0 && before != nil && !r.moved && r.topology != nil && r.topology == p.topology {
		home := p.gatherer(r).home(slot)
		r.homes[slot.Ordinal] = &home
		if home.Domain == before.Domain && slices.Equal(home.Within, before.Within) {
			return nil
		}
	}
	return p.reconsider(slot.Set, r)
}

// reconsider asks again for everyone who waits in a set, and returns those who
// get another answer.
func (p *Planner) reconsider(key SetKey, r *record) (wake []*corev1.Pod) {
	if len(r.waiting) == 0 && p.source.Set(key) == nil {
		delete(p.records, key)
		return nil
	}
	for ordinal, w := range r.waiting {
		placement, err := p.place(r, Slot{Set: key, Ordinal: ordinal}, w)
		if err != nil || placement.Domain == w.domain {
			continue
		}
		w.domain = placement.Domain
		r.waiting[ordinal] = w
		wake = append(wake, w.pod)
	}
	r.moved = false
	return wake
}

// place answers from the record, after bringing it up to date.
func (p *Planner) place(r *record, slot Slot, w waiter) (Placement, error) {
	set := p.source.Set(slot.Set)
	if set == nil {
		return Placement{Slot: slot}, &SetUnknownError{Slot: slot}
	}
	if p.topology == nil {
		p.topology = newTopology(p.source.Nodes())
	}
	q := ask(set, slot.Ordinal, w)
	if r.topology != p.topology || q.spread.TopologyKey != r.question.spread.TopologyKey || !slices.Equal(q.templates, r.question.templates) {
		r.homes, r.plan = map[int]*Home{}, nil
	}
	if r.topology != p.topology || !q.sameDomains(r.question) {
		r.domains, r.plan = p.domains(q), nil
	}
	if !q.sameOrdinals(r.question) {
		r.plan = nil
	}
	r.topology, r.question = p.topology, q
	if r.plan == nil {
		r.plan, r.moved = p.plan(r, slot), true
	}
	placement, _ := r.plan.Of(slot.Ordinal)
	return placement, nil
}

func (p *Planner) domains(q question) []string {
	if len(q.spread.Domains) > 0 {
		return q.spread.Domains
	}
	return domains(p.topology.nodes, q.spread.TopologyKey, p.rules.Usable(q.pod))
}

func (p *Planner) plan(r *record, asked Slot) *Plan {
	in := PlanInput{
		Set: asked.Set, Start: r.question.start, Replicas: r.question.replicas, Asked: asked.Ordinal,
		Domains: r.domains, Homes: r.homes,
	}
	g := p.gatherer(r)
	for _, ordinal := range in.ordinals() {
		if _, known := r.homes[ordinal]; !known {
			home := g.home(Slot{Set: asked.Set, Ordinal: ordinal})
			r.homes[ordinal] = &home
		}
	}
	plan := in.Plan()
	return &plan
}

func (p *Planner) gatherer(r *record) gatherer {
	return gatherer{
		source: p.source, reaches: p.rules.Reaches, topology: p.topology, key: r.question.spread.TopologyKey,
		templates: r.question.templates, reserved: p.reserved,
	}
}

func ask(set *appsv1.StatefulSet, ordinal int, w waiter) question {
	q := question{pod: w.pod, spread: w.spread, replicas: 1, beyond: -1, templates: Templates(set)}
	if set.Spec.Ordinals != nil {
		q.start = int(set.Spec.Ordinals.Start)
	}
	if set.Spec.Replicas != nil {
		q.replicas = int(*set.Spec.Replicas)
	}
	if ordinal < q.start || ordinal >= q.start+min(q.replicas, MaxOrdinals) {
		q.beyond = ordinal
	}
	return q
}

func (q question) sameOrdinals(o question) bool {
	return q.start == o.start && q.replicas == o.replicas && q.beyond == o.beyond
}

// sameDomains tells whether two questions allow the same domains, the nodes
// being the same.
func (q question) sameDomains(o question) bool {
	if o.pod == nil || q.spread.TopologyKey != o.spread.TopologyKey || !slices.Equal(q.spread.Domains, o.spread.Domains) {
		return false
	}
	if len(q.spread.Domains) > 0 || q.pod == o.pod {
		return true
	}
	return maps.Equal(q.pod.Spec.NodeSelector, o.pod.Spec.NodeSelector) &&
		equality.Semantic.DeepEqual(requiredNodeAffinity(q.pod), requiredNodeAffinity(o.pod)) &&
		equality.Semantic.DeepEqual(q.pod.Spec.Tolerations, o.pod.Spec.Tolerations)
}

func requiredNodeAffinity(pod *corev1.Pod) *corev1.NodeSelector {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil {
		return nil
	}
	return pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}
