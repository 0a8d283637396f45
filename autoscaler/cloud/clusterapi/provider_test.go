// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	scalefake "k8s.io/client-go/scale/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

// fakes are a management and a workload cluster.
type fakes struct {
	client *dynamicfake.FakeDynamicClient
	kube   *fake.Clientset
	scales *scalefake.FakeScaleClient
	mapper *meta.DefaultRESTMapper
}

// newFakes has the objects of a YAML stream; nodes are those of the workload cluster.
func newFakes(t *testing.T, version, objects string, nodes ...runtime.Object) *fakes {
	t.Helper()
	f := &fakes{kube: fake.NewClientset(nodes...), scales: &scalefake.FakeScaleClient{}, mapper: meta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: apiGroup, Version: version}, {Group: "infra.example.com", Version: "v1"}})}
	kinds := map[schema.GroupVersionResource]string{}
	for _, kind := range []string{deploymentKind, setKind, poolKind, machineKind, clusterKind} {
		gvk := schema.GroupVersionKind{Group: apiGroup, Version: version, Kind: kind}
		f.mapper.Add(gvk, meta.RESTScopeNamespace)
		kinds[gvk.GroupVersion().WithResource(strings.ToLower(kind)+"s")] = kind + "List"
	}
	for _, v := range []string{"v1", "v1alpha1"} {
		gvk := schema.GroupVersionKind{Group: "infra.example.com", Version: v, Kind: "ToyTemplate"}
		f.mapper.Add(gvk, meta.RESTScopeNamespace)
		kinds[gvk.GroupVersion().WithResource("toytemplates")] = "ToyTemplateList"
	}
	var list []runtime.Object
	for document := range strings.SplitSeq(objects, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &u.Object); err != nil {
			t.Fatal(err)
		}
		if len(u.Object) == 0 {
			continue
		}
		if u.GetAPIVersion() == "" {
			u.SetAPIVersion(apiGroup + "/" + version)
		}
		u.SetNamespace("prod")
		if u.GetUID() == "" {
			u.SetUID(types.UID(u.GetKind() + u.GetName()))
		}
		list = append(list, u)
	}
	// yaml.Unmarshal makes floats of numbers; the API machinery has integers.
	for _, o := range list {
		u := o.(*unstructured.Unstructured)
		data, err := u.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := u.UnmarshalJSON(data); err != nil {
			t.Fatal(err)
		}
	}
	f.client = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, list...)
	return f
}

