// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package pinnedtopologyspread

import (
	"math"
	"slices"

	v1 "k8s.io/api/core/v1"
)

// pinnedKeys returns the topology keys, among those of the constraints with
// this action, in which the volumes leave the pod one domain; and how many
// constraints with this action are left in which it has a choice.
func pinnedKeys(constraints []v1.TopologySpreadConstraint, action v1.UnsatisfiableConstraintAction, domainOf func(string) (string, bool)) (pinned map[string]string, left int) {
	for i := range constraints {
		if constraints[i].WhenUnsatisfiable != action {
			continue
		}
		domain, ok := domainOf(constraints[i].TopologyKey)
		if !ok {
			left++
			continue
		}
		if pinned == nil {
			pinned = map[string]string{}
		}
		pinned[constraints[i].TopologyKey] = domain
	}
	return pinned, left
}

// relax returns the constraints, the hard ones on pinned keys with a skew that
// no cluster reaches. They stay in the list because upstream counts pods on
// the nodes that have the keys of all constraints: without a key more nodes
// would count, each a domain without pods, and the constraints that are left
// could refuse what they would not have refused before.
func relax(constraints []v1.TopologySpreadConstraint, pinned map[string]string) []v1.TopologySpreadConstraint {
	relaxed := slices.Clone(constraints)
	for i := range relaxed {
		if binds(&relaxed[i], v1.DoNotSchedule, pinned) {
			relaxed[i].MaxSkew = math.MaxInt32
		}
	}
	return relaxed
}

// drop returns the constraints without the soft ones on pinned keys. All nodes
// of one domain get the same score from them, and upstream divides by the
// largest: a crowded domain would drown the differences that other constraints
// make between its nodes.
func drop(constraints []v1.TopologySpreadConstraint, pinned map[string]string) []v1.TopologySpreadConstraint {
	return slices.DeleteFunc(slices.Clone(constraints), func(c v1.TopologySpreadConstraint) bool {
		return binds(&c, v1.ScheduleAnyway, pinned)
	})
}

// binds tells a constraint with this action on a pinned key.
func binds(c *v1.TopologySpreadConstraint, action v1.UnsatisfiableConstraintAction, pinned map[string]string) bool {
	_, ok := pinned[c.TopologyKey]
	return ok && c.WhenUnsatisfiable == action
}
