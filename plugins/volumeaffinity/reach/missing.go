// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package reach

import v1 "k8s.io/api/core/v1"

// Gap is a requirement that no node meets.
type Gap struct {
	v1.NodeSelectorRequirement
	// KeyFound is set when a node has the label, with whatever value: a place
	// without nodes. Else the label itself is gone, or was never there.
	KeyFound bool
}

// String writes the requirement as Where does.
func (g Gap) String() string { return requirementText(g.NodeSelectorRequirement) }

// Missing names why no node reaches the volume: for each term of its affinity
// one requirement that no known node meets. It is nil if that is not the
// whole reason: a node does reach it, or the requirements of a term are met,
// but never by one and the same node, or upstream accepts no term.
func (x *Index) Missing(v *Volume) []Gap {
	if v == nil {
		return nil
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	var gaps []Gap
	for _, t := range v.terms {
		i := 0
		for i < len(t) && x.met(&t[i]) {
			i++
		}
		if i == len(t) {
			return nil
		}
		gaps = append(gaps, Gap{NodeSelectorRequirement: t[i].NodeSelectorRequirement, KeyFound: x.carried(t[i].Key)})
	}
	return gaps
}

// met tells whether a known node meets the requirement.
func (x *Index) met(r *requirement) bool {
	for _, labels := range x.nodes {
		if r.metBy(labels) {
			return true
		}
	}
	return false
}

// carried tells whether a known node has the label.
func (x *Index) carried(key string) bool {
	for _, labels := range x.nodes {
		if _, has := labels[key]; has {
			return true
		}
	}
	return false
}
