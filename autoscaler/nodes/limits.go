// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// totals are what all nodes of the cluster have: millicores and bytes.
type totals struct {
	nodes         int
	cores, memory int64
}

func (t *totals) add(n *v1.Node)  { t.count(n, 1) }
func (t *totals) take(n *v1.Node) { t.count(n, -1) }

func (t *totals) count(n *v1.Node, by int64) {
	t.nodes += int(by)
	capacity := n.Status.Capacity
	if len(capacity) == 0 {
		capacity = n.Status.Allocatable
	}
	t.cores += by * capacity.Cpu().MilliValue()
	t.memory += by * capacity.Memory().Value()
}

// obstacle says why the group cannot grow now; empty when it can.
func (p *planner) obstacle(g *group) string {
	switch {
	case g.Target < 0:
		return fmt.Sprintf("its provider says that it has %d nodes", g.Target)
	case g.Max < g.Min:
		return fmt.Sprintf("its maximum %d is below its minimum %d", g.Max, g.Min)
	case g.grown() >= g.Max:
		return fmt.Sprintf("maximum size %d reached", g.Max)
	}
	if g.Busy != "" {
		return g.Busy
	}
	backoff := p.in.History.Backoff[g.Name]
	if wait := backoff.Until.Sub(p.in.Now); wait > 0 {
		return fmt.Sprintf("left alone for another %s: %s", wait.Round(time.Second), backoff.Reason)
	}
	if i := slices.IndexFunc(p.failures, func(f failure) bool { return f.group == g.Name }); i >= 0 {
		return p.failures[i].reason
	}
	if asked, ok := p.unseen(g); ok {
		return fmt.Sprintf("%d nodes were asked for %s ago, and its provider says %d", asked.Target, p.in.Now.Sub(asked.At).Round(time.Second), g.Target)
	}
	return p.full(g)
}

// full says which total of the cluster one more node of the group would pass.
func (p *planner) full(g *group) string {
	config, more := p.in.Config, p.total
	more.add(g.Template)
	switch {
	case config.MaxNodesTotal > 0 && more.nodes > config.MaxNodesTotal:
		return fmt.Sprintf("the cluster has %d nodes, limit %d", p.total.nodes, config.MaxNodesTotal)
	case config.MaxCores > 0 && more.cores > config.MaxCores*1000:
		return fmt.Sprintf("the cluster has %s cores and would have %s, limit %d", cores(p.total.cores), cores(more.cores), config.MaxCores)
	case config.MaxMemory > 0 && more.memory > config.MaxMemory:
		return fmt.Sprintf("the cluster has %s of memory and would have %s, limit %s", size(p.total.memory), size(more.memory), size(config.MaxMemory))
	}
	return ""
}

func cores(milli int64) string { return resource.NewMilliQuantity(milli, resource.DecimalSI).String() }
func size(bytes int64) string  { return resource.NewQuantity(bytes, resource.BinarySI).String() }

// unseen returns what the group was asked for and its provider never counted:
// to ask again would go on for ever.
func (p *planner) unseen(g *group) (Asked, bool) {
	asked, ok := p.in.History.Asked[g.Name]
	return asked, ok && max(g.Target, g.registered+g.draining) < asked.Target
}
