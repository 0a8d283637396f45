// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	vpafake "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/fake"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

const ns = "prod"

// now is when the commands are run.
var now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// world is a cluster in the few words that the tests tell apart. Its policies
// are as old as their place in the list.
type world struct {
	namespace *string // of the question, ns unless it is named
	objects   []runtime.Object
	policies  []*v1alpha1.PlacementPolicy
	change    func(*fake.Clientset)
	gauges    gauges
	// vpas are VPAs and their checkpoints; changeVPAs is what change is for others.
	vpas       []runtime.Object
	changeVPAs func(*vpafake.Clientset)
}

// List makes the world a policyLister.
func (w *world) List(context.Context) ([]*v1alpha1.PlacementPolicy, error) { return w.policies, nil }

// threeZones has the scheduler's configuration, and two nodes in each zone: a1,
// a2, b1, b2, c1, c2.
func threeZones(objects ...runtime.Object) *world {
	return zones(objects...).add(configured("berth-scheduler-7d9k", "berth-scheduler", "{spread: {}}")...)
}

// zones is threeZones without a configuration.
func zones(objects ...runtime.Object) *world {
	w := &world{objects: objects}
	for _, zone := range []string{"a", "b", "c"} {
		w.add(node(zone+"1", zone).Obj(), node(zone+"2", zone).Obj())
	}
	return w.add(st.MakeStorageClass().Name("late").VolumeBindingMode(storagev1.VolumeBindingWaitForFirstConsumer).Obj())
}

func (w *world) add(objects ...runtime.Object) *world {
	w.objects = append(w.objects, objects...)
	return w
}

// policy adds a PlacementPolicy with a spec in YAML.
func (w *world) policy(t *testing.T, name, spec string) *world {
	t.Helper()
	p := &v1alpha1.PlacementPolicy{}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	p.Namespace, p.Name = ns, name
	p.CreationTimestamp = metav1.Unix(int64(1_700_000_000+60*len(w.policies)), 0)
	w.policies = append(w.policies, p)
	return w
}

// lastPolicyIn moves the policy that was added last to another namespace.
func (w *world) lastPolicyIn(namespace string) *world {
	w.policies[len(w.policies)-1].Namespace = namespace
	return w
}

// without takes nodes out.
func (w *world) without(nodes ...string) *world {
	w.objects = slices.DeleteFunc(w.objects, func(o runtime.Object) bool {
		node, ok := o.(*v1.Node)
		return ok && slices.Contains(nodes, node.Name)
	})
	return w
}

func node(name, zone string) *st.NodeWrapper {
	return st.MakeNode().Name(name).Label(v1.LabelTopologyZone, "zone-"+zone).
		Condition(v1.NodeReady, v1.ConditionTrue, "", "").
		Capacity(map[v1.ResourceName]string{v1.ResourceCPU: "4", v1.ResourceMemory: "8Gi", v1.ResourcePods: "10"})
}

// configured is a profile in a ConfigMap, with a Deployment that mounts it.
func configured(configMap, profile, defaultPolicy string) []runtime.Object {
	return []runtime.Object{
		configMapOf(configMap, profile, defaultPolicy),
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "berth-system", Name: schedulerName},
			Spec: appsv1.DeploymentSpec{Template: v1.PodTemplateSpec{Spec: v1.PodSpec{Volumes: []v1.Volume{
				{Name: "config", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: configMap}}}},
				{Name: "certificates", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
			}}}},
		},
	}
}

func configMapOf(name, profile, defaultPolicy string) *v1.ConfigMap {
	return &v1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "berth-system", Name: name},
		Data:       map[string]string{"config.yaml": configuration(profile, defaultPolicy), "README": "not this"},
	}
}

func configuration(profile, defaultPolicy string) string {
	return fmt.Sprintf(`
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: %s
  plugins: {multiPoint: {enabled: [{name: OrdinalGate}, {name: OrdinalPlacement}, {name: VolumeAffinity}]}}
  pluginConfig:
  - {name: OrdinalPlacement, args: {defaultPolicy: %s}}
`, profile, defaultPolicy)
}

// set is a StatefulSet of Berth's scheduler, with claim templates.
func set(name string, replicas int32, templates ...string) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: appsv1.StatefulSetSpec{Replicas: &replicas, Template: v1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
			Spec:       v1.PodSpec{SchedulerName: schedulerName},
		}},
	}
	for _, template := range templates {
		s.Spec.VolumeClaimTemplates = append(s.Spec.VolumeClaimTemplates, v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: template}})
	}
	return s
}

// pod is that of a slot, with no node.
func pod(set string, ordinal int) *st.PodWrapper {
	slot := statefulset.Slot{Set: statefulset.SetKey{Namespace: ns, Name: set}, Ordinal: ordinal}
	return st.MakePod().Namespace(ns).Name(slot.PodName()).UID("uid-"+slot.PodName()).SchedulerName(schedulerName).
		OwnerReference(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet")).Phase(v1.PodPending)
}

// running is a pod on a node, ready.
func running(set string, ordinal int, node string) *st.PodWrapper {
	return pod(set, ordinal).Node(node).Phase(v1.PodRunning).Condition(v1.PodReady, v1.ConditionTrue, "")
}

// bound is a claim with a volume in a zone.
func bound(claim, zone string) []runtime.Object {
	return []runtime.Object{
		st.MakePersistentVolumeClaim().Namespace(ns).Name(claim).StorageClassName(ptr.To("late")).VolumeName("pv-" + claim).Obj(),
		st.MakePersistentVolume().Name("pv-"+claim).NodeAffinityIn(v1.LabelTopologyZone, []string{"zone-" + zone}).Obj(),
	}
}

func claim(name string) *st.PersistentVolumeClaimWrapper {
	return st.MakePersistentVolumeClaim().Namespace(ns).Name(name).StorageClassName(ptr.To("late"))
}

// run runs the command on the world, and sees that it only reads.
func (w *world) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, _, err := w.runs(t, args...)
	return out, err
}

// runs is run that returns what is said on the standard error, too.
func (w *world) runs(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	client := fake.NewClientset(w.objects...)
	if w.change != nil {
		w.change(client)
	}
	vpas := vpafake.NewSimpleClientset(w.vpas...)
	if w.changeVPAs != nil {
		w.changeVPAs(vpas)
	}
	var out, said bytes.Buffer
	o := newOptions()
	cmd := newCommandFor(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &said}, o, func() (*cluster, error) {
		return &cluster{
			kube: client, policies: w, vpas: vpas.AutoscalingV1(), vpaSet: vpas, namespace: ptr.Deref(w.namespace, ns), now: func() time.Time { return now }, gauges: w.gauges,
			schedulerNamespace: o.schedulerNamespace, autoscalerNamespace: o.autoscalerNamespace, configFile: o.configFile, autoscalerConfigFile: o.autoscalerConfigFile,
		}, nil
	})
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	reads := []string{"get", "list"}
	if len(args) > 0 && args[0] == "what-if" {
		reads = append(reads, "watch")
	}
	for _, action := range append(client.Actions(), vpas.Actions()...) {
		if !slices.Contains(reads, action.GetVerb()) {
			t.Errorf("berth %s does %s %s, want it only to read", strings.Join(args, " "), action.GetVerb(), action.GetResource().Resource)
		}
	}
	return out.String(), said.String(), err
}

// golden compares output with testdata/NAME.txt, which is written when the
// environment says BERTH_GOLDEN=write.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "_")+".txt")
	if os.Getenv("BERTH_GOLDEN") == "write" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