func (f *fakes) provider(t *testing.T, groups ...Group) *Provider {
	t.Helper()
	p, err := New(Options{Client: f.client, Scales: f.scales, Mapper: f.mapper, Nodes: f.kube.CoreV1().Nodes(), Groups: groups})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	impatient, cancelRefresh := context.WithTimeout(ctx, 10*time.Second)
	defer cancelRefresh()
	for err = p.Refresh(impatient); errors.Is(err, context.DeadlineExceeded) && impatient.Err() == nil; err = p.Refresh(impatient) {
		t.Log("once more:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const groupsYAML = `
kind: MachineDeployment
metadata: {name: good, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size: "1", cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "9"}}
spec: {replicas: 2}
---
kind: MachineDeployment
metadata: {name: silent}
spec: {replicas: 2}
---
kind: MachineDeployment
metadata: {name: bad, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "lots"}}
spec: {replicas: 2}
---
kind: MachineDeployment
metadata: {name: untold, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "3"}}
spec: {}
---
kind: MachineDeployment
metadata: {name: going, deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: [x], annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "3"}}
spec: {replicas: 1}
---
kind: MachineSet
metadata: {name: owned, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "3"}, ownerReferences: [{apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineDeployment, name: good, uid: x, controller: true}]}
spec: {replicas: 2}
---
kind: MachineSet
metadata: {name: own, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "3"}}
spec: {replicas: 2}
`

func TestGroups(t *testing.T) {
	two, four, twenty := 2, 4, 20
	cases := map[string]struct {
		groups   []Group
		want     map[string][2]int // with their limits
		problems map[string]string
	}{
		"the annotations bound a group": {
			groups: []Group{{Name: "MachineDeployment/prod/good"}},
			want:   map[string][2]int{"MachineDeployment/prod/good": {1, 9}},
		},
		"the configuration narrows that": {
			groups: []Group{{Name: "MachineDeployment/prod/good", Min: &two, Max: &four}},
			want:   map[string][2]int{"MachineDeployment/prod/good": {2, 4}},
		},
		"and never widens it": {
			groups: []Group{{Name: "MachineDeployment/prod/good", Max: &twenty}},
			want:   map[string][2]int{"MachineDeployment/prod/good": {1, 9}},
		},
		"the configuration bounds a group that says nothing": {
			groups: []Group{{Name: "MachineDeployment/prod/silent", Max: &four}},
			want:   map[string][2]int{"MachineDeployment/prod/silent": {0, 4}},
		},
		"what is wrong is left out, and told": {
			groups: []Group{
				{Name: "MachineDeployment/prod/good", Min: &four, Max: &two}, {Name: "MachineDeployment/prod/silent"}, {Name: "MachineDeployment/prod/bad"}, {Name: "MachineDeployment/prod/untold"},
				{Name: "MachineDeployment/prod/going"}, {Name: "MachineDeployment/prod/absent"}, {Name: "MachineSet/prod/owned"}, {Name: "MachineSet/prod/own"},
			},
			want: map[string][2]int{"MachineSet/prod/own": {0, 3}},
			problems: map[string]string{
				"MachineDeployment/prod/good":   "is \"2\": want at least the minimum 4",
				"MachineDeployment/prod/silent": "max-size is not set: want a whole number from 0, there or as max in the configuration",
				"MachineDeployment/prod/bad":    "annotation cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size is \"lots\": want a whole number",
				"MachineDeployment/prod/untold": "spec.replicas is not set",
				"MachineDeployment/prod/going":  "does not exist, or is being deleted",
				"MachineDeployment/prod/absent": "does not exist",
				"MachineSet/prod/owned":         "belongs to MachineDeployment/prod/good",
			},
		},
		"a star is every group that is bounded; a name wins": {
			groups: []Group{{Name: "MachineDeployment/prod/*"}, {Name: "MachineSet/prod/*"}, {Name: "MachineDeployment/prod/good", Max: &four}},
			want:   map[string][2]int{"MachineDeployment/prod/good": {1, 4}, "MachineSet/prod/own": {0, 3}},
			problems: map[string]string{
				"MachineDeployment/prod/bad":    "is \"lots\"",
				"MachineDeployment/prod/untold": "spec.replicas is not set",
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := newFakes(t, "v1beta2", groupsYAML).provider(t, c.groups...)
			groups, err := p.Groups(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][2]int{}
			for _, g := range groups {
				low, high := g.Limits()
				got[g.Name()] = [2]int{low, high}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			problems := p.Problems()
			if diff := cmp.Diff(slices.Sorted(maps.Keys(c.problems)), slices.Sorted(maps.Keys(problems))); diff != "" {
				t.Errorf("problems (-want +got)\n%s", diff)
			}
			for name, want := range c.problems {
				if err := problems[name]; err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %s", err, want)
				}
			}
		})
	}
}

func TestNames(t *testing.T) {
	for _, names := range [][]string{{"workers"}, {"prod/workers"}, {"Deployment/prod/workers"}, {"MachineSet//workers"}, {"MachineSet/prod/"}, {"MachineSet/a/b/c"}, {"MachineSet/*/b"}, {"MachineSet/a/b*"}, {"MachineSet/a/b", "MachineSet/a/b"}} {
		var groups []Group
		for _, name := range names {
			groups = append(groups, Group{Name: name})
		}
		if _, err := New(Options{Groups: groups}); err == nil || !strings.Contains(err.Error(), names[0]) {
			t.Errorf("%v: %v, want an error that names it", names, err)
		}
	}
}

const machinesYAML = `
kind: MachineSet
metadata: {name: set, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "9"}}
spec: {replicas: 9, clusterName: work, selector: {matchLabels: {a: b}}}
---
kind: Machine
metadata: {name: m-running, labels: {a: b}, ownerReferences: [{apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineSet, name: set, uid: x, controller: true}]}
spec: {providerID: "toy://1"}
status: {phase: Running, nodeRef: {name: one}}
---
kind: Machine
metadata: {name: m-booting, labels: {a: b}, ownerReferences: [{apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineSet, name: set, uid: x, controller: true}]}
spec: {providerID: "toy://2"}
status: {phase: Provisioned, conditions: [{type: InfrastructureReady, status: "True", reason: Ready}, {type: NodeHealthy, status: Unknown, reason: NodeDoesNotExist}]}
---
kind: Machine
metadata: {name: m-failed-v1beta1, labels: {a: b}, ownerReferences: [{apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineSet, name: set, uid: x, controller: true}]}
spec: {}
status: {phase: Failed, failureReason: InsufficientResources, failureMessage: the quota is used up}
---
kind: Machine
metadata: {name: m-failed-v1beta2, labels: {a: b}, ownerReferences: [{apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineSet, name: set, uid: x, controller: true}]}
spec: {}
status: {phase: Failed, deprecated: {v1beta1: {failureReason: CreateError, failureMessage: no such image}}}
---
kind: Machine
metadata: {name: m-given-up, labels: {a: b}, ownerReferences: [{apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineSet, name: set, uid: x, controller: true}]}
spec: {providerID: "toy://3"}
status: {phase: Provisioned, conditions: [{type: HealthCheckSucceeded, status: "False", reason: NodeStartupTimeout, message: no node in 10m}]}
---
kind: Machine
metadata: {name: m-phase, labels: {a: b}, ownerReferences: [{apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineSet, name: set, uid: x, controller: true}]}
spec: {}
status: {phase: Failed, conditions: [{type: Ready, status: "False", reason: NotReady}, {type: InfrastructureReady, status: "False", reason: Broken, message: it is}]}
---
kind: Machine
metadata: {name: m-sick, labels: {a: b}, ownerReferences: [{apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineSet, name: set, uid: x, controller: true}]}
spec: {}
status: {phase: Running, nodeRef: {name: nameless}, conditions: [{type: HealthCheckSucceeded, status: "False", reason: UnhealthyNode}]}
---
kind: Machine
metadata: {name: m-going, labels: {a: b}, deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: [x], ownerReferences: [{apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineSet, name: set, uid: x, controller: true}]}
spec: {providerID: "toy://4"}
status: {phase: Deleting, nodeRef: {name: four}}
---
kind: Machine
metadata: {name: other}
spec: {providerID: "toy://9"}
status: {nodeRef: {name: nine}}
`

func TestInstances(t *testing.T) {
	p := newFakes(t, "v1beta2", machinesYAML).provider(t, Group{Name: "MachineSet/prod/set"})
	got, err := p.groups["MachineSet/prod/set"].Instances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []cloud.Instance{ // by the name of the Machine
		{ProviderID: "toy://2", State: cloud.InstanceCreating},
		{State: cloud.InstanceCreating, Failed: &cloud.InstanceFailure{OutOfResources: true, Code: "InsufficientResources", Message: "the quota is used up"}},
		{State: cloud.InstanceCreating, Failed: &cloud.InstanceFailure{Code: "CreateError", Message: "no such image"}},
		{ProviderID: "toy://3", State: cloud.InstanceCreating, Failed: &cloud.InstanceFailure{Code: "NodeStartupTimeout", Message: "no node in 10m"}},
		{ProviderID: "toy://4", State: cloud.InstanceDeleting},
		{State: cloud.InstanceCreating, Failed: &cloud.InstanceFailure{Code: "Broken", Message: "it is"}},
		{ProviderID: "toy://1", State: cloud.InstanceRunning},
		{State: cloud.InstanceRunning},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestGroupOf(t *testing.T) {
	p := newFakes(t, "v1beta2", machinesYAML).provider(t, Group{Name: "MachineSet/prod/set"})
	for name, c := range map[string]struct {
		node v1.Node
		want bool
	}{
		"the providerID of a Machine":               {node: fakeNode("x", "toy://1"), want: true},
		"of one without a node":                     {node: fakeNode("x", "toy://2"), want: true},
		"of one that is no group's":                 {node: fakeNode("nine", "toy://9")},
		"of none, by a name of one with another":    {node: fakeNode("one", "toy://8")},
		"none, the name of one that has one":        {node: fakeNode("one", ""), want: true},
		"the name of a Machine without":             {node: fakeNode("nameless", "toy://7"), want: true},
		"a stranger":                                {node: fakeNode("stranger", "")},
		"a node that claims to be of the group":     {node: v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "liar", UID: "u", Annotations: map[string]string{templateAnnotation: "MachineSet/prod/set"}}}},
		"a template, which has nothing but a claim": {node: v1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{templateAnnotation: "MachineSet/prod/set"}}}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			if group, ok := p.GroupOf(&c.node); ok != c.want || ok && group != "MachineSet/prod/set" {
				t.Errorf("%q, %t; want %t", group, ok, c.want)
			}
		})
	}
}

func fakeNode(name, providerID string) v1.Node {
	return v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid"}, Spec: v1.NodeSpec{ProviderID: providerID}}
}

func TestPoolWithoutMachines(t *testing.T) {
	node := fakeNode("one", "toy://1")
	f := newFakes(t, "v1beta2", `
