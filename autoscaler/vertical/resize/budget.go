// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
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
	return d.ledger.Over(p.Object, evict)
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

// spend takes a disruption from all that count it.
func (d *decider) spend(g *group, pod *v1.Pod, evict bool) {
	if ready(pod) {
		g.disrupted++
	}
	d.ledger.Spend(evict, pod)
}
