// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// ClusterAutoscalerLease is the name of the Lease of Cluster Autoscaler's leader: --leader-elect-resource-name of
// its 1.35. It is in the namespace that Cluster Autoscaler runs in.
const ClusterAutoscalerLease = "cluster-autoscaler"

// karpenterNodePool is the label by which Karpenter knows its nodes.
const karpenterNodePool = "karpenter.sh/nodepool"

// NodeRivals reads the Leases of others who may add and remove nodes.
type NodeRivals struct {
	leases coordinationclient.LeasesGetter
}

// NewNodeRivals returns a reader of the Leases.
func NewNodeRivals(leases coordinationclient.LeasesGetter) *NodeRivals {
	return &NodeRivals{leases: leases}
}

// Look asks the API server for the Leases of Cluster Autoscalers, in all namespaces.
func (r *NodeRivals) Look(ctx context.Context) ([]coordinationv1.Lease, error) {
	list, err := r.leases.Leases(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, ClusterAutoscalerLease).String(),
	})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// OfKarpenter returns the NodePool that owns the node, or false for a node that is none of Karpenter's.
func OfKarpenter(node *corev1.Node) (nodePool string, ok bool) {
	nodePool, ok = node.Labels[karpenterNodePool]
	return nodePool, ok
}
