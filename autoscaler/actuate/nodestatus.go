// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/autoscaler/config"
)

// MakeNodeStatus returns the ConfigMap that tells of node groups, and makes it where there is none.
func (w *Writer) MakeNodeStatus(ctx context.Context, data map[string]string) (*corev1.ConfigMap, error) {
	maps := w.core.ConfigMaps(config.Namespace)
	found, err := maps.Get(ctx, config.StatusName, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return found, err
	}
	return maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   config.Namespace,
			Name:        config.StatusName,
			Labels:      map[string]string{"app.kubernetes.io/name": config.Name},
			Annotations: map[string]string{"kubernetes.io/description": "How the node groups of berth-autoscaler stand. Nothing is decided by it."},
		},
		Data: data,
	}, metav1.CreateOptions{})
}

// NodeStatus writes the data of that ConfigMap and returns it as it is stored. It fails with a conflict where
// the ConfigMap has changed since it was read.
func (w *Writer) NodeStatus(ctx context.Context, was *corev1.ConfigMap, data map[string]string) (*corev1.ConfigMap, error) {
	updated := was.DeepCopy()
	updated.Data, updated.BinaryData = data, nil
	return w.core.ConfigMaps(config.Namespace).Update(ctx, updated, metav1.UpdateOptions{})
}
