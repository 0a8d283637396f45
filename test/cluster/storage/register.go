// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// register gives a node, whoever made it, what a kubelet gives its own: the
// annotations, the hostname label and the object that names its drivers.
func (k *kubelet) register(ctx context.Context, node *corev1.Node) error {
	if patch := missingMetadata(node); patch != nil {
		if err := k.patchNode(ctx, node.Name, patch); err != nil {
			return err
		}
	}
	current, err := k.csiNodes.Get(node.Name)
	client := k.client.StorageV1().CSINodes()
	if err == nil && ownedBy(current, node) {
		if next := withDrivers(current, csiNode(node, k.attachLimit)); next != nil {
			_, err = client.Update(ctx, next, metav1.UpdateOptions{})
		}
		return err
	}
	if err == nil {
		// It belongs to an earlier node of the name.
		err = client.Delete(ctx, node.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &current.UID}})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	_, err = client.Create(ctx, csiNode(node, k.attachLimit), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // the informer is behind
	}
	return err
}

func ownedBy(object metav1.Object, node *corev1.Node) bool {
	return slices.ContainsFunc(object.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.UID == node.UID })
}

// withDrivers gives a CSINode the drivers of another, or returns nil when they
// are there. What a driver has registered once it cannot change.
func withDrivers(current, want *storagev1.CSINode) *storagev1.CSINode {
	drivers := make([]storagev1.CSINodeDriver, 0, len(want.Spec.Drivers))
	kept := 0
	for _, driver := range want.Spec.Drivers {
		i := slices.IndexFunc(current.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == driver.Name })
		if i >= 0 {
			driver = current.Spec.Drivers[i]
			kept++
		}
		drivers = append(drivers, driver)
	}
	if kept == len(drivers) && kept == len(current.Spec.Drivers) {
		return nil
	}
	next := current.DeepCopy()
	next.Spec.Drivers = drivers
	return next
}

// missingMetadata is a merge patch with what the node lacks, or nil.
func missingMetadata(node *corev1.Node) map[string]any {
	annotations, labels := map[string]string{}, map[string]string{}
	for key, value := range layout.NodeAnnotations(node.Name) {
		if node.Annotations[key] != value {
			annotations[key] = value
		}
	}
	if node.Labels[corev1.LabelHostname] == "" {
		labels[corev1.LabelHostname] = layout.HostName(node.Name)
	}
	if hasPool(node) && node.Labels[PooledTopologyKey] == "" {
		labels[PooledTopologyKey] = layout.HostName(node.Name)
	}
	if len(annotations)+len(labels) == 0 {
		return nil
	}
	return map[string]any{"metadata": map[string]any{"annotations": annotations, "labels": labels}}
}

// csiNode names the drivers of a node. Only what is attached is limited, and
// only a node with a pool runs the driver of pools.
func csiNode(node *corev1.Node, attachLimit int32) *storagev1.CSINode {
	drivers := []storagev1.CSINodeDriver{driver(ZonalDriver, node), driver(LocalDriver, node)}
	drivers[0].Allocatable = &storagev1.VolumeNodeResources{Count: &attachLimit}
	if hasPool(node) {
		drivers = append(drivers, driver(PooledDriver, node))
	}
	return &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, OwnerReferences: []metav1.OwnerReference{ownerReference(node)}},
		Spec:       storagev1.CSINodeSpec{Drivers: drivers},
	}
}

func driver(name string, node *corev1.Node) storagev1.CSINodeDriver {
	return storagev1.CSINodeDriver{Name: name, NodeID: node.Name, TopologyKeys: []string{topologyKey(name)}}
}

func hasPool(node *corev1.Node) bool {
	_, ok := node.Annotations[layout.AnnotationStoragePool]
	return ok
}

func ownerReference(node *corev1.Node) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
}
