// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

const (
	// defaultPods is what a kubelet takes unless it is told otherwise.
	defaultPods = 110
	// infrastructureAge is how long what an infrastructure template says is believed: it hardly ever changes.
	// One that cannot be read is tried again after infrastructureRetry.
	infrastructureAge   = 5 * time.Minute
	infrastructureRetry = time.Minute
)

// infrastructure is what an infrastructure template says about its machines.
type infrastructure struct {
	of       reference
	read     time.Time
	capacity v1.ResourceList
	os, arch string
}

// reference is spec.template.spec.infrastructureRef: v1beta2 gives the API group and has the version found, v1beta1 gives both.
type reference struct {
	kind, namespace, name, group, version string
}

// Template builds the node from what the object and its infrastructure template say; the annotations win.
func (g *nodeGroup) Template(ctx context.Context) (*cloud.Template, error) {
	object := g.cached()
	if object == nil {
		return nil, &MissingError{Group: g.Name()}
	}
	infra := g.infrastructure(ctx, object)
	g.mu.Lock()
	said := g.said
	g.mu.Unlock()

	capacity := v1.ResourceList{v1.ResourcePods: *resource.NewQuantity(defaultPods, resource.DecimalSI)}
	maps.Copy(capacity, infra.capacity)
	maps.Copy(capacity, said.capacity)
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		if q, ok := capacity[name]; !ok || q.IsZero() {
			return nil, &UntoldError{Group: g.Name(), Missing: string(name)}
		}
	}
	name := g.name + "-template"
	labels := map[string]string{v1.LabelOSStable: infra.os, v1.LabelArchStable: infra.arch}
	maps.Copy(labels, propagated(object))
	maps.Copy(labels, said.labels)
	labels[v1.LabelHostname] = name
	return &cloud.Template{
		Node: &v1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{templateAnnotation: g.Name()}},
			Spec:       v1.NodeSpec{Taints: append([]v1.Taint(nil), said.taints...)},
			Status:     v1.NodeStatus{Capacity: capacity.DeepCopy(), Allocatable: capacity.DeepCopy()},
		},
		Drivers: maps.Clone(said.drivers),
	}, nil
}

// propagated are the labels of the Machines that Cluster API puts on their nodes.
func propagated(object *unstructured.Unstructured) map[string]string {
	labels, _, _ := unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "labels")
	maps.DeleteFunc(labels, func(key, _ string) bool {
		domain, _, _ := strings.Cut(key, "/")
		for _, managed := range []string{"node-restriction.kubernetes.io", "node.cluster.x-k8s.io"} {
			if domain == managed || strings.HasSuffix(domain, "."+managed) {
				return false
			}
		}
		return domain != "node-role.kubernetes.io"
	})
	return labels
}

// taints are those of the object's template, with those of the annotation over them.
func (g *nodeGroup) taints(object *unstructured.Unstructured, annotated []v1.Taint) ([]v1.Taint, error) {
	list, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "taints")
	var taints []v1.Taint
	for _, item := range list {
		fields, _ := item.(map[string]any)
		var t v1.Taint
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &t); err != nil || !validTaint(t) {
			return nil, &InvalidError{Group: g.Name(), Field: "spec.template.spec.taints", Value: fmt.Sprint(item), Want: "a key, a value and NoSchedule, PreferNoSchedule or NoExecute"}
		}
		taints = overlay(taints, t)
	}
	for _, t := range annotated {
		taints = overlay(taints, t)
	}
	return taints, nil
}

// infrastructure reads the infrastructure template. Without it the annotations have to do.
func (g *nodeGroup) infrastructure(ctx context.Context, object *unstructured.Unstructured) infrastructure {
	of := infrastructureRef(object)
	g.mu.Lock()
	known := g.infra
	g.mu.Unlock()
	if known.of == of && time.Since(known.read) < infrastructureAge {
		return known
	}
	fresh := infrastructure{of: of, read: time.Now(), os: "linux", arch: "amd64", capacity: v1.ResourceList{}}
	template, err := g.provider.template(ctx, of)
	switch {
	case err != nil:
		klog.FromContext(ctx).V(2).Info("The infrastructure template is not read: the annotations have to do", "nodeGroup", g.Name(), "err", err)
		if known.of == of {
			fresh = known
		}
		fresh.read = time.Now().Add(infrastructureRetry - infrastructureAge)
	case template != nil:
		fresh.observe(template)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.infra = fresh
	return fresh
}

// observe takes what the template's status says. What is no quantity is no capacity.
func (i *infrastructure) observe(template *unstructured.Unstructured) {
	said, _, _ := unstructured.NestedMap(template.Object, "status", "capacity")
	for name, value := range said {
		if q, err := resource.ParseQuantity(fmt.Sprint(value)); err == nil && q.Sign() > 0 {
			i.capacity[v1.ResourceName(name)] = q
		}
	}
	if os, _, _ := unstructured.NestedString(template.Object, "status", "nodeInfo", "operatingSystem"); os != "" {
		i.os = os
	}
	if arch, _, _ := unstructured.NestedString(template.Object, "status", "nodeInfo", "architecture"); arch != "" {
		i.arch = arch
	}
}

func infrastructureRef(object *unstructured.Unstructured) reference {
	ref, _, _ := unstructured.NestedMap(object.Object, "spec", "template", "spec", "infrastructureRef")
	text := func(key string) string {
		s, _ := ref[key].(string)
		return s
	}
	r := reference{kind: text("kind"), name: text("name"), namespace: text("namespace"), group: text("apiGroup")}
	if r.namespace == "" {
		r.namespace = object.GetNamespace()
	}
	if gv, err := schema.ParseGroupVersion(text("apiVersion")); err == nil && r.group == "" {
		r.group, r.version = gv.Group, gv.Version
	}
	return r
}

// template reads an infrastructure template; nil where the reference names none.
func (p *Provider) template(ctx context.Context, r reference) (*unstructured.Unstructured, error) {
	if r.kind == "" || r.name == "" || r.group == "" {
		return nil, nil
	}
	var versions []string
	if r.version != "" {
		versions = append(versions, r.version)
	}
	mapping, err := p.mapping(schema.GroupKind{Group: r.group, Kind: r.kind}, versions...)
	if err != nil {
		return nil, err
	}
	client := p.options.Client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return client.Namespace(r.namespace).Get(ctx, r.name, metav1.GetOptions{})
	}
	return client.Get(ctx, r.name, metav1.GetOptions{})
}
