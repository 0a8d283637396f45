// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// History is what one decision leaves for the next. The zero value is a start
// without a past: every node has to be under-used for the whole time again.
type History struct {
	// WasReady holds the UIDs of nodes that were seen ready.
	WasReady map[types.UID]bool
	// MissingSince is since when each node that a group owes has been missing, the oldest first.
	MissingSince map[string][]time.Time
	// LastAdd is when any group was last asked to grow.
	LastAdd time.Time
	// Backoff holds the groups that failed.
	Backoff map[string]Backoff

	// UnneededSince is when a node, by UID, was first seen under-used.
	UnneededSince map[types.UID]time.Time
	// Unremovable are the nodes, by UID, that could not go when that was tried.
	Unremovable map[types.UID]Unremovable
	// Asked are the groups that were asked to grow and whose providers have not counted it yet.
	Asked map[string]Asked
}

// Asked is the target that a group was asked for, and when.
type Asked struct {
	Target int
	At     time.Time
}

// Backoff is a group that is left alone for a while.
type Backoff struct {
	Until  time.Time
	For    time.Duration
	Reason string
}

// Failed returns the history after a group has failed to grow.
func (h History) Failed(group, reason string, now time.Time, config Config) History {
	last, again := h.Backoff[group]
	wait := config.Backoff
	if again && now.Before(last.Until.Add(config.BackoffReset)) {
		wait = min(2*last.For, config.MaxBackoff)
	}
	h.Backoff = maps.Clone(h.Backoff)
	if h.Backoff == nil {
		h.Backoff = map[string]Backoff{}
	}
	h.Backoff[group] = Backoff{Until: now.Add(wait), For: wait, Reason: reason}
	return h.NotAsked(group)
}

// NotAsked returns the history after a group was not asked to grow as decided.
func (h History) NotAsked(group string) History {
	h.Asked = maps.Clone(h.Asked)
	delete(h.Asked, group)
	return h
}

// Grown returns the history after a group was asked to grow as decided, whatever was decided meanwhile.
func (h History) Grown(group string, asked Asked) History {
	h.Asked = maps.Clone(h.Asked)
	return h.asked(group, asked)
}

// history returns the history after this decision. It forgets nodes that are
// gone at once, and groups in time.
func (p *planner) history() History {
	past, now := p.in.History, p.in.Now
	next := History{
		WasReady:     map[types.UID]bool{},
		MissingSince: map[string][]time.Time{},
		LastAdd:      past.LastAdd,
		Backoff:      map[string]Backoff{},
	}
	for _, n := range p.nodes {
		uid := n.Object.UID
		if n.state == ready || past.WasReady[uid] {
			next.WasReady[uid] = true
		}
	}
	for _, g := range p.groups {
		if g.missing() > 0 {
			next.MissingSince[g.Name] = p.missingSince(g)
		}
		asked, unseen := p.unseen(g)
		if g.added > 0 {
			// Nodes that go count until the provider was asked to delete them: see Deleted.
			asked, unseen = Asked{Target: g.Target - g.forgone + g.added, At: now}, true
		}
		if unseen {
			next = next.asked(g.Name, asked)
		}
		if b, ok := past.Backoff[g.Name]; ok && now.Before(b.Until.Add(p.in.Config.BackoffReset)) {
			next.Backoff[g.Name] = b
		}
	}
	next = p.absent(next)
	p.rememberRemovals(&next)
	if len(p.decision.Adds) > 0 {
		next.LastAdd = now
	}
	for _, failure := range p.failures {
		next = next.Failed(failure.group, failure.reason, now, p.in.Config)
	}
	return next
}

// absent adds what is remembered of groups that are not here, for as long as it matters: a provider may have been silent
// about one for a moment.
func (p *planner) absent(next History) History {
	past, now := p.in.History, p.in.Now
	for name, b := range past.Backoff {
		if p.byName[name] == nil && now.Before(b.Until.Add(p.in.Config.BackoffReset)) {
			next.Backoff[name] = b
		}
	}
	for name, asked := range past.Asked {
		if p.byName[name] == nil && now.Sub(asked.At) <= p.in.Config.MaxNodeProvisionTime {
			next = next.asked(name, asked)
		}
	}
	return next
}

// Deleted returns the history after a node of the group was deleted.
func (h History) Deleted(group string) History {
	asked, ok := h.Asked[group]
	if !ok {
		return h
	}
	h.Asked = maps.Clone(h.Asked)
	asked.Target--
	return h.asked(group, asked)
}

func (h History) asked(group string, asked Asked) History {
	if h.Asked == nil {
		h.Asked = map[string]Asked{}
	}
	h.Asked[group] = asked
	return h
}

// earlier returns the time that is remembered for the key, or now.
func earlier[K comparable](seen map[K]time.Time, key K, now time.Time) time.Time {
	if t, ok := seen[key]; ok {
		return t
	}
	return now
}
