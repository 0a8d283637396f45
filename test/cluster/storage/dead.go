// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"math"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// nobody holds the lease of a node whose kubelet is dead. kwok plays only nodes
// whose lease it holds, and takes none that another holder has and that has not
// expired; the controller manager looks at nothing but the renewals.
const nobody = "nobody"

// dead says that nobody does a kubelet's work on the node.
func dead(node *corev1.Node) bool {
	return node.Annotations[layout.AnnotationKubelet] == layout.KubeletDead
}

// deadLeases knows the leases that nobody holds, and no other: there are as
// many as nodes, and they change all the time.
func deadLeases(client kubernetes.Interface) informers.SharedInformerFactory {
	return informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithNamespace(corev1.NamespaceNodeLease),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.LabelSelector = layout.AnnotationKubelet + "=" + layout.KubeletDead
		}))
}

// leaseHandler looks at a node when nobody holds its lease, or does no longer.
func (k *kubelet) leaseHandler() cache.ResourceEventHandler {
	return handlerOf(func(obj any) {
		if lease, ok := obj.(*coordinationv1.Lease); ok {
			k.queue.Add(lease.Name)
		}
	})
}

// settleLease takes the lease of a node whose kubelet is dead away from kwok, and
// gives it back to the living.
func (k *kubelet) settleLease(ctx context.Context, node *corev1.Node) error {
	taken, err := k.leases.Get(node.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if dead(node) == (err == nil) {
		return nil
	}
	client := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	if !dead(node) {
		// kwok makes another.
		err := client.Delete(ctx, node.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &taken.UID}})
		return ignore(err, apierrors.IsNotFound)
	}
	lease, err := client.Get(ctx, node.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		// It dies before it lived.
		now := metav1.NowMicro()
		lease = &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: node.Name, OwnerReferences: []metav1.OwnerReference{ownerReference(node)}},
			Spec:       coordinationv1.LeaseSpec{RenewTime: &now},
		}
		holdForEver(lease)
		_, err = client.Create(ctx, lease, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	holdForEver(lease)
	_, err = client.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}

// holdForEver keeps the last renewal, which is the last sign of life.
func holdForEver(lease *coordinationv1.Lease) {
	metav1.SetMetaDataLabel(&lease.ObjectMeta, layout.AnnotationKubelet, layout.KubeletDead)
	lease.Spec.HolderIdentity = new(nobody)
	lease.Spec.LeaseDurationSeconds = new(int32(math.MaxInt32))
}
