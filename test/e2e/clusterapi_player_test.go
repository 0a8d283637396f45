// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// machinePlayer plays the controllers of Cluster API for the groups of one
// namespace, one step at a time: it makes and deletes Machines and Nodes as the
// replicas of a group want it, and takes Machines that are marked first.
type machinePlayer struct {
	client             dynamic.Interface
	kube               kubernetes.Interface
	version, namespace string
	// kind of the groups.
	kind string
	// withheld Machines get no node; failed ones say why.
	withheld bool
	failed   *[2]string
	made     int
}

const playerLabel = "e2e.berth.dev/player"

func (p *machinePlayer) resource(kind string) dynamic.ResourceInterface {
	plural := map[string]string{"MachineDeployment": "machinedeployments", "MachineSet": "machinesets", "MachinePool": "machinepools", "Machine": "machines"}[kind]
	return p.client.Resource(schema.GroupVersionResource{Group: "cluster.x-k8s.io", Version: p.version, Resource: plural}).Namespace(p.namespace)
}

// object returns an object with what the API demands of it. v1beta1 and v1beta2 differ in how they refer to another one.
func (p *machinePlayer) object(kind, name string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetAPIVersion("cluster.x-k8s.io/" + p.version)
	u.SetKind(kind)
	u.SetNamespace(p.namespace)
	u.SetName(name)
	spec["clusterName"] = "work"
	return u
}

func (p *machinePlayer) machineSpec() map[string]any {
	ref := map[string]any{"kind": "ToyMachineTemplate", "name": "toy"}
	if p.version == "v1beta1" {
		ref["apiVersion"] = "infrastructure.cluster.x-k8s.io/v1"
	} else {
		ref["apiGroup"] = "infrastructure.cluster.x-k8s.io"
	}
	return map[string]any{"clusterName": "work", "bootstrap": map[string]any{"dataSecretName": "none"}, "infrastructureRef": ref}
}

// group returns a group of up to five nodes.
func (p *machinePlayer) group(name string) *unstructured.Unstructured {
	labels := map[string]any{"group": name, "node.cluster.x-k8s.io/group": name}
	spec := map[string]any{
		"replicas": int64(0),
		"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": p.machineSpec()},
	}
	if p.kind != "MachinePool" {
		spec["selector"] = map[string]any{"matchLabels": map[string]any{"group": name}}
	}
	u := p.object(p.kind, name, spec)
	u.SetAnnotations(map[string]string{
		"cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size": "0",
		"cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size": "5",
		"cluster.x-k8s.io/autoscaling-options-scaledownunneededtime":  "7m",
		"capacity.cluster-autoscaler.kubernetes.io/cpu":               "4",
		"capacity.cluster-autoscaler.kubernetes.io/memory":            "8Gi",
		"capacity.cluster-autoscaler.kubernetes.io/labels":            "topology.kubernetes.io/zone=" + name,
		"capacity.cluster-autoscaler.kubernetes.io/taints":            "dedicated=toys:NoSchedule",
		"capacity.cluster-autoscaler.kubernetes.io/csi-driver":        "zonal.e2e.berth.dev=7",
	})
	return u
}

// play goes on until nothing is left to be done.
func (p *machinePlayer) play(ctx context.Context, t *testing.T) {
	t.Helper()
	groups, err := p.resource(p.kind).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range groups.Items {
		if err := p.playGroup(ctx, &groups.Items[i]); err != nil {
			t.Fatalf("playing Cluster API: %v", err)
		}
	}
}

func (p *machinePlayer) playGroup(ctx context.Context, group *unstructured.Unstructured) error {
	replicas, _, _ := unstructured.NestedInt64(group.Object, "spec", "replicas")
	home := group
	if p.kind == "MachineDeployment" {
		var err error
		if home, err = p.playSet(ctx, group, replicas); err != nil {
			return err
		}
	}
	machines, err := p.machinesOf(ctx, home)
	if err != nil {
		return err
	}
	for len(machines) > int(replicas) {
		if err := p.delete(ctx, machines[0]); err != nil {
			return err
		}
		machines = machines[1:]
	}
	for len(machines) < int(replicas) {
		m, err := p.create(ctx, home)
		if err != nil {
			return err
		}
		machines = append(machines, m)
	}
	if p.kind != "MachinePool" {
		return nil
	}
	var ids []string
	for _, m := range machines {
		if id, _, _ := unstructured.NestedString(m.Object, "spec", "providerID"); id != "" {
			ids = append(ids, id)
		}
	}
	if err := unstructured.SetNestedStringSlice(group.Object, ids, "spec", "providerIDList"); err != nil {
		return err
	}
	_, err = p.resource(p.kind).Update(ctx, group, metav1.UpdateOptions{})
	return err
}

