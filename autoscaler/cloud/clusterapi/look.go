// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	pausedAnnotation = "cluster.x-k8s.io/paused"
	clusterLabel     = "cluster.x-k8s.io/cluster-name"
)

// now is a group as the API server has it.
type now struct {
	group    string
	object   *unstructured.Unstructured
	replicas int
	high     int
	// machines are the Machines that are not being deleted.
	machines []machine
	// rolling tells that more than one MachineSet of a MachineDeployment has Machines, or wants some.
	rolling bool
}

// look reads the group, as it is now. A paused one is an error: nothing would come of a change.
func (g *nodeGroup) look(ctx context.Context) (*now, error) {
	gvr, err := g.provider.resource(g.kind)
	if err != nil {
		return nil, err
	}
	object, err := g.provider.options.Client.Resource(gvr).Namespace(g.namespace).Get(ctx, g.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && isDeleting(object) {
		return nil, &MissingError{Group: g.Name()}
	}
	if err != nil {
		return nil, fmt.Errorf("node group %s: reading it: %w", g.Name(), err)
	}
	if err := g.paused(ctx, object); err != nil {
		return nil, err
	}
	g.mu.Lock()
	configured := g.configured
	g.mu.Unlock()
	n := &now{group: g.Name(), object: object}
	if _, _, n.high, err = g.understand(object, configured); err != nil {
		return nil, err
	}
	if n.replicas, err = g.replicas(object); err != nil {
		return nil, err
	}
	return n, g.lookAtMachines(ctx, n)
}

func (g *nodeGroup) paused(ctx context.Context, object *unstructured.Unstructured) error {
	if _, paused := object.GetAnnotations()[pausedAnnotation]; paused {
		return &PausedError{Group: g.Name(), By: "it has the annotation " + pausedAnnotation}
	}
	name, _, _ := unstructured.NestedString(object.Object, "spec", "clusterName")
	gvr, err := g.provider.resource(clusterKind)
	if meta.IsNoMatchError(err) || name == "" {
		return nil
	}
	if err != nil {
		return err
	}
	cluster, err := g.provider.options.Client.Resource(gvr).Namespace(g.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("node group %s: reading Cluster %s: %w", g.Name(), name, err)
	}
	if paused, _, _ := unstructured.NestedBool(cluster.Object, "spec", "paused"); paused {
		return &PausedError{Group: g.Name(), By: fmt.Sprintf("Cluster %s/%s has spec.paused", g.namespace, name)}
	}
	return nil
}

// lookAtMachines reads the Machines that the group's selector selects, and keeps those that it owns.
func (g *nodeGroup) lookAtMachines(ctx context.Context, n *now) error {
	selector, err := g.selector(n.object)
	if err != nil {
		return err
	}
	owners := map[string]bool{g.kind + "/" + g.name: true}
	active := map[string]bool{}
	if g.kind == deploymentKind {
		owners = map[string]bool{}
		sets, err := g.list(ctx, setKind, selector)
		if err != nil {
			return err
		}
		for _, set := range sets {
			if kind, name := owner(&set); kind != deploymentKind || name != g.name {
				continue
			}
			owners[setKind+"/"+set.GetName()] = true
			if replicas, _, _ := unstructured.NestedInt64(set.Object, "spec", "replicas"); replicas > 0 {
				active[set.GetName()] = true
			}
		}
	}
	list, err := g.list(ctx, machineKind, selector)
	if err != nil {
		return err
	}
	for i := range list {
		m := machine{&list[i]}
		kind, name := owner(m)
		if !owners[kind+"/"+name] || m.deleting() {
			continue
		}
		n.machines = append(n.machines, m)
		active[name] = true
	}
	n.rolling = len(active) > 1
	return nil
}

// selector selects at least the Machines of the group. A MachinePool has none of its own.
func (g *nodeGroup) selector(object *unstructured.Unstructured) (labels.Selector, error) {
	if g.kind == poolKind {
		name, _, _ := unstructured.NestedString(object.Object, "spec", "clusterName")
		return labels.SelectorFromSet(labels.Set{clusterLabel: name}), nil
	}
	raw, _, _ := unstructured.NestedMap(object.Object, "spec", "selector")
	var written metav1.LabelSelector
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &written)
	if err == nil {
		var selector labels.Selector
		if selector, err = metav1.LabelSelectorAsSelector(&written); err == nil {
			return selector, nil
		}
	}
	return nil, &InvalidError{Group: g.Name(), Field: "spec.selector", Value: fmt.Sprint(raw), Want: "a label selector"}
}

func (g *nodeGroup) list(ctx context.Context, kind string, selector labels.Selector) ([]unstructured.Unstructured, error) {
	gvr, err := g.provider.resource(kind)
	if err != nil {
		return nil, err
	}
	list, err := g.provider.options.Client.Resource(gvr).Namespace(g.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return nil, fmt.Errorf("node group %s: listing its %ss: %w", g.Name(), kind, err)
	}
	return list.Items, nil
}
