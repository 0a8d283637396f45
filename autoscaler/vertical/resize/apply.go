// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"cmp"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

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
	switch {
	case unbound(m.Object):
		// Whether it fits is up to the scheduler, which looks again at a pod that shrinks.
		d.patch(g, m)
		return
	case m.Object.Status.Phase == v1.PodPending:
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
			d.keep(g, m)
			return
		}
		if a.Unknown {
			m.wait("whether it fits on its node is not known: " + a.Reason)
			d.keep(g, m)
			return
		}
		if !a.Fits {
			instead(cmp.Or(a.Reason, "it does not fit on its node"))
			return
		}
	}
	if g.expects != nil && g.Workload.Ordered {
		m.wait(g.expected())
		return
	}
	if node := m.Object.Spec.NodeName; d.taken[node] && m.to.grows(sizesOf(m.Object.Spec.Containers)) {
		m.wait(crowded(node))
		return
	}
	d.patch(g, m)
}

// expected says whose node is on its way, and whose turn it is then.
func (g *group) expected() string {
	return fmt.Sprintf("waits for ordinal %d: %s", g.expects.Ordinal, g.expects.told.Waits)
}

// crowded says that a node is given to another pod already: answers are about one pod
// each, and together they might not hold.
func crowded(node string) string {
	return fmt.Sprintf("node %s is given to another pod at this moment", node)
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
	if m.to.grows(have) && !unbound(m.Object) {
		d.taken[m.Object.Spec.NodeName] = true
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
		d.keep(g, m)
	case a.Unknown:
		m.wait("whether its successor gets the size and a place is not known: " + a.Reason)
		d.keep(g, m)
	case a.Created == nil:
		m.wait(cmp.Or(a.Reason, "the admission policy that gives sizes is not installed") + ": nothing is evicted for its size")
	case !m.to.nearly(a.Created, g.Resources):
		m.wait("its successor would not get this size: " + a.Created.Describe(m.to))
	case unbound(m.Object):
		d.evict(g, m, "") // it waits for a node anyway, and for a better reason with its size
	case !a.Fits, a.Coming:
		d.reserve(g, m, m.to)
		m.wait("no node has room for its successor: " + cmp.Or(a.Reason, "one is asked for"))
		if a.Coming {
			m.wait(fmt.Sprintf("node %s, which has room for its successor, is on its way", a.Node))
			g.expects = cmp.Or(g.expects, m)
		}
	case g.expects != nil && g.Workload.Ordered:
		// Nodes for all of them are asked for at once, and kept until it is their turn.
		d.reserve(g, m, m.to)
		m.wait(g.expected())
	case d.taken[a.Node]:
		m.wait(crowded(a.Node))
		d.keep(g, m)
	default:
		d.taken[a.Node] = true
		d.evict(g, m, a.Node)
	}
}

// evict has a pod re-created.
func (d *decider) evict(g *group, m *member, node string) {
	d.spend(g, m.Object, true)
	m.told.Step = Evicts
	d.out.Actions = append(d.out.Actions, Action{Kind: Evict, Target: g.Key, Pod: m.Object, Class: Recreate,
		Sizes: m.to, Node: node, Reason: m.told.Reason})
}

// fixed says what keeps a pod from being re-created for its size.
func (d *decider) fixed(g *group, m *member) string {
	if why := d.refused(m.Object, Evict, "the eviction"); why != "" {
		return why
	}
	age := d.Now.Sub(m.Object.CreationTimestamp.Time)
	switch revision := m.Object.Labels["controller-revision-hash"]; {
	case !mayEvict(g.Target, m.Pod, m.recs):
		return "the VPA's evictionRequirements are not met"
	case age < d.Config.Settle && !unbound(m.Object) && (!m.due.oom || ready(m.Object)):
		// It keeps its turn: the next ordinal would go before it.
		g.expects = cmp.Or(g.expects, m)
		return fmt.Sprintf("it is left until %s, when it is %s old", m.Object.CreationTimestamp.Add(d.Config.Settle).UTC().Format(time.RFC3339), d.Config.Settle)
	case g.Workload.Ordered && outdated(g.Workload, m):
		return fmt.Sprintf("its set rolls revision %s out, which re-creates it", g.Workload.Revision)
	case g.Workload.Ordered && g.Workload.OnDelete && g.Workload.Revision != "" && revision != g.Workload.Revision:
		return fmt.Sprintf("its set is updated OnDelete, so that its successor would have revision %s", g.Workload.Revision)
	}
	return d.forbidden(g, m, true)
}
