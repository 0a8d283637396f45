// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

// deleteAgain is how long a node that was deleted here is taken to be on its
// way out, for a server that does not say so.
const deleteAgain = 5 * time.Minute

// nodeGroup is one listed group. It is the same object in every round, so that
// whoever holds it takes turns with everyone else.
type nodeGroup struct {
	Group
	provider *Provider
	// changing is whose turn it is to change the group.
	changing turn

	mu        sync.Mutex
	low, high int
	// fault is why the group cannot be worked with.
	fault error
	// template is the server's, until the next Refresh.
	template *cloud.Template
	// deleted are the nodes that were deleted here, by UID.
	deleted map[types.UID]deletion
}

type deletion struct {
	providerID string
	at         time.Time
}

var _ cloud.NodeGroup = &nodeGroup{}

func newNodeGroup(p *Provider, g Group) *nodeGroup {
	return &nodeGroup{Group: g, provider: p, changing: newTurn(), deleted: map[types.UID]deletion{}}
}

func (g *nodeGroup) Name() string { return g.Group.Name }

func (g *nodeGroup) Limits() (low, high int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.low, g.high
}

// narrow returns the limits that both the server and the configuration allow.
func (g *nodeGroup) narrow(offered map[string][]*protos.NodeGroup) (low, high int, err error) {
	wrong := func(got, want string) error {
		return &AnswerError{Group: g.Group.Name, Call: "NodeGroups", Got: got, Want: want}
	}
	mine := offered[g.Group.Name]
	switch len(mine) {
	case 0:
		return 0, 0, &MissingGroupError{Group: g.Group.Name, Offered: slices.Sorted(maps.Keys(offered))}
	case 1:
	default:
		return 0, 0, wrong(fmt.Sprintf("%d groups of this id", len(mine)), "one")
	}
	low, high = int(mine[0].GetMinSize()), int(mine[0].GetMaxSize())
	if low < 0 || high < low {
		return 0, 0, wrong(fmt.Sprintf("minSize %d and maxSize %d", low, high), "0 or more, and the maximum not below the minimum")
	}
	if g.Min != nil {
		low = max(low, *g.Min)
	}
	if g.Max != nil {
		high = min(high, *g.Max)
	}
	if high < low {
		return 0, 0, wrong(fmt.Sprintf("minSize %d and maxSize %d", mine[0].GetMinSize(), mine[0].GetMaxSize()),
			fmt.Sprintf("limits that leave something of the configured ones: %d to %d is nothing", low, high))
	}
	return low, high, nil
}

// renew begins a round and returns the fault of the last one.
func (g *nodeGroup) renew(low, high int, fault error) (before error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before = g.fault
	g.low, g.high, g.fault, g.template = low, high, fault, nil
	return before
}

// faulty returns why the group is left out, as of the last round.
func (g *nodeGroup) faulty() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fault
}

func (g *nodeGroup) TargetSize(ctx context.Context) (int, error) {
	p := g.provider
	answer, err := call(ctx, p.connection, "NodeGroupTargetSize", g.Group.Name, p.client.NodeGroupTargetSize, &protos.NodeGroupTargetSizeRequest{Id: g.Group.Name})
	if err != nil {
		return 0, err
	}
	if answer.GetTargetSize() < 0 {
		return 0, &AnswerError{Group: g.Group.Name, Call: "NodeGroupTargetSize", Got: fmt.Sprint(answer.GetTargetSize()), Want: "0 or more"}
	}
	return int(answer.GetTargetSize()), nil
}

