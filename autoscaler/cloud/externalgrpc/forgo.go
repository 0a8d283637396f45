// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

// By this annotation servers know a node that does not exist: it stands for a machine that was being created and failed,
// as those of Cluster Autoscaler do.
const (
	placeholder = "k8s.io/cluster-autoscaler/fake-node-reason"
	createError = "create-error"
)

// DecreaseTarget counts what is still to come itself, for a server may take the
// missing nodes from those that run. A machine that is being created has come;
// one that has failed, or is being deleted, has not. Those that have failed are deleted first, as
// Cluster Autoscaler does it: many servers keep them, and count them, until somebody does.
func (g *nodeGroup) DecreaseTarget(ctx context.Context, n int) error {
	if n <= 0 {
		return fmt.Errorf("node group %s: cannot take back %d nodes", g.Group.Name, n)
	}
	if err := g.changing.take(ctx); err != nil {
		return fmt.Errorf("node group %s: %w", g.Group.Name, err)
	}
	defer g.changing.give()
	size, err := g.TargetSize(ctx)
	if err != nil {
		return err
	}
	instances, err := g.Instances(ctx)
	if err != nil {
		return err
	}
	registered, err := g.registered()
	if err != nil {
		return err
	}
	awaited, failed := size, []string(nil)
	for _, i := range instances {
		switch {
		case i.State == cloud.InstanceDeleting:
		case i.Failed != nil && i.ProviderID != "" && !registered[i.ProviderID]:
			failed = append(failed, i.ProviderID)
		case i.Failed != nil && i.Failed.OutOfResources && i.ProviderID == "":
		default:
			awaited--
		}
	}
	if n > awaited {
		return &cloud.NothingToForgoError{Group: g.Group.Name, Awaited: max(awaited, 0), Asked: n}
	}
	failed = failed[:min(n, len(failed))]
	if err := g.deleteFailed(ctx, failed); err != nil || n == len(failed) {
		return err
	}
	p := g.provider
	_, err = call(ctx, p.connection, "NodeGroupDecreaseTargetSize", g.Group.Name, p.client.NodeGroupDecreaseTargetSize, &protos.NodeGroupDecreaseTargetSizeRequest{Id: g.Group.Name, Delta: -int32(n - len(failed))})
	return err
}

// registered are the machines that have a node.
func (g *nodeGroup) registered() (map[string]bool, error) {
	nodes, err := g.provider.nodes.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	registered := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		registered[n.Spec.ProviderID] = true
	}
	return registered, nil
}

// deleteFailed deletes machines that will never be nodes. The server takes them from the target size.
func (g *nodeGroup) deleteFailed(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	p := g.provider
	request := &protos.NodeGroupDeleteNodesRequest{Id: g.Group.Name}
	for _, id := range ids {
		request.Nodes = append(request.Nodes, &protos.ExternalGrpcNode{ProviderID: id, Name: id, Annotations: map[string]string{placeholder: createError}})
	}
	if _, err := call(ctx, p.connection, "NodeGroupDeleteNodes", g.Group.Name, p.client.NodeGroupDeleteNodes, request); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range ids {
		g.deleted[types.UID("failed/"+id)] = deletion{providerID: id, at: p.now()}
		klog.FromContext(ctx).V(2).Info("Deleted a machine that failed", "machine", id, "nodeGroup", g.Group.Name)
	}
	return nil
}
