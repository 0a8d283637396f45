// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import "cmp"

// own is the limits of a group: its own, and where it has none those of all groups.
func (p *planner) own(g *group) Options {
	all := p.in.Config
	o := Options{all.UtilizationThreshold, all.UnneededTime, all.UnreadyTime, all.MaxNodeProvisionTime}
	if g == nil {
		return o
	}
	return Options{
		UtilizationThreshold: cmp.Or(g.Options.UtilizationThreshold, o.UtilizationThreshold),
		UnneededTime:         cmp.Or(g.Options.UnneededTime, o.UnneededTime),
		UnreadyTime:          cmp.Or(g.Options.UnreadyTime, o.UnreadyTime),
		MaxNodeProvisionTime: cmp.Or(g.Options.MaxNodeProvisionTime, o.MaxNodeProvisionTime),
	}
}
