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

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
)

// ResizePod notes a resize on the pod and asks for it. Both fail with a conflict where the pod is another one by
// now or anything about it has changed; a note that stays alone is of a resize that was not carried out.
func (w *Writer) ResizePod(ctx context.Context, pod *corev1.Pod, record string, to resize.Sizes) error {
	meta := map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion, "annotations": map[string]string{resize.RecordAnnotation: record}}
	noted, err := w.patchPod(ctx, pod, types.MergePatchType, map[string]any{"metadata": meta})
	if err != nil {
		return err
	}
	var containers []any
	for _, name := range slices.Sorted(maps.Keys(to)) {
		containers = append(containers, map[string]any{"name": name, "resources": map[string]any{"requests": to[name].Requests, "limits": to[name].Limits}})
	}
	_, err = w.patchPod(ctx, pod, types.StrategicMergePatchType, map[string]any{
		"metadata": map[string]any{"uid": pod.UID, "resourceVersion": noted.ResourceVersion},
		"spec":     map[string]any{"containers": containers},
	}, "resize")
	return err
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

// Sizes writes the annotation from which the API server sizes the pods of a VPA, or takes it away if it is empty,
// where it differs from what the VPA has. It fails with a conflict where the VPA is another one by now.
func (w *Writer) Sizes(ctx context.Context, vpa *vpav1.VerticalPodAutoscaler, table string) error {
	if vpa.Annotations[sizes.Annotation] == table {
		return nil
	}
	value := &table
	if table == "" {
		value = nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": vpa.UID, "annotations": map[string]*string{sizes.Annotation: value}}})
	if err != nil {
		return err
	}
	_, err = w.vpas.VerticalPodAutoscalers(vpa.Namespace).Patch(ctx, vpa.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
