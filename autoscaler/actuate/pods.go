// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// ResizePod writes a note on the pod, as an annotation, and asks for the sizes of its containers. Both fail with a
// conflict where the pod is another one by now, or anything about it has changed; the note may stay alone. Noted is the version
// of the pod between the two.
func (w *Writer) ResizePod(ctx context.Context, pod *corev1.Pod, annotation, note string, to map[string]corev1.ResourceRequirements) (noted string, err error) {
	meta := map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion, "annotations": map[string]string{annotation: note}}
	between, err := w.patchPod(ctx, pod, types.MergePatchType, map[string]any{"metadata": meta})
	if err != nil {
		return "", err
	}
	var containers []any
	for _, name := range slices.Sorted(maps.Keys(to)) {
		containers = append(containers, map[string]any{"name": name, "resources": map[string]any{"requests": to[name].Requests, "limits": to[name].Limits}})
	}
	_, err = w.patchPod(ctx, pod, types.StrategicMergePatchType, map[string]any{
		"metadata": map[string]any{"uid": pod.UID, "resourceVersion": between.ResourceVersion},
		"spec":     map[string]any{"containers": containers},
	}, "resize")
	return between.ResourceVersion, err
}

func (w *Writer) patchPod(ctx context.Context, pod *corev1.Pod, kind types.PatchType, patch map[string]any, subresources ...string) (*corev1.Pod, error) {
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	return w.core.Pods(pod.Namespace).Patch(ctx, pod.Name, kind, data, metav1.PatchOptions{}, subresources...)
}

// EvictPod asks for the pod to be re-created. It fails with TooManyRequests where a PodDisruptionBudget has no
// room, and with a conflict where the pod is another one by now, or anything about it has changed.
func (w *Writer) EvictPod(ctx context.Context, pod *corev1.Pod) error {
	return w.core.Pods(pod.Namespace).EvictV1(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID, ResourceVersion: &pod.ResourceVersion}},
	})
}

// AnnotateVPA writes an annotation of a VPA, or takes it away if it is empty, where it differs from what the VPA
// has, and returns the VPA as it is then. It fails with a conflict where the VPA is another one by now.
func (w *Writer) AnnotateVPA(ctx context.Context, vpa *vpav1.VerticalPodAutoscaler, annotation, value string) (*vpav1.VerticalPodAutoscaler, error) {
	if vpa.Annotations[annotation] == value {
		return vpa, nil
	}
	wanted := &value
	if value == "" {
		wanted = nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": vpa.UID, "annotations": map[string]*string{annotation: wanted}}})
	if err != nil {
		return nil, err
	}
	return w.vpas.VerticalPodAutoscalers(vpa.Namespace).Patch(ctx, vpa.Name, types.MergePatchType, patch, metav1.PatchOptions{})
}
