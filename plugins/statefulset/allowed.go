// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// allowed works out the domains that slots of no rule, and then those of each
// rule, may have; and when that may be another answer though no node changed.
//
// The domains are those that the policy names, else those of the nodes that
// the pod may use. A rule leaves those with a node that it selects. Where the
// policy names domains and none of them has such a node, they are those that
// the rule names itself, or all: the nodes are still to come.
func (p *Planner) allowed(nodes *topology, q question) ([][]string, time.Time) {
	spread, usable := q.policy.Spread, p.rules.Usable(q.pod)
	lists := make([][]string, 1+len(q.policy.Rules))
	if lists[0] = spread.Domains; len(spread.Domains) == 0 {
		lists[0] = nodes.domains(spread.TopologyKey, usable)
	}
	for i, rule := range q.policy.Rules {
		selected := func(node *corev1.Node) bool { return rule.Selects(node) && usable(node) }
		if len(spread.Domains) == 0 {
			lists[i+1] = nodes.domains(spread.TopologyKey, selected)
			continue
		}
		has := func(domain string) bool { return nodes.has(label{spread.TopologyKey, domain}, selected) }
		lists[i+1] = filter(spread.Domains, has)
		if len(lists[i+1]) > 0 {
			continue
		}
		lists[i+1] = spread.Domains
		if named := rule.Values(spread.TopologyKey); named != nil {
			lists[i+1] = filter(spread.Domains, func(domain string) bool { return slices.Contains(named, domain) })
		}
	}
	return p.withoutLost(nodes, spread, lists)
}

// withoutLost takes out the domains that have had no ready node for long
// enough. Where that would leave none, nothing would be won by leaving.
func (p *Planner) withoutLost(nodes *topology, spread *Spread, lists [][]string) ([][]string, time.Time) {
	if spread.LossAfter == 0 {
		return lists, time.Time{}
	}
	p.watched[spread.TopologyKey] = struct{}{}
	var deadline time.Time
	lost := map[string]bool{}
	for _, domain := range lists[0] {
		since, unready := p.unreadySince(nodes, label{spread.TopologyKey, domain})
		switch at := since.Add(spread.LossAfter); {
		case !unready:
		case !p.rules.Now().Before(at):
			lost[domain] = true
		case deadline.IsZero() || at.Before(deadline):
			deadline = at
		}
	}
	if len(lost) == len(lists[0]) {
		return lists, deadline
	}
	for i := range lists {
		lists[i] = filter(lists[i], func(domain string) bool { return !lost[domain] })
	}
	return lists, deadline
}

// unreadySince returns since when a domain has no ready node. What the nodes
// say counts when the domain is first looked at; from then on it is what was
// seen, since a node that goes, or one that never gets ready, says less.
func (p *Planner) unreadySince(nodes *topology, domain label) (time.Time, bool) {
	since, unready := nodes.unready(domain)
	if !unready {
		delete(p.unready, domain)
		return time.Time{}, false
	}
	if known, seen := p.unready[domain]; seen {
		return known, true
	}
	if since.IsZero() { // no node at all
		if p.rules.EmptyIsLost {
			return time.Time{}, true
		}
		since = p.rules.Now()
	}
	p.unready[domain] = since
	return since, true
}

// noteReadiness follows the domains of a node that changed, if any may be lost.
func (p *Planner) noteReadiness(node *corev1.Node) {
	for key := range p.watched {
		if node != nil && node.Labels[key] != "" {
			p.unreadySince(p.topology, label{key, node.Labels[key]})
		}
	}
}

// nodeConcerns marks what another state of a node may change for a set, and
// tells whether that is anything.
func (p *Planner) nodeConcerns(r *record, before, after *corev1.Node) bool {
	name := ""
	for _, node := range []*corev1.Node{before, after} {
		if node != nil {
			name = node.Name
		}
	}
	arranged := arrangementChanged(before, after)
	if relabelled := relabelled(before, after); arranged {
		for i := range r.facts {
			if r.facts[i].dependsOn(name, relabelled) {
				r.forget(int(r.slots[i].Ordinal))
			}
		}
	}
	if r.allowed != nil && p.domainsMayChange(r, before, after, arranged) {
		r.allowed = nil
	}
	return len(r.stale) > 0 || r.allowed == nil
}

// domainsMayChange tells whether the node could open a domain to a set, or was
// the last that kept one open.
func (p *Planner) domainsMayChange(r *record, before, after *corev1.Node, arranged bool) bool {
	policy := r.question.policy
	switch {
	case policy.Spread.LossAfter > 0:
		return true
	case !arranged || (len(policy.Spread.Domains) > 0 && len(policy.Rules) == 0):
		return false
	}
	for _, w := range r.waiting {
		if !(question{pod: w.pod, policy: policy}).sameDomains(r.question) {
			return true // the domains are those of who asked last
		}
	}
	usable := p.rules.Usable(r.question.pod)
	for i, domains := range r.allowed {
		suits := usable
		if i > 0 {
			suits = func(node *corev1.Node) bool { return policy.Rules[i-1].Selects(node) && usable(node) }
		}
		if opens(policy, domains, after, suits) || p.closes(policy, domains, before, suits) {
			return true
		}
	}
	return false
}

func opens(policy *Policy, domains []string, node *corev1.Node, suits func(*corev1.Node) bool) bool {
	if node == nil {
		return false
	}
	domain := node.Labels[policy.Spread.TopologyKey]
	// Where the policy names domains that have no node, all are open to a rule
	// until the first node comes.
	return domain != "" && (len(policy.Spread.Domains) > 0 || !slices.Contains(domains, domain)) && suits(node)
}

func (p *Planner) closes(policy *Policy, domains []string, node *corev1.Node, suits func(*corev1.Node) bool) bool {
	if node == nil {
		return false
	}
	domain := node.Labels[policy.Spread.TopologyKey]
	return domain != "" && slices.Contains(domains, domain) && !p.topology.has(label{policy.Spread.TopologyKey, domain}, suits)
}

func filter(domains []string, keep func(string) bool) []string {
	var kept []string
	for _, domain := range domains {
		if keep(domain) {
			kept = append(kept, domain)
		}
	}
	return kept
}
