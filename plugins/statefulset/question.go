// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// question is what a plan depends on besides homes and nodes.
type question struct {
	pod       *corev1.Pod // for what it may use
	policy    *Policy
	ordinals  []int // wanted ones, and the one asked about
	templates []string
}

// ask works out the question that a pod of a slot asks.
func (p *Planner) ask(slot Slot, pod *corev1.Pod) (question, error) {
	q := question{pod: pod}
	var set *appsv1.StatefulSet
	if !slot.Set.Selected {
		if set = p.source.Set(slot.Set); set == nil {
			return q, &SetUnknownError{Slot: slot}
		}
	}
	policy, err := p.source.Policy(slot.Set, pod.Spec.SchedulerName)
	if err != nil {
		return q, &PolicyUnknownError{Slot: slot, Why: err}
	}
	if q.policy = policy; policy == nil {
		return q, nil
	}
	if set == nil {
		q.ordinals = with(p.source.Members(slot.Set), slot.Ordinal)
		return q, nil
	}
	q.templates = Templates(set)
	q.ordinals = p.ordinals(slot, set)
	return q, nil
}

// ordinals lists the ordinals that a StatefulSet wants, and the one that is
// asked about, whether the set says so or not: pods may be seen before the
// change of the set that made them. What was listed before is used again.
func (p *Planner) ordinals(slot Slot, set *appsv1.StatefulSet) []int {
	start, replicas := span(set)
	last := start + min(replicas, MaxOrdinals) - 1
	if slot.Ordinal > last && slot.Ordinal < start+MaxOrdinals {
		last = slot.Ordinal
	}
	if r := p.records[slot.Set]; r != nil {
		if known := r.question.ordinals; len(known) > 0 && len(known) == last-start+1 && known[0] == start && start <= slot.Ordinal && slot.Ordinal <= last {
			return known
		}
	}
	ordinals := make([]int, 0, max(last-start+2, 1))
	for ordinal := start; ordinal <= last; ordinal++ {
		ordinals = append(ordinals, ordinal)
	}
	return with(ordinals, slot.Ordinal)
}

// span returns the first ordinal of a set and how many it wants.
func span(set *appsv1.StatefulSet) (start, replicas int) {
	replicas = 1
	if set.Spec.Ordinals != nil {
		start = int(set.Spec.Ordinals.Start)
	}
	if set.Spec.Replicas != nil {
		replicas = int(*set.Spec.Replicas)
	}
	return start, replicas
}

// with returns sorted ordinals with one more, unless it is there.
func with(ordinals []int, one int) []int {
	i, there := slices.BinarySearch(ordinals, one)
	if there {
		return ordinals
	}
	return slices.Insert(slices.Clone(ordinals), i, one)
}

// key is the topology key, empty where nothing is spread.
func (q question) key() string {
	if q.policy == nil || q.policy.Spread == nil {
		return ""
	}
	return q.policy.Spread.TopologyKey
}

// sameDomains tells whether two questions allow the same domains, the nodes
// being the same.
func (q question) sameDomains(o question) bool {
	if o.pod == nil || q.policy != o.policy {
		return false
	}
	if q.pod == o.pod || (len(q.policy.Spread.Domains) > 0 && len(q.policy.Rules) == 0) {
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
