// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Scale is what a scale subresource says.
type Scale struct {
	// Resource is where the scale subresource is written.
	Resource schema.GroupResource
	// SpecReplicas is the number asked for, StatusReplicas the number observed.
	SpecReplicas, StatusReplicas int32
	// Selector is the label selector of the pods, in the string form.
	Selector string
	// Version is the resource version of the target that says so.
	Version string
}

// Scale returns the scale of a target: from an informer for Deployments,
// ReplicaSets and StatefulSets, through the API for any other kind. The errors
// are those of the API, bare, so that they read as upstream's do.
func (r *Reader) Scale(ctx context.Context, namespace string, ref autoscalingv2.CrossVersionObjectReference) (Scale, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return Scale{}, err
	}
	if gv.Group == "apps" {
		switch ref.Kind {
		case "Deployment":
			d, err := r.deployments.Deployments(namespace).Get(ref.Name)
			if err != nil {
				return Scale{}, notFound("deployments", ref.Name)
			}
			return builtIn("deployments", d.ResourceVersion, d.Spec.Replicas, d.Status.Replicas, d.Spec.Selector)
		case "ReplicaSet":
			s, err := r.replicaSets.ReplicaSets(namespace).Get(ref.Name)
			if err != nil {
				return Scale{}, notFound("replicasets", ref.Name)
			}
			return builtIn("replicasets", s.ResourceVersion, s.Spec.Replicas, s.Status.Replicas, s.Spec.Selector)
		case "StatefulSet":
			s, err := r.statefulSets.StatefulSets(namespace).Get(ref.Name)
			if err != nil {
				return Scale{}, notFound("statefulsets", ref.Name)
			}
			return builtIn("statefulsets", s.ResourceVersion, s.Spec.Replicas, s.Status.Replicas, s.Spec.Selector)
		}
	}
	return r.scaleOfAnyKind(ctx, namespace, ref.Name, schema.GroupKind{Group: gv.Group, Kind: ref.Kind})
}

// notFound is the API's error; a lister's, which can be of no other kind, names the resource otherwise.
func notFound(resource, name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: resource}, name)
}

func builtIn(resource, version string, spec *int32, status int32, selector *metav1.LabelSelector) (Scale, error) {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return Scale{}, err
	}
	scale := Scale{Resource: schema.GroupResource{Group: "apps", Resource: resource}, SpecReplicas: 1, StatusReplicas: status, Selector: parsed.String(), Version: version}
	if spec != nil {
		scale.SpecReplicas = *spec
	}
	return scale, nil
}

// scaleOfAnyKind asks each resource that the kind maps to, as one of them may
// not be served; the first error is returned where none answers. A kind with
// several versions maps to the same resource more than once, and is asked once.
func (r *Reader) scaleOfAnyKind(ctx context.Context, namespace, name string, kind schema.GroupKind) (Scale, error) {
	mappings, err := r.mapper.RESTMappings(kind)
	if err != nil {
		return Scale{}, err
	}
	var first error
	asked := sets.New[schema.GroupResource]()
	for _, mapping := range mappings {
		resource := mapping.Resource.GroupResource()
		if asked.Has(resource) {
			continue
		}
		asked.Insert(resource)
		s, err := r.scales.Scales(namespace).Get(ctx, resource, name, metav1.GetOptions{})
		if err == nil {
			return Scale{Resource: resource, SpecReplicas: s.Spec.Replicas, StatusReplicas: s.Status.Replicas, Selector: s.Status.Selector, Version: s.ResourceVersion}, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = apierrors.NewNotFound(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, name)
	}
	return Scale{}, first
}
