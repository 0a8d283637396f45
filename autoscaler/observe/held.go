// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Held tells whether Scale knows a target of this kind from memory. For others it asks the API server.
func Held(ref autoscalingv2.CrossVersionObjectReference) bool {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return true // an error, from memory
	}
	return gv.Group == appsv1.GroupName && (ref.Kind == "Deployment" || ref.Kind == "ReplicaSet" || ref.Kind == "StatefulSet")
}
