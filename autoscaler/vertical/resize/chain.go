// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"cmp"
	"fmt"
	"slices"

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
	// expects is the first pod that waits for a node on its way.
	expects *member
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
		d.takeBack(g) // it would reserve room for good
		g.holdAll(fmt.Sprintf("update mode %s changes no running pod", mode))
	case d.takeBack(g):
		g.holdAll("a resize is taken back")
		for _, m := range g.members {
			d.keep(g, m)
		}
	default:
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
		m := &member{change: change{Pod: p}}
		have := sizesOf(p.Object.Spec.Containers)
		recs, to := fit(p, t.Resources, t.LimitRanges)
		m.recs, m.to = recs, to.without(have)
		m.due = judge(d.Now, d.Config, t, p, recs)
		if m.due.yes || underway(p.Object) || !ready(p.Object) {
			m.rec = recordOf(p.Object) // of others nobody reads it
		}
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
			m.told.Reason = m.to.Describe(have) + ": " + reason
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
		return cmp.Or(growing(a)-growing(b), cmp.Compare(b.due.diff, a.due.diff), cmp.Compare(a.Object.Name, b.Object.Name))
	})
	return g
}

// growing ranks pods that grow first.
func growing(m *member) int {
	if m.due.grows {
		return 0
	}
	return 1
}

// holdAll explains that nothing is written.
func (g *group) holdAll(why string) {
	for _, m := range g.members {
		switch {
		case m.told.Step != Nothing:
		case m.flight.revert != "":
			m.wait(m.flight.reason + "; it is not taken back: " + why)
		case m.wants():
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
		if why := d.refused(m.Object, Revert, "to take the resize back"); why != "" {
			m.wait(m.flight.reason + "; " + why) // the others go on: it may be so for good
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
			d.keep(g, m)
			continue
		}
		d.try(g, m)
		if m.told.Step != Waits && m.told.Step != Asks {
			g.started++
		}
	}
}
