// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// provisioner makes and deletes volumes of all drivers.
type provisioner struct {
	client      kubernetes.Interface
	attachments storagelisters.VolumeAttachmentLister
	volumes     corelisters.PersistentVolumeLister
	pools       *pools
	// granted is told of the pool that a volume has taken room of. What is left is published before the volume is there:
	// schedulers take the room for free from the moment that the volume exists until they hear.
	granted func(place string)
}

var (
	_ controller.Provisioner      = (*provisioner)(nil)
	_ controller.BlockProvisioner = (*provisioner)(nil)
)

// newProvisionController serves every class of the drivers, also those that
// users make. It is the only one of its cluster, so it elects no leader.
func newProvisionController(ctx context.Context, p *provisioner) *controller.ProvisionController {
	return controller.NewProvisionController(ctx, p.client, ZonalDriver, p,
		controller.AdditionalProvisionerNames([]string{LocalDriver, PooledDriver}),
		controller.LeaderElection(false),
		controller.AddFinalizer(true),
		controller.Threadiness(16),
		controller.FailedProvisionThreshold(0),
		controller.FailedDeleteThreshold(0),
		// The default waits 15 s after a first failure.
		controller.RateLimiter(workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, 10*time.Second)),
	)
}

// Provision makes the volume where the scheduler wants the pod. When that
// cannot be, the scheduler is asked to choose again.
func (p *provisioner) Provision(ctx context.Context, options controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if options.PVC.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("a volume cannot be made for a claim with a selector")
	}
	place, state, err := p.place(ctx, options)
	if err != nil {
		return nil, state, err
	}
	return Volume(options.PVName, options.StorageClass, options.PVC, place), controller.ProvisioningFinished, nil
}

func (p *provisioner) place(ctx context.Context, options controller.ProvisionOptions) (string, controller.ProvisioningState, error) {
	if options.SelectedNodeName == "" {
		nodes, err := p.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return "", controller.ProvisioningNoChange, err
		}
		place, err := AnyPlace(options.StorageClass, options.PVC, nodes.Items)
		return place, controller.ProvisioningFinished, err
	}
	node, err := p.client.CoreV1().Nodes().Get(ctx, options.SelectedNodeName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", controller.ProvisioningReschedule, err
	case err != nil:
		return "", controller.ProvisioningNoChange, err
	}
	place, err := Place(options.StorageClass.Provisioner, node)
	if err == nil && options.StorageClass.Provisioner == PooledDriver {
		err = p.takeRoom(node, place, options)
	}
	return place, controller.ProvisioningReschedule, err
}

// takeRoom grants the volume its part of the node's pool. There may be none,
// although the scheduler found some: it looks at each claim alone.
func (p *provisioner) takeRoom(node *corev1.Node, place string, options controller.ProvisionOptions) error {
	size, ok, err := poolSize(node)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("node %s has no pool: it has no annotation %s", node.Name, layout.AnnotationStoragePool)
	}
	asked := options.PVC.Spec.Resources.Requests[corev1.ResourceStorage]
	if left, ok := p.pools.take(place, options.PVName, asked.Value(), size); !ok {
		return fmt.Errorf("ResourceExhausted: the claim asks for %s, and the pool of node %s has %s left",
			asked.String(), node.Name, resource.NewQuantity(max(0, left), resource.BinarySI))
	}
	p.granted(place)
	return nil
}

// Delete refuses while the volume is attached, as a cloud does. What a volume
// takes of a pool is free once its object is gone; one that never had an object
// has given up.
func (p *provisioner) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	attachments, err := p.attachments.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, a := range attachments {
		if name := a.Spec.Source.PersistentVolumeName; name != nil && *name == volume.Name {
			return fmt.Errorf("volume %s is still attached to node %s", volume.Name, a.Spec.NodeName)
		}
	}
	if _, err := p.volumes.Get(volume.Name); apierrors.IsNotFound(err) {
		p.pools.release(volume)
	}
	return nil
}

// SupportsBlock lets claims ask for a raw device.
func (p *provisioner) SupportsBlock(context.Context) bool { return true }
