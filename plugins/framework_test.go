// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"context"
	"fmt"
	"maps"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"

	"github.com/berth-dev/berth/plugins"
	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/ordinalgate"
	"github.com/berth-dev/berth/plugins/ordinalplacement"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/slothold"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultbinder"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/queuesort"
	schedulerruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

const (
	zone = v1.LabelTopologyZone
	host = v1.LabelHostname
)

// cluster is a real framework with our plugins alone, over the stores of
// real informers.
type cluster struct {
	framework framework.Framework
	client    *fake.Clientset
	nodes     []string
	activated chan string
	events    *events.FakeRecorder
	shared    *plugins.Shared
	book      *policies.Book
	stalls    string        // whose activation waits for resume
	resume    chan struct{} // closed when it may go on
}

// nobody is nominated to any node.
type nobody struct{ fwk.PodNominator }

func (nobody) NominatedPodsForNode(string) []fwk.PodInfo { return nil }

// Activate takes the part of the scheduling queue.
func (c *cluster) Activate(_ klog.Logger, pods map[string]*v1.Pod) {
	for _, name := range slices.Sorted(maps.Keys(pods)) {
		if name == c.stalls {
			<-c.resume
		}
		c.activated <- name
	}
}

func newCluster(t testing.TB, args map[string]string, objects ...runtime.Object) *cluster {
	t.Helper()
	c, err := buildCluster(t, noPolicies(), args, objects...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newUnread is a cluster whose policies are not read yet.
func newUnread(t testing.TB, objects ...runtime.Object) *cluster {
	t.Helper()
	c, err := buildCluster(t, policies.NewBook(), nil, objects...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func buildCluster(t testing.TB, book *policies.Book, args map[string]string, objects ...runtime.Object) (*cluster, error) {
	t.Helper()
	metrics.Register()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	if _, benchmark := t.(*testing.B); !benchmark {
		_, ctx = ktesting.NewTestContext(t)
	}

	c := &cluster{activated: make(chan string, 100), events: events.NewFakeRecorder(100), book: book}
	var nodes []*v1.Node
	var pods []*v1.Pod
	var known []runtime.Object
	for _, obj := range objects {
		switch obj := obj.(type) {
		case *v1.Node:
			nodes, c.nodes = append(nodes, obj), append(c.nodes, obj.Name)
		case *v1.Pod:
			pods = append(pods, obj)
		case *v1alpha1.PlacementPolicy:
			c.book.Set(obj)
			continue
		}
		known = append(known, obj)
	}
	c.client = fake.NewClientset(known...)
	watched := watches(c.client)
	factory := informers.NewSharedInformerFactory(c.client, 0)
	shared := plugins.NewShared(c.book)
	c.shared = shared
	registry := schedulerruntime.Registry{queuesort.Name: queuesort.New, defaultbinder.Name: defaultbinder.New}
	if err := registry.Merge(plugins.Registry(shared)); err != nil {
		return nil, err
	}
	ours := config.PluginSet{Enabled: []config.Plugin{{Name: ordinalgate.Name}, {Name: ordinalplacement.Name}, {Name: slothold.Name}, {Name: volumeaffinity.Name}}}
	profile := &config.KubeSchedulerProfile{SchedulerName: "berth-scheduler", Plugins: &config.Plugins{
		QueueSort:  config.PluginSet{Enabled: []config.Plugin{{Name: queuesort.Name}}},
		Bind:       config.PluginSet{Enabled: []config.Plugin{{Name: defaultbinder.Name}}},
		MultiPoint: ours,
	}}
	for name, text := range args {
		profile.PluginConfig = append(profile.PluginConfig, config.PluginConfig{
			Name: name, Args: &runtime.Unknown{Raw: []byte(text), ContentType: runtime.ContentTypeJSON},
		})
	}
	var err error
	c.framework, err = schedulerruntime.NewFramework(ctx, registry, profile,
		schedulerruntime.WithClientSet(c.client),
		schedulerruntime.WithInformerFactory(factory),
		schedulerruntime.WithPodActivator(c),
		schedulerruntime.WithPodNominator(nobody{}),
		schedulerruntime.WithEventRecorder(c.events),
		schedulerruntime.WithSnapshotSharedLister(cache.NewSnapshot(pods, nodes)))
	if err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); factory.Shutdown() })
	factory.Start(stop)
	for range factory.WaitForCacheSync(stop) {
		<-watched
	}
	for !shared.HasSynced() {
		goruntime.Gosched()
	}
	return c, nil
}

// watches tells of each watch that begins. A fake client knows no versions: what
// happens between an informer's list and its watch is lost.
func watches(client *fake.Clientset) <-chan struct{} {
	begun := make(chan struct{}, 100)
	client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		begins, err := client.Tracker().Watch(action.GetResource(), action.GetNamespace())
		begun <- struct{}{}
		return true, begins, err
	})
	return begun
}