// playSet gives a MachineDeployment its MachineSet.
func (p *machinePlayer) playSet(ctx context.Context, deployment *unstructured.Unstructured, replicas int64) (*unstructured.Unstructured, error) {
	sets := p.resource("MachineSet")
	set, err := sets.Get(ctx, deployment.GetName()+"-1", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		template, _, _ := unstructured.NestedMap(deployment.Object, "spec", "template")
		set = p.object("MachineSet", deployment.GetName()+"-1", map[string]any{
			"replicas": replicas, "template": template,
			"selector": map[string]any{"matchLabels": map[string]any{"group": deployment.GetName()}},
		})
		set.SetLabels(map[string]string{"group": deployment.GetName()})
		set.SetAnnotations(deployment.GetAnnotations())
		set.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(deployment, deployment.GroupVersionKind())})
		return sets.Create(ctx, set, metav1.CreateOptions{})
	}
	if err != nil {
		return nil, err
	}
	if err := unstructured.SetNestedField(set.Object, replicas, "spec", "replicas"); err != nil {
		return nil, err
	}
	return sets.Update(ctx, set, metav1.UpdateOptions{})
}

// machinesOf returns the Machines in the order in which they are to go.
func (p *machinePlayer) machinesOf(ctx context.Context, home *unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	list, err := p.resource("Machine").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var machines []*unstructured.Unstructured
	for i := range list.Items {
		if metav1.IsControlledBy(&list.Items[i], home) {
			machines = append(machines, &list.Items[i])
		}
	}
	priority := func(m *unstructured.Unstructured) int {
		_, marked := m.GetAnnotations()["cluster.x-k8s.io/delete-machine"]
		_, healthy, _ := unstructured.NestedString(m.Object, "status", "nodeRef", "name")
		switch {
		case marked:
			return 0
		case !healthy:
			return 1
		}
		return 2
	}
	slices.SortFunc(machines, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(priority(a), priority(b)), cmp.Compare(a.GetName(), b.GetName()))
	})
	return machines, nil
}

func (p *machinePlayer) delete(ctx context.Context, m *unstructured.Unstructured) error {
	if node, _, _ := unstructured.NestedString(m.Object, "status", "nodeRef", "name"); node != "" {
		if err := p.kube.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	return p.resource("Machine").Delete(ctx, m.GetName(), metav1.DeleteOptions{})
}

func (p *machinePlayer) create(ctx context.Context, home *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	p.made++
	name := fmt.Sprintf("%s-%03d", home.GetName(), p.made)
	m := p.object("Machine", name, p.machineSpec())
	m.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(home, home.GroupVersionKind())})
	labels, _, _ := unstructured.NestedStringMap(home.Object, "spec", "template", "metadata", "labels")
	labels["cluster.x-k8s.io/cluster-name"] = "work"
	m.SetLabels(labels)
	status := map[string]any{"phase": "Provisioning"}
	providerID := "toy://" + p.namespace + "/" + name
	switch {
	case p.failed != nil:
		failure := map[string]any{"failureReason": p.failed[0], "failureMessage": p.failed[1]}
		if status["phase"] = "Failed"; p.version == "v1beta1" {
			status["failureReason"], status["failureMessage"] = p.failed[0], p.failed[1]
		} else {
			status["deprecated"] = map[string]any{"v1beta1": failure}
		}
	case !p.withheld:
		if err := p.boot(ctx, p.namespace+"-"+name, providerID, home); err != nil {
			return nil, err
		}
		if err := unstructured.SetNestedField(m.Object, providerID, "spec", "providerID"); err != nil {
			return nil, err
		}
		status["phase"], status["nodeRef"] = "Running", map[string]any{"name": p.namespace + "-" + name}
	}
	created, err := p.resource("Machine").Create(ctx, m, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	created.Object["status"] = status
	return p.resource("Machine").UpdateStatus(ctx, created, metav1.UpdateOptions{})
}

// boot makes the node of a Machine.
func (p *machinePlayer) boot(ctx context.Context, name, providerID string, home *unstructured.Unstructured) error {
	labels, _, _ := unstructured.NestedStringMap(home.Object, "spec", "template", "metadata", "labels")
	group := labels["group"]
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	_, err := p.kube.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			playerLabel: p.namespace, "node.cluster.x-k8s.io/group": group, corev1.LabelTopologyZone: group,
			corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
		}},
		Spec:   corev1.NodeSpec{ProviderID: providerID, Taints: []corev1.Taint{{Key: "dedicated", Value: "toys", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{Capacity: capacity, Allocatable: capacity},
	}, metav1.CreateOptions{})
	return err
}

func (p *machinePlayer) nodes(ctx context.Context, t *testing.T) []*corev1.Node {
	t.Helper()
	list, err := p.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: playerLabel + "=" + p.namespace})
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*corev1.Node
	for i := range list.Items {
		nodes = append(nodes, &list.Items[i])
	}
	return nodes
}