kind: MachinePool
metadata: {name: pool, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "9"}}
spec: {replicas: 3, clusterName: work, providerIDList: ["toy://1", "toy://2"]}
`, &node)
	g := f.provider(t, Group{Name: "MachinePool/prod/pool"}).groups["MachinePool/prod/pool"]
	if group, ok := g.provider.GroupOf(&node); !ok || group != g.Name() {
		t.Errorf("the node is of %q", group)
	}
	instances, err := g.Instances(t.Context())
	want := []cloud.Instance{{ProviderID: "toy://1", State: cloud.InstanceRunning}, {ProviderID: "toy://2", State: cloud.InstanceRunning}}
	if diff := cmp.Diff(want, instances); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	var undeletable *UndeletableError
	if err := g.Delete(t.Context(), &node); !errors.As(err, &undeletable) || undeletable.Node != "one" {
		t.Errorf("%v, want an UndeletableError", err)
	}
	var nothing *cloud.NothingToForgoError
	if err := g.DecreaseTarget(t.Context(), 2); !errors.As(err, &nothing) || nothing.Awaited != 1 {
		t.Errorf("%v, want one that is awaited", err)
	}
}

func TestPaused(t *testing.T) {
	const set = `
kind: MachineSet
metadata: {name: set, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "9", %s: ""}}
spec: {replicas: 1, clusterName: work, selector: {matchLabels: {a: b}}}
---
kind: Cluster
metadata: {name: work}
spec: {paused: %s}
`
	for name, c := range map[string]struct{ annotation, cluster, by string }{
		"the group":   {pausedAnnotation, "false", "it has the annotation cluster.x-k8s.io/paused"},
		"the cluster": {"x", "true", "Cluster prod/work has spec.paused"},
		"neither":     {"x", "false", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakes(t, "v1beta1", strings.Replace(strings.Replace(set, "%s", c.annotation, 1), "%s", c.cluster, 1))
			writes := 0
			f.scales.AddReactor("update", "machinesets", func(action clienttesting.Action) (bool, runtime.Object, error) {
				writes++
				return true, action.(clienttesting.UpdateAction).GetObject(), nil
			})
			g := f.provider(t, Group{Name: "MachineSet/prod/set"}).groups["MachineSet/prod/set"]
			err := g.Increase(t.Context(), 1)
			if c.by == "" {
				if err != nil || writes != 1 {
					t.Errorf("%v, %d writes", err, writes)
				}
				return
			}
			var paused *PausedError
			if !errors.As(err, &paused) || paused.By != c.by || paused.Group != "MachineSet/prod/set" || writes != 0 {
				t.Errorf("%v, %d writes; want a PausedError by %q", err, writes, c.by)
			}
		})
	}
}

func TestTemplate(t *testing.T) {
	const objects = `
