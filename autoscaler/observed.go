// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import "github.com/berth-dev/berth/autoscaler/horizontal"

// withOthers is an HPA's history with what another controller has scaled since the last evaluation, where Berth
// observes: without it the forecast would run ahead of the rates that the other one keeps to.
func (c *Conductor) withOthers(r *replicas) horizontal.History {
	if c.actsOnHPAs() || r.left == nil {
		return r.input.History
	}
	return horizontal.Observed(r.input, *r.left)
}

// noteLeft keeps the replicas that evaluations have left their targets with.
func (c *Conductor) noteLeft(decided []*replicas) {
	for _, r := range decided {
		last := c.history.horizontal[r.hpa.UID]
		switch {
		case r.input.Scale.Absent != "":
			last.left = r.left
		case c.actsOnHPAs() && r.decision.Rescale && !r.failed:
			last.left = &r.decision.DesiredReplicas
		default:
			last.left = &r.input.Scale.SpecReplicas
		}
		c.history.horizontal[r.hpa.UID] = last
	}
}
