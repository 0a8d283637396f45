// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DrainPod asks for a pod to leave its node, which it may take at most so long for. It fails with TooManyRequests where
// a PodDisruptionBudget has no room, and with a conflict where the pod is another one by now.
func (w *Writer) DrainPod(ctx context.Context, pod *corev1.Pod, most time.Duration) error {
	options := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}}
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	if limit := int64(most.Seconds()); grace > limit {
		options.GracePeriodSeconds = &limit
	}
	return w.core.Pods(pod.Namespace).EvictV1(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: options,
	})
}
