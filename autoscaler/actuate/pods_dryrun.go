// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DryRunCreate returns the pod that would be created, with what admission makes
// of it. Nothing is stored.
func (w *Writer) DryRunCreate(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	return w.core.Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}