func (g *nodeGroup) Increase(ctx context.Context, n int) error {
	if n <= 0 {
		return fmt.Errorf("node group %s: cannot grow by %d", g.Group.Name, n)
	}
	if err := g.changing.take(ctx); err != nil {
		return fmt.Errorf("node group %s: %w", g.Group.Name, err)
	}
	defer g.changing.give()
	g.mu.Lock()
	fault := g.fault
	g.mu.Unlock()
	if fault != nil {
		return fault
	}
	size, err := g.TargetSize(ctx)
	if err != nil {
		return err
	}
	if _, high := g.Limits(); n > high-size {
		return &cloud.AtMaximumError{Group: g.Group.Name, Size: size, Asked: n, Max: high}
	}
	p := g.provider
	_, err = call(ctx, p.connection, "NodeGroupIncreaseSize", g.Group.Name, p.client.NodeGroupIncreaseSize, &protos.NodeGroupIncreaseSizeRequest{Id: g.Group.Name, Delta: int32(n)})
	return err
}

// Delete leaves alone what is being deleted already, perhaps since a former
// leader asked for it: some servers take a node from the target size each time.
func (g *nodeGroup) Delete(ctx context.Context, nodes ...*v1.Node) error {
	if err := g.changing.take(ctx); err != nil {
		return fmt.Errorf("node group %s: %w", g.Group.Name, err)
	}
	defer g.changing.give()
	p := g.provider
	present, err := g.present(nodes)
	if err != nil || len(present) == 0 {
		return err
	}
	request := &protos.NodeGroupDeleteNodesRequest{Id: g.Group.Name}
	for _, n := range present {
		// What was remembered may be old: nothing is deleted on it.
		group, err := p.ask(ctx, n)
		if err != nil {
			return fmt.Errorf("node group %s: %w", g.Group.Name, err)
		}
		if group != g.Group.Name {
			return &cloud.NotInGroupError{Group: g.Group.Name, Node: n.Name}
		}
		request.Nodes = append(request.Nodes, wireNode(n))
	}
	deleting, err := g.deleting(ctx)
	if err != nil {
		return err
	}
	request.Nodes = slices.DeleteFunc(request.Nodes, func(n *protos.ExternalGrpcNode) bool { return deleting[n.GetProviderID()] })
	if len(request.Nodes) == 0 {
		return nil
	}
	if _, err := call(ctx, p.connection, "NodeGroupDeleteNodes", g.Group.Name, p.client.NodeGroupDeleteNodes, request); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range present {
		g.deleted[n.UID] = deletion{providerID: n.Spec.ProviderID, at: p.now()}
		klog.FromContext(ctx).V(2).Info("Deleted node", "node", klog.KObj(n), "nodeGroup", g.Group.Name)
	}
	return nil
}

// present returns those of the nodes that exist, as they are now, and were not
// deleted here a moment ago. A server does not learn UIDs: another node of the
// same name would be as good to it.
func (g *nodeGroup) present(nodes []*v1.Node) ([]*v1.Node, error) {
	now := g.provider.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.deleted, func(_ types.UID, d deletion) bool { return now.Sub(d.at) >= deleteAgain })
	var present []*v1.Node
	for _, n := range nodes {
		current, err := g.provider.nodes.Get(n.Name)
		if apierrors.IsNotFound(err) || err == nil && current.UID != n.UID {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("node group %s: node %s: %w", g.Group.Name, n.Name, err)
		}
		if _, gone := g.deleted[n.UID]; !gone {
			present = append(present, current)
		}
	}
	return present, nil
}

// deleting returns the provider IDs of the machines that are on their way out.
func (g *nodeGroup) deleting(ctx context.Context) (map[string]bool, error) {
	instances, err := g.Instances(ctx)
	if err != nil {
		return nil, err
	}
	deleting := map[string]bool{}
	for _, i := range instances {
		if i.ProviderID != "" && i.State == cloud.InstanceDeleting {
			deleting[i.ProviderID] = true
		}
	}
	return deleting, nil
}

// deletedHere tells that a node of this provider ID was deleted here a moment ago.
func (g *nodeGroup) deletedHere(providerID string) bool {
	now := g.provider.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.deleted {
		if d.providerID == providerID && now.Sub(d.at) < deleteAgain {
			return true
		}
	}
	return false
}
