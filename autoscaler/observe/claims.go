// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"
)

// ClaimsOf returns the names of the claims that a pod uses, those made for it included.
func ClaimsOf(pod *corev1.Pod) []string {
	var names []string
	for i := range pod.Spec.Volumes {
		switch volume := &pod.Spec.Volumes[i]; {
		case volume.PersistentVolumeClaim != nil:
			names = append(names, volume.PersistentVolumeClaim.ClaimName)
		case volume.Ephemeral != nil:
			names = append(names, ephemeral.VolumeClaimName(pod, volume))
		}
	}
	return names
}

func claimKeys(pod *corev1.Pod) []string {
	keys := ClaimsOf(pod)
	for i, name := range keys {
		keys[i] = pod.Namespace + "/" + name
	}
	return keys
}

// PodsUsing returns the pods that use a claim, in no order. A pod that has
// ended uses it too, until it is gone.
func (r *Reader) PodsUsing(namespace, claim string) []*corev1.Pod {
	return r.indexed(claimIndex, namespace+"/"+claim)
}

// Attaches tells whether a CSI driver attaches its volumes to nodes. One that
// does not say so does.
func (r *Reader) Attaches(driver string) bool {
	d := found(r.drivers.Get(driver))
	return d == nil || d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
}

// NodesNow asks the API server for every node: an informer may be behind, and
// does not know it. It costs as much as there are nodes.
func (r *Reader) NodesNow(ctx context.Context) ([]*corev1.Node, error) {
	list, err := r.server.Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	nodes := make([]*corev1.Node, len(list.Items))
	for i := range list.Items {
		nodes[i] = &list.Items[i]
	}
	return nodes, nil
}
