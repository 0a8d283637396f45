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
	if err == nil && ownedBy(current, node) {
		return nil
	}
	client := k.client.StorageV1().CSINodes()
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
	if len(annotations)+len(labels) == 0 {
		return nil
	}
	return map[string]any{"metadata": map[string]any{"annotations": annotations, "labels": labels}}
}

// csiNode names the drivers of a node. Only what is attached is limited.
func csiNode(node *corev1.Node, attachLimit int32) *storagev1.CSINode {
	return &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{
			Name:            node.Name,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
		},
		Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
			{
				Name:         ZonalDriver,
				NodeID:       node.Name,
				TopologyKeys: []string{topologyKey(ZonalDriver)},
				Allocatable:  &storagev1.VolumeNodeResources{Count: &attachLimit},
			},
			{Name: LocalDriver, NodeID: node.Name, TopologyKeys: []string{topologyKey(LocalDriver)}},
		}},
	}
}
