// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"time"

	v1 "k8s.io/api/core/v1"
)

// Counts are nodes by what they do.
type Counts struct {
	Ready int
	// Starting are not ready and young enough to become so.
	Starting int
	// Unready were ready once, NeverReady were not within their time.
	Unready, NeverReady int
	// Leaving are being deleted or marked for it.
	Leaving int
	// Missing were asked for and have no Node object yet; Late of them have had their time.
	Missing, Late int
}

// Registered is the number of nodes that exist.
func (c Counts) Registered() int {
	return c.Ready + c.Starting + c.Unready + c.NeverReady + c.Leaving
}

// Standing is how a group stands.
type Standing struct {
	Group
	Counts Counts
	// Obstacle says why the group cannot grow now; empty when it can.
	Obstacle string
	// RetryAt is when a group that failed is tried again; zero for one that did not.
	RetryAt time.Time
	// Own are the limits of the group, those of the configuration where it has none for itself.
	Own Options
}

// Summarize counts all nodes, and says how each group stands, by name. The
// simulation is not asked.
func Summarize(in Input) (all Counts, groups []Standing) {
	p := newPlanner(in, nil)
	p.awaited() // nodes on their way count among the totals
	byGroup := map[string]*Counts{}
	for _, g := range p.groups {
		byGroup[g.Name] = &Counts{}
	}
	for _, n := range p.nodes {
		all.count(n.state)
		if of := byGroup[n.Group]; of != nil {
			of.count(n.state)
		}
	}
	for _, g := range p.groups {
		s := Standing{Group: g.Group, Counts: *byGroup[g.Name], Own: p.own(g)}
		s.Counts.Missing = g.missing()
		for _, since := range p.missingSince(g) {
			if in.Now.Sub(since) > s.Own.MaxNodeProvisionTime {
				s.Counts.Late++
			}
		}
		all.Missing, all.Late = all.Missing+s.Counts.Missing, all.Late+s.Counts.Late
		if backoff := in.History.Backoff[g.Name]; backoff.Until.After(in.Now) {
			s.Obstacle, s.RetryAt = backoff.Reason, backoff.Until
		} else {
			s.Obstacle = p.obstacle(g)
		}
		groups = append(groups, s)
	}
	return all, groups
}

func (c *Counts) count(s state) {
	switch s {
	case ready:
		c.Ready++
	case upcoming:
		c.Starting++
	case unreadyNow:
		c.Unready++
	case neverReady:
		c.NeverReady++
	case leaving:
		c.Leaving++
	}
}

// Successor is the pod that comes in the place of one that is moved.
func Successor(pod *v1.Pod) *v1.Pod { return successor(pod) }
