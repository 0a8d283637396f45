// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/observe"
)

// silent tells that a node is of no group in this tick since its group could not be read, and has not been for so long
// that nothing would be waited for. It is left as it is meanwhile: a provider that does not answer for a moment is no
// reason to undo what was begun.
func (c *Conductor) silent(n nodes.Node) bool {
	h := &c.history.drains
	group, ok := c.nodes.Provider.GroupOf(n.Object)
	_, owned := observe.OfKarpenter(n.Object)
	if taken := c.history.nodes.look.taken; n.Group != "" || !ok || owned || taken == nil || !taken.listed[group] {
		delete(h.silent, n.Object.UID)
		return false
	}
	since, known := h.silent[n.Object.UID]
	if !known {
		since = c.now()
		h.silent[n.Object.UID] = since
	}
	return c.now().Sub(since) < c.config.Nodes.MaxPodEvictionTime.Duration
}
