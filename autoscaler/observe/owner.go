// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TopOwner follows the controllers of a target upwards, as far as the
// informers know them, and returns the one that has none: a ReplicaSet's
// Deployment, and a Deployment itself. A target that is not there is its own top.
// A controller of a kind that is not watched is a top, too: it is named by the reference to it.
func (r *Reader) TopOwner(namespace string, ref autoscalingv2.CrossVersionObjectReference) autoscalingv2.CrossVersionObjectReference {
	// A chain of owners has no loops in practice, yet nothing forbids one.
	for range 5 {
		owner := metav1.GetControllerOfNoCopy(r.object(namespace, ref))
		if owner == nil {
			return ref
		}
		ref = autoscalingv2.CrossVersionObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Name: owner.Name}
	}
	return ref
}

// object returns the object's metadata, empty where it is not there or not watched.
func (r *Reader) object(namespace string, ref autoscalingv2.CrossVersionObjectReference) metav1.Object {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil || gv.Group != "apps" {
		return &metav1.ObjectMeta{}
	}
	switch ref.Kind {
	case "Deployment":
		if d := r.Deployment(namespace, ref.Name); d != nil {
			return d
		}
	case "ReplicaSet":
		if s := r.ReplicaSet(namespace, ref.Name); s != nil {
			return s
		}
	case "StatefulSet":
		if s := r.StatefulSet(namespace, ref.Name); s != nil {
			return s
		}
	}
	return &metav1.ObjectMeta{}
}
