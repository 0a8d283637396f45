// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"fmt"
	"maps"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

// askAgain is how long a node without a group is not asked about again, at
// first. A server may learn of a machine after its node has come.
const askAgain = time.Minute

// members are the nodes whose group was asked for, by UID.
type members map[types.UID]member

// member is what was answered for a node as it was.
type member struct {
	// group is empty for a node that is in none.
	group      string
	providerID string
	labels     map[string]string
	// since is when this was answered first, at when last.
	since, at time.Time
}

// groupOf returns the group of a node, or nothing. A template has no UID and says itself whose it is.
func (m members) groupOf(node *v1.Node) string {
	if node.UID == "" {
		return node.Annotations[templateOf]
	}
	if known, ok := m[node.UID]; ok && known.providerID == node.Spec.ProviderID {
		return known.group
	}
	return ""
}

// asked tells that there is an answer for the node as it is. Annotations are
// told to the server as well, but change too often to ask each time.
func (m members) asked(node *v1.Node) bool {
	known, ok := m[node.UID]
	return ok && known.providerID == node.Spec.ProviderID && maps.Equal(known.labels, node.Labels)
}

// open tells whether the server has to be asked about a node: it has not been,
// the group has gone, or there was none. Those without a group are asked about
// less and less often, for most of them will never have one.
func (m members) open(node *v1.Node, offered map[string][]*protos.NodeGroup, now time.Time) bool {
	if !m.asked(node) {
		return true
	}
	known := m[node.UID]
	if known.group == "" {
		return now.Sub(known.at) >= max(askAgain, known.at.Sub(known.since))
	}
	return len(offered[known.group]) == 0
}

// with returns the member that an answer makes of the node.
func (m members) with(node *v1.Node, group string, now time.Time) member {
	since := now
	if m.asked(node) && m[node.UID].group == group {
		since = m[node.UID].since
	}
	return member{group: group, providerID: node.Spec.ProviderID, labels: node.Labels, since: since, at: now}
}

// resolve learns whose the nodes are, one call at a time: servers need not be
// made for more. It takes no longer than one call may, so that a slow server
// delays a round but does not stop it; what is left over comes next time.
func (p *Provider) resolve(ctx context.Context, groups map[string]*nodeGroup, offered map[string][]*protos.NodeGroup) error {
	nodes, err := p.nodes.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	now, known, open := p.now(), make(members, len(nodes)), []*v1.Node(nil)
	for _, n := range nodes {
		if m, ok := p.members[n.UID]; ok {
			known[n.UID] = m
		}
		if p.members.open(n, offered, now) {
			open = append(open, n)
		}
	}
	limited, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var machines map[string]string
	// The machines of all groups answer for many nodes at once.
	if len(open) > len(groups) {
		machines = p.machines(limited, groups)
	}
	unanswered, first := 0, error(nil)
	for _, n := range open {
		group, err := machines[n.Spec.ProviderID], error(nil)
		if group == "" {
			group, err = p.ask(limited, n)
		}
		if err != nil {
			if unanswered++; first == nil {
				first = err
			}
			continue
		}
		known[n.UID] = p.members.with(n, group, now)
	}
	p.mu.Lock()
	p.members = known
	p.mu.Unlock()
	if unanswered > 0 {
		klog.FromContext(ctx).Error(first, "Nodes are in no new group until the provider answers", "nodes", unanswered, "asked", len(open))
	}
	return ctx.Err()
}

// ask returns the group of one node.
func (p *Provider) ask(ctx context.Context, node *v1.Node) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("node %s: not asked, the others took too long: %w", node.Name, err)
	}
	answer, err := call(ctx, p.connection, "NodeGroupForNode", "", p.client.NodeGroupForNode, &protos.NodeGroupForNodeRequest{Node: wireNode(node)})
	if err != nil {
		return "", fmt.Errorf("node %s: %w", node.Name, err)
	}
	return answer.GetNodeGroup().GetId(), nil
}

// machines returns the group of each provider ID that exactly one of the groups
// claims. A group that does not answer is passed over: its nodes are asked about one by one.
func (p *Provider) machines(ctx context.Context, groups map[string]*nodeGroup) map[string]string {
	owner := map[string]string{}
	for name, g := range groups {
		instances, err := g.Instances(ctx)
		if err != nil {
			klog.FromContext(ctx).V(2).Info("The machines of a node group are not known", "nodeGroup", name, "err", err)
			continue
		}
		for _, i := range instances {
			if other, claimed := owner[i.ProviderID]; claimed && other != name {
				owner[i.ProviderID] = ""
			} else {
				owner[i.ProviderID] = name
			}
		}
	}
	delete(owner, "")
	return owner
}

// wireNode is what the server is told of a node.
func wireNode(n *v1.Node) *protos.ExternalGrpcNode {
	return &protos.ExternalGrpcNode{ProviderID: n.Spec.ProviderID, Name: n.Name, Labels: n.Labels, Annotations: n.Annotations}
}