kind: MachineDeployment
metadata: {name: full, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "9", capacity.cluster-autoscaler.kubernetes.io/cpu: "3", capacity.cluster-autoscaler.kubernetes.io/labels: "node.cluster.x-k8s.io/tier=gold,zone=a", capacity.cluster-autoscaler.kubernetes.io/taints: "b=2:NoSchedule", capacity.cluster-autoscaler.kubernetes.io/csi-driver: "toy=7"}}
spec:
  replicas: 0
  template:
    metadata: {labels: {node.cluster.x-k8s.io/tier: silver, node-role.kubernetes.io/worker: "", x.node-restriction.kubernetes.io/y: z, mine: only}}
    spec: {infrastructureRef: {REF}, taints: [{key: a, value: "1", effect: NoExecute, propagation: Always}, {key: b, value: "1", effect: NoSchedule, propagation: Always}]}
---
kind: MachineDeployment
metadata: {name: empty, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "9", capacity.cluster-autoscaler.kubernetes.io/cpu: "3"}}
spec: {replicas: 0}
---
apiVersion: infra.example.com/VERSION
kind: ToyTemplate
metadata: {name: toy}
status: {capacity: {cpu: "2", memory: 8Gi, example.com/toys: 5, odd: x}, nodeInfo: {architecture: arm64, operatingSystem: linux}}
`
	for version, ref := range map[string][2]string{
		"v1beta2": {"apiGroup: infra.example.com, kind: ToyTemplate, name: toy", "v1"},
		"v1beta1": {"apiVersion: infra.example.com/v1alpha1, kind: ToyTemplate, name: toy", "v1alpha1"},
	} {
		t.Run(version, func(t *testing.T) {
			f := newFakes(t, version, strings.Replace(strings.Replace(objects, "REF", ref[0], 1), "VERSION", ref[1], 1))
			p := f.provider(t, Group{Name: "MachineDeployment/prod/*"})
			got, err := p.groups["MachineDeployment/prod/full"].Template(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			capacity := map[string]string{}
			for name, q := range got.Node.Status.Allocatable {
				capacity[string(name)] = q.String()
			}
			if diff := cmp.Diff(map[string]string{"cpu": "3", "memory": "8Gi", "pods": "110", "example.com/toys": "5"}, capacity); diff != "" {
				t.Errorf("capacity (-want +got)\n%s", diff)
			}
			labels := map[string]string{
				"kubernetes.io/arch": "arm64", "kubernetes.io/os": "linux", "kubernetes.io/hostname": "full-template",
				"node.cluster.x-k8s.io/tier": "gold", "zone": "a", "node-role.kubernetes.io/worker": "", "x.node-restriction.kubernetes.io/y": "z",
			}
			if diff := cmp.Diff(labels, got.Node.Labels); diff != "" {
				t.Errorf("labels (-want +got)\n%s", diff)
			}
			taints := []v1.Taint{{Key: "a", Value: "1", Effect: v1.TaintEffectNoExecute}, {Key: "b", Value: "2", Effect: v1.TaintEffectNoSchedule}}
			if diff := cmp.Diff(taints, got.Node.Spec.Taints); diff != "" {
				t.Errorf("taints (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(map[string]int32{"toy": 7}, got.Drivers); diff != "" {
				t.Errorf("drivers (-want +got)\n%s", diff)
			}
			var untold *UntoldError
			var none *cloud.NoTemplateError
			_, err = p.groups["MachineDeployment/prod/empty"].Template(t.Context())
			if !errors.As(err, &untold) || untold.Missing != "memory" || !errors.As(err, &none) || none.Group != "MachineDeployment/prod/empty" {
				t.Errorf("%v, want an UntoldError of memory that is a NoTemplateError", err)
			}
		})
	}
}

// TestTemplateIsReadNowAndThen: a template costs no request per tick.
func TestTemplateIsReadNowAndThen(t *testing.T) {
	f := newFakes(t, "v1beta2", `
