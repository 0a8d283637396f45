// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/berth-dev/berth/autoscaler/forecast"
)

// expectation is what the last evaluation of an HPA lets expect of its target, until the next one.
type expectation struct {
	target scaled
	// foreign tells of a target whose pods no informer shows the making of.
	foreign  bool
	selector labels.Selector
	// current is what the target was asked for when it was evaluated, desired what it was left with, and reserve
	// what evaluations to come may leave it with.
	current, desired, reserve int
	// unwritten tells that the informers will not show it.
	unwritten bool
}

// expectations are those of all targets, as far as they are known to be the number of something's pods.
type expectations struct {
	desired, reserve map[scaled]int
	// foreign are the others.
	foreign []expectation
}

// expect remembers what was decided, and returns what is to be expected in this tick. Of targets that informers
// show, their own spec tells once a decision is written.
func (c *Conductor) expect(decided []*replicas) expectations {
	h := &c.history.futures
	fresh := sets.New[types.UID]()
	if h.expected == nil {
		h.expected = map[types.UID]expectation{}
	}
	for _, r := range decided {
		delete(h.expected, r.hpa.UID)
		if r.input.Scale.Absent != "" || r.failed {
			continue
		}
		fresh.Insert(r.hpa.UID)
		h.expected[r.hpa.UID] = expectation{
			target: targetOf(r.hpa), foreign: !observed(r.hpa.Spec.ScaleTargetRef), selector: r.selector,
			current: int(r.input.Scale.SpecReplicas), desired: int(r.decision.DesiredReplicas), reserve: int(r.decision.Reserve(r.input)),
			unwritten: !c.actsOnHPAs(),
		}
	}
	present := map[types.UID]scaled{}
	for _, hpa := range c.reader.HPAs() {
		present[hpa.UID] = targetOf(hpa)
	}
	maps.DeleteFunc(h.expected, func(uid types.UID, e expectation) bool { return present[uid] != e.target && !fresh.Has(uid) })

	all := expectations{desired: map[scaled]int{}, reserve: map[scaled]int{}}
	for uid, e := range h.expected {
		name := e.target
		if e.foreign {
			if name = c.within(e); name == (scaled{}) {
				all.foreign = append(all.foreign, e)
				continue
			}
		}
		if e.foreign || e.unwritten || fresh.Has(uid) {
			all.desired[name] = e.desired
		}
		all.reserve[name] = max(all.reserve[name], e.reserve)
	}
	return all
}

// observed tells whether informers show the target and what its pods are made from.
func observed(ref autoscalingv2.CrossVersionObjectReference) bool {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return false
	}
	switch ref.Kind {
	case "Deployment", "ReplicaSet", "StatefulSet":
		return gv.Group == appsv1.GroupName
	case "ReplicationController":
		return gv.Group == corev1.GroupName
	}
	return false
}

func targetOf(hpa *autoscalingv2.HorizontalPodAutoscaler) scaled {
	ref := hpa.Spec.ScaleTargetRef
	kind := ref.Kind
	if gv, err := schema.ParseGroupVersion(ref.APIVersion); err == nil && !observed(ref) {
		kind = schema.GroupKind{Group: gv.Group, Kind: kind}.String()
	}
	return scaled{kind, hpa.Namespace, ref.Name}
}

// within is the one workload that has all pods of a foreign target, as of an operator's resource that makes one
// StatefulSet of as many replicas; nothing where there is none such.
func (c *Conductor) within(e expectation) scaled {
	if e.selector == nil || e.selector.Empty() {
		return scaled{}
	}
	found, n := scaled{}, 0
	look := func(kind, namespace, name string, template *corev1.PodTemplateSpec, spec *int32) {
		replicas := replicasOf(spec, nil, scaled{})
		if namespace != e.target.namespace || template == nil || !e.selector.Matches(labels.Set(template.Labels)) || replicas == 0 && e.current > 0 {
			return
		}
		n++
		if replicas == e.current || replicas == e.desired {
			found = scaled{kind, namespace, name}
		}
	}
	for _, set := range c.reader.StatefulSets() {
		look("StatefulSet", set.Namespace, set.Name, &set.Spec.Template, set.Spec.Replicas)
	}
	for _, deployment := range c.reader.Deployments() {
		look("Deployment", deployment.Namespace, deployment.Name, &deployment.Spec.Template, deployment.Spec.Replicas)
	}
	for _, set := range c.reader.ReplicaSets() {
		if !ofDeployment(set) {
			look("ReplicaSet", set.Namespace, set.Name, &set.Spec.Template, set.Spec.Replicas)
		}
	}
	for _, controller := range c.reader.Controllers() {
		look("ReplicationController", controller.Namespace, controller.Name, controller.Spec.Template, controller.Spec.Replicas)
	}
	if n != 1 {
		return scaled{}
	}
	return found
}

// foreign are the workloads of targets of which nothing but their pods is known. What is already foreseen of the
// controllers that have some of those is taken off.
func (c *Conductor) foreign(expected expectations, known []forecast.Workload) []forecast.Workload {
	var all []forecast.Workload
	for _, e := range expected.foreign {
		if e.selector == nil || e.selector.Empty() {
			continue
		}
		pods := c.reader.PodsOf(e.target.namespace, e.selector)
		coming := 0
		for _, w := range known {
			if w.Namespace == e.target.namespace && w.Template != nil && e.selector.Matches(labels.Set(w.Template.Labels)) {
				coming += w.Lacking()
			}
		}
		w := forecast.OfPods(e.target.kind, e.target.namespace, e.target.name, max(0, e.desired-coming), pods)
		w.Reserve = max(0, e.reserve-coming)
		all = append(all, w)
	}
	return all
}
