// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package disruption knows what PodDisruptionBudgets let through.
//
// It is what the engines that disrupt pods have in common: the rules of the
// eviction API (pkg/registry/core/pod/storage/eviction.go of Kubernetes 1.36),
// asked before anything is done, and a count of what a decision has taken from
// each budget. The API server has the last word.
//
// The status of a budget follows a moment after its pods, so a budget comes
// with them: it has as much room as both of them say.
package disruption

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Budget is a PodDisruptionBudget with every pod that it covers, as seen now.
type Budget struct {
	Object *policyv1.PodDisruptionBudget
	Pods   []*v1.Pod
}

// Ledger is what is left of budgets while one decision is made.
type Ledger struct {
	budgets []entry
}

type entry struct {
	Budget
	selector labels.Selector
	// healthy are the pods that are available, spent what the decision has taken.
	healthy, spent int
}

// NewLedger returns the ledger of a decision that has taken nothing yet.
// Available tells whether a pod counts as available now and for as long as the decision takes.
func NewLedger(budgets []Budget, available func(*v1.Pod) bool) *Ledger {
	l := &Ledger{}
	for _, b := range budgets {
		selector, err := metav1.LabelSelectorAsSelector(b.Object.Spec.Selector)
		if err != nil {
			continue // the API server asks no more of it either
		}
		e := entry{Budget: b, selector: selector}
		for _, pod := range b.Pods {
			if available(pod) {
				e.healthy++
			}
		}
		l.budgets = append(l.budgets, e)
	}
	return l
}

// Ready tells whether a pod is ready and is to stay.
func Ready(pod *v1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodReady {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

// Covered tells whether any budget covers the pod.
func (l *Ledger) Covered(pod *v1.Pod) bool { return len(l.covering(pod)) > 0 }

// Over says which budget has no room for the disruption of a pod; empty if each has. A restart
// in place goes through no API, so every budget of a ready pod has to have room; with evict it is an eviction.
func (l *Ledger) Over(pod *v1.Pod, evict bool) string {
	covering := l.covering(pod)
	if evict && len(covering) > 1 && pod.Status.Phase != v1.PodPending {
		return fmt.Sprintf("%d PodDisruptionBudgets cover the pod, and such a pod can not be evicted", len(covering))
	}
	for _, e := range covering {
		if free(e.Object, pod, evict) {
			continue
		}
		if room, why := e.room(); room < 1 {
			return fmt.Sprintf("PodDisruptionBudget %s: %s", e.Object.Name, why)
		}
	}
	return ""
}

// Spend takes the disruptions of pods that happen one after another, each when the one before is
// made good: of each budget that counts any of them, one.
func (l *Ledger) Spend(evict bool, pods ...*v1.Pod) {
	counted := map[*entry]bool{}
	for _, pod := range pods {
		for _, e := range l.covering(pod) {
			if !counted[e] && !free(e.Object, pod, evict) {
				e.spent++
				counted[e] = true
			}
		}
	}
}

func (l *Ledger) covering(pod *v1.Pod) []*entry {
	var found []*entry
	for i := range l.budgets {
		if e := &l.budgets[i]; e.Object.Namespace == pod.Namespace && e.selector.Matches(labels.Set(pod.Labels)) {
			found = append(found, e)
		}
	}
	return found
}

// room is how many pods may be disrupted, by the status of the budget and by its pods.
func (e *entry) room() (int, string) {
	status := e.Object.Status
	if status.ObservedGeneration < e.Object.Generation {
		return 0, "its status is not up to date"
	}
	room := min(int(status.DisruptionsAllowed), e.healthy-int(status.DesiredHealthy)) - e.spent
	return room, fmt.Sprintf("%d disruptions are allowed, and %d of %d pods that it needs are available",
		status.DisruptionsAllowed, e.healthy-e.spent, status.DesiredHealthy)
}

// free tells whether the budget does not count the disruption of this pod.
func free(b *policyv1.PodDisruptionBudget, pod *v1.Pod, evict bool) bool {
	if Ready(pod) {
		return false
	}
	if !evict || pod.Status.Phase == v1.PodPending {
		return true
	}
	policy := b.Spec.UnhealthyPodEvictionPolicy
	return (policy != nil && *policy == policyv1.AlwaysAllow) ||
		(b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0)
}