kind: MachineSet
metadata: {name: set, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "9"}}
spec: {replicas: 0, template: {spec: {infrastructureRef: {apiGroup: infra.example.com, kind: ToyTemplate, name: toy}}}}
---
apiVersion: infra.example.com/v1
kind: ToyTemplate
metadata: {name: toy}
status: {capacity: {cpu: "2", memory: 8Gi}}
`)
	g := f.provider(t, Group{Name: "MachineSet/prod/set"}).groups["MachineSet/prod/set"]
	reads := 0
	f.client.PrependReactor("get", "toytemplates", func(clienttesting.Action) (bool, runtime.Object, error) {
		reads++
		return false, nil, nil
	})
	look := func(want int) {
		t.Helper()
		if _, err := g.Template(t.Context()); err != nil || reads != want {
			t.Errorf("%v, %d reads; want %d", err, reads, want)
		}
	}
	look(1)
	look(1)
	g.infra.read = g.infra.read.Add(-infrastructureAge)
	look(2)
	g.infra.read = time.Time{}
	f.client.PrependReactor("get", "toytemplates", func(clienttesting.Action) (bool, runtime.Object, error) {
		reads++
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "toytemplates"}, "toy", nil)
	})
	look(3) // what was read before is better than nothing
	look(3)
}

// TestMarksAreTakenBack: a size that the API server refuses to write leaves no mark, one that may have been written does.
func TestMarksAreTakenBack(t *testing.T) {
	node := fakeNode("one", "toy://1")
	for name, c := range map[string]struct {
		err    error
		marked bool
	}{
		"refused":  {err: apierrors.NewForbidden(schema.GroupResource{Resource: "machinesets"}, "set", errors.New("no"))},
		"not sure": {err: apierrors.NewInternalError(errors.New("the connection broke")), marked: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakes(t, "v1beta2", `
