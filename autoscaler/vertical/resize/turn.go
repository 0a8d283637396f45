// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
)

// before says what has to happen before this pod may be changed; empty if nothing does.
func (d *decider) before(g *group, m *member) string {
	switch {
	case m.Object.DeletionTimestamp != nil:
		return "it is being deleted"
	case m.class == Impossible:
		return "impossible as it is"
	case g.Workload.Ordered:
		return d.turn(g, m)
	case g.Workload.Rolling && ready(m.Object): // what is down may be what the rollout waits for
		return "a rollout is under way"
	}
	busy, most := g.started+max(0, g.Workload.Replicas-g.live), max(1, int(float64(g.Workload.Replicas)*d.Config.Tolerance))
	for _, other := range g.members {
		resizes := other.flight.underway && other.told.Step != Waits
		if other != m && other.Object.DeletionTimestamp == nil && (resizes || !ready(other.Object)) {
			busy++
		}
	}
	if busy >= most && ready(m.Object) {
		return fmt.Sprintf("%d pods are being resized, absent or not ready, and there may be %d", busy, most)
	}
	return ""
}

// turn says whose turn it is before that of this ordinal.
//
// A pod that is not ready waits for no absent or unready one: it may be the very one
// that they wait for, and what is down already takes nothing from them. Nor does a
// ready one wait for a pod that has been down for long and needs a change itself.
func (d *decider) turn(g *group, m *member) string {
	w := g.Workload
	if g.spared(m) {
		return fmt.Sprintf("ordinals below the partition %d are left alone", w.Partition)
	}
	// A rollout waits for what is down, for ever where that needs its size to come up.
	if outdated(w, m) && (ready(m.Object) || m.class == Recreate) {
		return fmt.Sprintf("waits for the rollout of revision %s, which re-creates it", w.Revision)
	}
	if len(w.Absent) > 0 && ready(m.Object) {
		return fmt.Sprintf("waits for ordinal %d: it is being re-created", slices.Max(w.Absent))
	}
	for _, other := range g.members {
		if other == m {
			continue
		}
		why := ""
		switch {
		case other.Object.DeletionTimestamp != nil:
			why = "it is being deleted"
		case other.told.Step != Nothing && other.told.Step != Waits:
			why = cmp.Or(other.told.Waits, "it is changed now")
		case !ready(m.Object):
		case outdated(w, other):
			why = "the rollout re-creates it"
		case ready(other.Object):
			if since := condition(other.Object, v1.PodReady).LastTransitionTime; d.Now.Sub(since.Time) < w.MinReady {
				why = fmt.Sprintf("it is ready since %s, and has to be for %s", since.UTC().Format(time.RFC3339), w.MinReady)
			}
		case !other.wants() || d.fresh(other):
			why = "it is not ready"
		}
		if why != "" {
			return fmt.Sprintf("waits for ordinal %d: %s", other.Ordinal, why)
		}
	}
	return ""
}

// spared tells whether the pod is left alone by its partition.
func (g *group) spared(m *member) bool { return g.Workload.Ordered && m.Ordinal < g.Workload.Partition }

// fresh tells whether a pod may be down for the change that it has just had.
func (d *decider) fresh(m *member) bool {
	return d.Now.Sub(m.Object.CreationTimestamp.Time) < d.Config.Settle || d.Now.Sub(m.rec.At) < d.Config.Settle
}

// outdated tells whether a rollout is going to re-create the pod.
func outdated(w Workload, m *member) bool {
	return !w.OnDelete && w.Revision != "" && m.Ordinal >= w.Partition &&
		m.Object.Labels["controller-revision-hash"] != "" && m.Object.Labels["controller-revision-hash"] != w.Revision
}
