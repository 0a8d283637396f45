// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// group is a target on its way through a decision.
type group struct {
	Target
	members []*member
	// live pods do not terminate; available ones are ready and stay so.
	live, available int
	// disrupted and started count what this decision does.
	disrupted, started int
}

// member is a pod of a group.
type member struct {
	change
	recs   []Recommendation
	due    due
	rec    Record
	flight flight
	class  Class
	told   Explanation
}

// wants tells whether the pod should be changed.
func (m *member) wants() bool { return m.due.yes && len(m.to) > 0 }

// decide goes through one target and explains each of its pods.
func (d *decider) decide(t Target) {
	g := d.gather(t)
	switch mode := modeOf(t); {
	case t.Hold != "":
		g.holdAll(t.Hold)
	case mode == vpav1.UpdateModeOff || mode == vpav1.UpdateModeInitial:
		g.holdAll(fmt.Sprintf("update mode %s changes no running pod", mode))
	case !d.takeBack(g):
		d.walk(g)
	}
	for _, m := range g.members {
		d.out.Pods = append(d.out.Pods, m.told)
	}
}

// gather judges and classifies every pod, from the highest ordinal down; without
// ordinals, by upstream's order: those that grow, then those that differ most.
func (d *decider) gather(t Target) *group {
	g := &group{Target: t}
	for _, p := range t.Pods {
		m := &member{change: change{Pod: p}, rec: recordOf(p.Object)}
		have := sizesOf(p.Object.Spec.Containers)
		recs, to := fit(p, t.Resources, t.LimitRanges)
		m.recs, m.to = recs, to.without(have)
		m.due = judge(d.Now, d.Config, t, p, recs)
		m.flight = d.flightOf(p.Object, m.rec)
		m.class = None
		reason := m.due.reason
		switch {
		case len(m.to) == 0:
			reason = "it has its size"
		case m.due.yes:
			m.become = m.to.applied(p.Object)
			class, why := classify(m.change, t.LimitRanges, modeOf(t))
			m.class, reason = class, why+"; "+m.due.reason
		}
		m.told = Explanation{Target: t.Key, Pod: p.Object.Name, UID: p.Object.UID, Ordinal: p.Ordinal, Class: m.class,
			Reason: reason, Step: Nothing, From: Sizes{}, To: m.to, Diff: m.due.diff}
		for name := range m.to {
			m.told.From[name] = have[name]
		}
		if m.wants() {
			m.told.Reason = m.to.describe(have) + ": " + reason
		}
		if p.Object.DeletionTimestamp == nil {
			g.live++
		}
		if available(p.Object) {
			g.available++
		}
		g.members = append(g.members, m)
	}
	slices.SortStableFunc(g.members, func(a, b *member) int {
		if t.Workload.Ordered {
			return cmp.Or(cmp.Compare(b.Ordinal, a.Ordinal), cmp.Compare(a.Object.Name, b.Object.Name))
		}
		if a.due.grows != b.due.grows {
			return map[bool]int{true: -1, false: 1}[a.due.grows]
		}
		return cmp.Or(cmp.Compare(b.due.diff, a.due.diff), cmp.Compare(a.Object.Name, b.Object.Name))
	})
	return g
}

// holdAll explains that nothing is written.
func (g *group) holdAll(why string) {
	for _, m := range g.members {
		if m.wants() {
			m.wait(why)
		}
	}
}

func (m *member) wait(why string) { m.told.Step, m.told.Waits = Waits, why }

// takeBack reverts what does not come through, one pod at a time in an ordered
// workload, and tells whether it did.
func (d *decider) takeBack(g *group) bool {
	done := false
	for _, m := range g.members {
		if !m.flight.underway {
			continue
		}
		m.told.Step, m.told.Waits = Resizes, m.flight.reason
		if m.flight.revert == "" || m.Object.DeletionTimestamp != nil {
			continue
		}
		rec := m.rec
		if rec.Failed == "" {
			rec.Failed, rec.At, rec.Tries = m.flight.revert, d.Now, rec.Tries+1
		}
		m.told.Step = Reverts
		d.out.Actions = append(d.out.Actions, Action{Kind: Revert, Target: g.Key, Pod: m.Object, Class: m.class,
			Sizes: rec.Asked.backTo(rec.Before), Record: rec.Annotation(), Reason: m.flight.reason})
		done = done || g.Workload.Ordered
	}
	if done {
		for _, m := range g.members {
			if m.told.Step == Nothing && m.wants() {
				m.wait("a resize is taken back")
			}
		}
	}
	return done
}

// walk tries the pods in their order. An ordered workload starts one, another one as
// many as may be missing.
func (d *decider) walk(g *group) {
	for _, m := range g.members {
		if !m.wants() || m.told.Step != Nothing {
			continue
		}
		if why := d.before(g, m); why != "" {
			m.wait(why)
			continue
		}
		d.try(g, m)
		if m.told.Step != Waits && m.told.Step != Asks {
			g.started++
		}
	}
}