// outcome is what a cycle says about a pod.
type outcome struct {
	refused string            // by PreFilter
	skipped string            // plugins with nothing to do
	nodes   map[string]string // reason by node, empty where the pod fits; also of nodes that were narrowed out
	handed  []string          // nodes handed on by PreFilter, nil for all
}

// try runs PreFilter, then Filter on every node: nominated nodes come there
// whatever PreFilter handed on.
func (c *cluster) try(t testing.TB, pod *v1.Pod) outcome {
	t.Helper()
	state := framework.NewCycleState()
	result, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod)
	out := outcome{skipped: strings.Join(slices.Sorted(maps.Keys(state.GetSkipFilterPlugins())), " ")}
	if !status.IsSuccess() {
		out.refused = status.Message()
		if status.IsError() {
			t.Errorf("%s: error %s", pod.Name, status.Message())
		}
		return out
	}
	if !result.AllNodes() {
		out.handed = slices.Sorted(maps.Keys(result.NodeNames))
	}
	out.nodes = map[string]string{}
	for _, name := range c.nodes {
		nodeInfo, err := c.framework.SnapshotSharedLister().NodeInfos().Get(name)
		if err != nil {
			t.Fatal(err)
		}
		status := c.framework.RunFilterPlugins(t.Context(), state, pod, nodeInfo)
		if !status.IsSuccess() && status.Code() != fwk.UnschedulableAndUnresolvable && status.Plugin() != slothold.Name {
			t.Errorf("%s on %s: code %s of %s invites preemption, which can not help", pod.Name, name, status.Code(), status.Plugin())
		}
		out.nodes[name] = status.Message()
	}
	return out
}

// fits lists the nodes where the pod fits.
func (o outcome) fits() string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(o.nodes)) {
		if o.nodes[name] == "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

func node(name, domain string) *v1.Node {
	w := st.MakeNode().Name(name).Label(host, "host-"+name)
	if domain != "" {
		w.Label(zone, domain)
	}
	return w.Obj()
}

// nodes makes one node per name; its first letter is its zone.
func nodes(names ...string) []runtime.Object {
	var objects []runtime.Object
	for _, name := range names {
		objects = append(objects, node(name, name[:1]))
	}
	return objects
}

func set(name string, replicas int32, templates ...string) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name},
		Spec:       appsv1.StatefulSetSpec{Replicas: &replicas},
	}
	for _, template := range templates {
		s.Spec.VolumeClaimTemplates = append(s.Spec.VolumeClaimTemplates, v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: template}})
	}
	return s
}

// slotPod is the pod of an ordinal, with its claims.
func slotPod(set string, ordinal int, templates ...string) *st.PodWrapper {
	name := fmt.Sprintf("%s-%d", set, ordinal)
	w := st.MakePod().Namespace("prod").Name(name).UID(name).SchedulerName("berth-scheduler").
		OwnerReference(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet")).
		Label(appsv1.PodIndexLabel, fmt.Sprint(ordinal))
	for _, template := range templates {
		w.PVC(template + "-" + name)
	}
	return w
}

// bound is a claim with its volume, which label key ties to values.
func bound(claim, key string, values ...string) []runtime.Object {
	pvc := st.MakePersistentVolumeClaim().Namespace("prod").Name(claim).VolumeName("pv-" + claim).Obj()
	pvc.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
	pvc.UID, pvc.Status.Phase = types.UID(claim), v1.ClaimBound
	pv := st.MakePersistentVolume().Name("pv-"+claim).NodeAffinityIn(key, values).Obj()
	pv.Spec.ClaimRef = &v1.ObjectReference{Namespace: "prod", Name: claim, UID: pvc.UID}
	pv.Spec.CSI = &v1.CSIPersistentVolumeSource{Driver: "csi.example.com"}
	return []runtime.Object{pvc, pv}
}

func objects(groups ...any) []runtime.Object {
	var all []runtime.Object
	for _, group := range groups {
		switch group := group.(type) {
		case []runtime.Object:
			all = append(all, group...)
		case runtime.Object:
			all = append(all, group)
		}
	}
	return all
}

func testLogger(t *testing.T) klog.Logger {
	logger, _ := ktesting.NewTestContext(t)
	return logger
}
