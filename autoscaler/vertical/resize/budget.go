// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// available tells whether a pod counts as available now and until its resize is over.
func available(pod *v1.Pod) bool { return ready(pod) && !restarting(pod) }

// forbidden says what keeps a pod from being disrupted now; empty if nothing does. A
// pod that is not ready gives nothing up: it is kept by the rules for evictions alone.
func (d *decider) forbidden(g *group, p *member, evict bool) string {
	least := d.Config.MinReplicas
	if g.Update != nil && g.Update.MinReplicas != nil {
		least = int(*g.Update.MinReplicas)
	}
	if g.live < least {
		return fmt.Sprintf("%d pods live, and minReplicas is %d", g.live, least)
	}
	if ready(p.Object) {
		if why := d.short(g); why != "" {
			return why
		}
	}
	return d.overBudget(p.Object, evict)
}

// short says which number of available pods one more disruption would go below. Pods
// that this decision disrupts already are not available any more.
func (d *decider) short(g *group) string {
	w, up := g.Workload, g.available-g.disrupted
	if w.Quorum > 0 && up-1 < w.Quorum {
		return fmt.Sprintf("%d of %d pods are available, and the quorum is %d", up, w.Replicas, w.Quorum)
	}
	if w.Ordered {
		if down := max(w.Replicas, g.live) - up; down+1 > max(w.MaxUnavailable, 1) {
			return fmt.Sprintf("%d of %d pods are unavailable, and maxUnavailable is %d", down, w.Replicas, max(w.MaxUnavailable, 1))
		}
		return ""
	}
	// isPodDisruptable in pods_restriction_factory.go of VPA 1.7.3.
	tolerance := int(float64(w.Replicas) * d.Config.Tolerance)
	if up > w.Replicas-tolerance || (tolerance == 0 && up == w.Replicas && g.disrupted == 0) {
		return ""
	}
	return fmt.Sprintf("%d of %d pods are available, and %d may be missing", up, w.Replicas, tolerance)
}

// overBudget says which PodDisruptionBudget has no room for the pod, by the rules of
// the eviction API (pkg/registry/core/pod/storage/eviction.go). A restart in place goes
// through no API, so every budget of a ready pod has to have room.
func (d *decider) overBudget(pod *v1.Pod, evict bool) string {
	var covering []Budget
	for _, b := range d.Budgets {
		if covers(b.Object, pod) {
			covering = append(covering, b)
		}
	}
	if evict && len(covering) > 1 && pod.Status.Phase != v1.PodPending {
		return fmt.Sprintf("%d PodDisruptionBudgets cover the pod, and such a pod can not be evicted", len(covering))
	}
	for _, b := range covering {
		if free(b.Object, pod, evict) {
			continue
		}
		room, why := d.room(b)
		if room < 1 {
			return fmt.Sprintf("PodDisruptionBudget %s: %s", b.Object.Name, why)
		}
	}
	return ""
}

// free tells whether the budget does not count the disruption of this pod.
func free(b *policyv1.PodDisruptionBudget, pod *v1.Pod, evict bool) bool {
	if ready(pod) {
		return false
	}
	if !evict || pod.Status.Phase == v1.PodPending {
		return true
	}
	policy := b.Spec.UnhealthyPodEvictionPolicy
	return (policy != nil && *policy == policyv1.AlwaysAllow) ||
		(b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0)
}

// room is how many pods may be disrupted, by the status of the budget and by its pods.
func (d *decider) room(b Budget) (int, string) {
	status := b.Object.Status
	if status.ObservedGeneration < b.Object.Generation {
		return 0, "its status is not up to date"
	}
	healthy := 0
	for _, pod := range b.Pods {
		if available(pod) {
			healthy++
		}
	}
	spent := d.spent[nameOf(b.Object)]
	room := min(int(status.DisruptionsAllowed), healthy-int(status.DesiredHealthy)) - spent
	return room, fmt.Sprintf("%d disruptions are allowed, and %d of %d pods that it needs are available",
		status.DisruptionsAllowed, healthy-spent, status.DesiredHealthy)
}

// spend takes a disruption from all that count it.
func (d *decider) spend(g *group, pod *v1.Pod, evict bool) {
	if ready(pod) {
		g.disrupted++
	}
	for _, b := range d.Budgets {
		if covers(b.Object, pod) && !free(b.Object, pod, evict) {
			d.spent[nameOf(b.Object)]++
		}
	}
}

func covers(b *policyv1.PodDisruptionBudget, pod *v1.Pod) bool {
	if b.Namespace != pod.Namespace {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	return err == nil && selector.Matches(labels.Set(pod.Labels))
}

func nameOf(b *policyv1.PodDisruptionBudget) types.NamespacedName {
	return types.NamespacedName{Namespace: b.Namespace, Name: b.Name}
}
