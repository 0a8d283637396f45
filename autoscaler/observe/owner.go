// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"cmp"
	"maps"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
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
		ref = reference(owner)
	}
	return ref
}

func reference(owner *metav1.OwnerReference) autoscalingv2.CrossVersionObjectReference {
	return autoscalingv2.CrossVersionObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Name: owner.Name}
}

// TopOwners returns the top owners of all pods that a selector matches, in a fixed order: of those that
// live, and of those that Deployments and StatefulSets would make, so that a restart or zero replicas
// change nothing. A pod that nobody controls is its own.
func (r *Reader) TopOwners(namespace string, selector labels.Selector) []autoscalingv2.CrossVersionObjectReference {
	below := sets.New[autoscalingv2.CrossVersionObjectReference]()
	for _, pod := range r.PodsOf(namespace, selector) {
		switch owner := metav1.GetControllerOfNoCopy(pod); {
		case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		case owner != nil:
			below.Insert(reference(owner))
		default:
			below.Insert(autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name})
		}
	}
	for _, d := range all(r.deployments.Deployments(namespace).List) {
		if selector.Matches(labels.Set(d.Spec.Template.Labels)) {
			below.Insert(autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name})
		}
	}
	for _, s := range all(r.statefulSets.StatefulSets(namespace).List) {
		if selector.Matches(labels.Set(s.Spec.Template.Labels)) {
			below.Insert(autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: s.Name})
		}
	}
	tops := sets.New[autoscalingv2.CrossVersionObjectReference]()
	for ref := range below {
		tops.Insert(r.TopOwner(namespace, ref))
	}
	return slices.SortedFunc(maps.Keys(tops), func(a, b autoscalingv2.CrossVersionObjectReference) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.APIVersion, b.APIVersion))
	})
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
