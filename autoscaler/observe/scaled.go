// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Scaled returns what the number of a pod's kind is set on: its controller, of a ReplicaSet the Deployment that
// has it. It is empty for a pod without a controller.
func (r *Reader) Scaled(pod *corev1.Pod) autoscalingv2.CrossVersionObjectReference {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return autoscalingv2.CrossVersionObjectReference{}
	}
	if gv, err := schema.ParseGroupVersion(owner.APIVersion); err == nil && gv.Group == appsv1.GroupName && owner.Kind == "ReplicaSet" {
		if set := r.ReplicaSet(pod.Namespace, owner.Name); set != nil {
			if above := metav1.GetControllerOfNoCopy(set); above != nil {
				owner = above
			}
		}
	}
	return autoscalingv2.CrossVersionObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Name: owner.Name}
}
