// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
)

// narrow leaves the nodes that PreFilter named. Added nodes are not narrowed:
// PreFilter finds names in indexes of what exists, and whatever it restricts
// Filter restricts too.
func (c *cycle) narrow(nodes []int, names sets.Set[string], plugins string) {
	outside := []string{fmt.Sprintf("node(s) didn't satisfy plugin(s) [%s]", plugins)}
	for _, i := range nodes {
		if c.record.refusals[i] == unknown && !names.Has(c.simulator.snapshot.nodes[i].Node().Name) {
			c.refuse(i, outside)
		}
	}
}

// refuse notes that a node refused the pod.
func (c *cycle) refuse(node int, reasons []string) {
	c.record.refusals[node] = c.wording.note(reasons, c.names)
	if c.shared {
		c.learn(c.record, node)
	}
}

// filter returns the nodes that fit, or the first of them when they are enough.
// It asks about several at a time, in parallel, and keeps their order.
func (c *cycle) filter(nodes []int, enough int) ([]fwk.NodeInfo, error) {
	var fitting []fwk.NodeInfo
	batch, verdicts := make([]int, 0, min(enough, len(nodes))), make([]*fwk.Status, min(enough, len(nodes)))
	for len(nodes) > 0 && len(fitting) < enough {
		batch = batch[:0]
		for len(nodes) > 0 && len(batch) < enough {
			if c.record.refusals[nodes[0]] == unknown {
				batch = append(batch, nodes[0])
			}
			nodes = nodes[1:]
		}
		ask := func(i int) {
			verdicts[i] = c.framework.RunFilterPluginsWithNominatedPods(c.ctx, c.state, c.pod, c.simulator.snapshot.nodes[batch[i]])
		}
		if len(batch) == 1 {
			ask(0)
		} else {
			c.framework.Parallelizer().Until(c.ctx, len(batch), ask, "simulation")
		}
		if err := context.Cause(c.ctx); err != nil {
			return nil, err
		}
		for i, node := range batch {
			status := verdicts[i]
			if err := failure(status); err != nil {
				return nil, err
			}
			if !status.IsSuccess() {
				c.refuse(node, status.Reasons())
			} else if len(fitting) < enough {
				fitting = append(fitting, c.simulator.snapshot.nodes[node])
			}
		}
	}
	return fitting, nil
}

// reasons tells why no node took the pod, with the number of nodes.
func (c *cycle) reasons(present, added []int) []string {
	if c.whole != "" {
		return []string{c.whole}
	}
	counts := map[refusal]int{}
	for _, nodes := range [][]int{present, added} {
		for _, i := range nodes {
			if is := c.record.refusals[i]; is != unknown {
				counts[is]++
			}
		}
	}
	c.wording.tell(counts, c.names, c.refused)
	reasons := make([]string, 0, len(c.refused))
	for reason, count := range c.refused {
		reasons = append(reasons, fmt.Sprintf("%d %s", count, reason))
	}
	slices.Sort(reasons)
	return reasons
}
