// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
)

// domains lists those of the policy with their nodes that the set may use.
func (s *subject) domains() []domainReport {
	key, usable := s.topologyKey(), s.rules.Usable(s.asks)
	found := map[string]*domainReport{}
	for _, name := range s.policy.Spread.Domains {
		found[name] = &domainReport{Name: name}
	}
	for _, node := range s.nodes {
		name := node.Labels[key]
		if named := len(s.policy.Spread.Domains) > 0; name == "" || (named && found[name] == nil) || !usable(node) {
			continue
		}
		if found[name] == nil {
			found[name] = &domainReport{Name: name}
		}
		found[name].Nodes++
		if ready(node) {
			found[name].Ready++
		}
	}
	domains := make([]domainReport, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		domains = append(domains, *found[name])
	}
	return domains
}

func ready(node *v1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c v1.NodeCondition) bool { return c.Type == v1.NodeReady && c.Status == v1.ConditionTrue })
}