kind: MachineSet
metadata: {name: set, annotations: {cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size: "9"}}
spec: {replicas: 1, clusterName: work, selector: {matchLabels: {a: b}}}
---
kind: Machine
metadata: {name: m, uid: m, labels: {a: b}, ownerReferences: [{apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineSet, name: set, uid: x, controller: true}]}
spec: {providerID: "toy://1"}
status: {nodeRef: {name: one}}
`, &node)
			fail := true
			var written []int32
			f.scales.AddReactor("update", "machinesets", func(action clienttesting.Action) (bool, runtime.Object, error) {
				if fail {
					return true, nil, c.err
				}
				scale := action.(clienttesting.UpdateAction).GetObject().(*autoscalingv1.Scale)
				written = append(written, scale.Spec.Replicas)
				return true, scale, nil
			})
			g := f.provider(t, Group{Name: "MachineSet/prod/set"}).groups["MachineSet/prod/set"]
			if err := g.Delete(t.Context(), &node); !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			mapping, err := f.mapper.RESTMapping(schema.GroupKind{Group: apiGroup, Kind: machineKind})
			if err != nil {
				t.Fatal(err)
			}
			m, err := f.client.Resource(mapping.Resource).Namespace("prod").Get(t.Context(), "m", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if marked, _ := (machine{m}).marked(); marked != c.marked {
				t.Errorf("marked: %t, want %t", marked, c.marked)
			}
			fail = false
			if err := g.Delete(t.Context(), &node); err != nil || !slices.Equal(written, []int32{0}) {
				t.Errorf("the second attempt: %v, wrote %v", err, written)
			}
		})
	}
}

// TestRefreshWithoutTheAPI: what is not installed is not waited for.
func TestRefreshWithoutTheAPI(t *testing.T) {
	p, err := New(Options{Mapper: meta.NewDefaultRESTMapper(nil), Groups: []Group{{Name: "MachinePool/prod/pool"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	go p.Run(ctx)
	if err := p.Refresh(ctx); err == nil {
		t.Error("refreshed what is not there")
	}
	if groups, err := p.Groups(t.Context()); err != nil || len(groups) != 0 {
		t.Errorf("%v, %v", groups, err)
	}
	node := fakeNode("a", "b")
	if group, ok := p.GroupOf(&node); ok {
		t.Errorf("the node is of %q", group)
	}
}