// before says what has to happen before this pod may be changed; empty if nothing does.
func (d *decider) before(g *group, m *member) string {
	switch {
	case m.Object.DeletionTimestamp != nil:
		return "it is being deleted"
	case m.class == Impossible:
		return "impossible as it is"
	case g.Workload.Ordered:
		return d.turn(g, m)
	case g.Workload.Rolling:
		return "a rollout is under way"
	}
	busy, most := g.started, max(1, int(float64(g.Workload.Replicas)*d.Config.Tolerance))
	for _, other := range g.members {
		if other != m && (other.flight.underway || !ready(other.Object)) {
			busy++
		}
	}
	if busy >= most && ready(m.Object) {
		return fmt.Sprintf("%d pods are being resized or not ready, and there may be %d", busy, most)
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
	if m.Ordinal < w.Partition {
		return fmt.Sprintf("ordinals below the partition %d are left alone", w.Partition)
	}
	if outdated(w, m) {
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
		case other.told.Step == Asks:
			why = "a question about it is open"
		case other.told.Step != Nothing && other.told.Step != Waits:
			why = cmp.Or(other.told.Waits, "it is changed now")
		case !ready(m.Object):
		case outdated(w, other):
			why = "the rollout re-creates it"
		case ready(other.Object):
		case !other.wants() || d.fresh(other):
			why = "it is not ready"
		}
		if why != "" {
			return fmt.Sprintf("waits for ordinal %d: %s", other.Ordinal, why)
		}
	}
	return ""
}

// fresh tells whether a pod may be down for the change that it has just had.
func (d *decider) fresh(m *member) bool {
	return m.Object.Status.Phase == v1.PodPending || d.Now.Sub(m.Object.CreationTimestamp.Time) < d.Config.Settle ||
		d.Now.Sub(m.rec.At) < d.Config.Settle
}

// outdated tells whether a rollout is going to re-create the pod.
func outdated(w Workload, m *member) bool {
	return !w.OnDelete && w.Revision != "" && m.Ordinal >= w.Partition &&
		m.Object.Labels["controller-revision-hash"] != "" && m.Object.Labels["controller-revision-hash"] != w.Revision
}

// try changes a pod in place or, where that can not be, by a re-creation.
func (d *decider) try(g *group, m *member) {
	if m.class == Recreate {
		d.move(g, m, "")
		return
	}
	instead := func(why string) {
		if modeOf(g.Target) == vpav1.UpdateModeInPlaceOrRecreate {
			d.move(g, m, why)
			return
		}
		m.wait(why)
	}
	if why := d.closed(m.Object, m.rec, m.to); why != "" {
		instead(why)
		return
	}
	if m.Object.Status.Phase == v1.PodPending {
		m.wait("it has not started")
		return
	}
	if why := m.blind(); why != "" {
		m.wait(why)
		return
	}
	if m.class == InPlaceRestart {
		if why := d.forbidden(g, m, false); why != "" {
			m.wait(why)
			return
		}
	}
	if m.to.grows(sizesOf(m.Object.Spec.Containers)) {
		a, ok := d.ask(m.Object, false, m.to)
		if !ok {
			m.told.Step, m.told.Waits = Asks, "whether it fits on its node"
			return
		}
		if !a.Fits {
			instead(cmp.Or(a.Reason, "it does not fit on its node"))
			return
		}
	}
	d.patch(g, m)
}

// patch resizes a pod in place.
func (d *decider) patch(g *group, m *member) {
	have := sizesOf(m.Object.Spec.Containers)
	rec := Record{At: d.Now, Asked: m.to, Before: Sizes{}}
	for name := range m.to {
		rec.Before[name] = have[name]
	}
	if m.rec.Failed != "" {
		rec.Tries = m.rec.Tries
	}
	if m.class == InPlaceRestart {
		d.spend(g, m.Object, false)
	}
	m.told.Step = Patches
	d.out.Actions = append(d.out.Actions, Action{Kind: Patch, Target: g.Key, Pod: m.Object, Class: m.class,
		Sizes: m.to, Record: rec.Annotation(), Reason: m.told.Reason})
}

// move evicts a pod whose successor gets the new size and a place. Instead of is why it
// is not resized in place.
func (d *decider) move(g *group, m *member, insteadOf string) {
	if why := d.fixed(g, m); why != "" {
		if insteadOf != "" {
			why = insteadOf + "; and it is not re-created: " + why
		}
		m.wait(why)
		return
	}
	m.told.Class = Recreate
	if insteadOf != "" {
		m.told.Reason += "; re-created, for in place: " + insteadOf
	}
	a, ok := d.ask(m.Object, true, m.to)
	switch {
	case !ok:
		m.told.Step, m.told.Waits = Asks, "whether its successor gets the size and a place"
	case a.Created == nil:
		m.wait(cmp.Or(a.Reason, "the admission policy that gives sizes is not installed") + ": nothing is evicted for its size")
	case !m.to.in(a.Created):
		m.wait("its successor would not get this size: " + a.Created.describe(m.to))
	case !a.Fits:
		d.out.Rooms = append(d.out.Rooms, Room{Target: g.Key, Pod: m.Object, Sizes: m.to})
		m.wait("no node has room for its successor: " + cmp.Or(a.Reason, "one is asked for"))
	default:
		d.spend(g, m.Object, true)
		m.told.Step = Evicts
		d.out.Actions = append(d.out.Actions, Action{Kind: Evict, Target: g.Key, Pod: m.Object, Class: Recreate,
			Sizes: m.to, Node: a.Node, Reason: m.told.Reason})
	}
}

// fixed says what keeps a pod from being re-created for its size.
func (d *decider) fixed(g *group, m *member) string {
	age := d.Now.Sub(m.Object.CreationTimestamp.Time)
	switch revision := m.Object.Labels["controller-revision-hash"]; {
	case !mayEvict(g.Target, m.Pod, m.recs):
		return "the VPA's evictionRequirements are not met"
	case age < d.Config.Settle:
		return fmt.Sprintf("it was created %s ago, and is left for %s", age.Round(time.Second), d.Config.Settle)
	case g.Workload.Ordered && g.Workload.OnDelete && g.Workload.Revision != "" && revision != g.Workload.Revision:
		return fmt.Sprintf("its set is updated OnDelete, so that its successor would have revision %s", g.Workload.Revision)
	}
	return d.forbidden(g, m, true)
}
