// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"math/rand"
	"os"
	goruntime "runtime"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/simulator"
	"github.com/berth-dev/berth/plugins/policies"
)

var _ nodes.Simulator = &simulator.Session{}

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// story is an input and what its simulator has to know.
type story struct {
	in      nodes.Input
	present []*v1.Node
	pods    []*v1.Pod
	objects []runtime.Object
	// bound is a number of nodes that no decision can go below.
	bound int
}

// simulate returns a simulator with the shipped configuration.
func simulate(t testing.TB, objects ...runtime.Object) *simulator.Simulator {
	t.Helper()
	data, err := os.ReadFile("../../manifests/scheduler/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	configuration, err := simulator.ParseConfiguration(data)
	if err != nil {
		t.Fatal(err)
	}
	book := policies.NewBook()
	book.MarkReady(nil)
	factory := informers.NewSharedInformerFactory(fake.NewClientset(objects...), 0)
	s, synced, err := simulator.NewWithPlugins(t.Context(), factory, configuration, book, nil)
	if err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(t.Context())
	if err := factory.WaitForCacheSyncWithContext(t.Context()).AsError(); err != nil {
		t.Fatal(err)
	}
	for !synced() {
		goruntime.Gosched()
	}
	return s
}

// counting counts the questions.
type counting struct {
	*simulator.Session
	asked, named int
}

func (c *counting) Place(pod *v1.Pod, among ...string) (string, []string, error) {
	c.asked++
	c.named += len(among)
	return c.Session.Place(pod, among...)
}

func (s *story) decide(b *testing.B) {
	sim := simulate(b, s.objects...)
	b.ReportAllocs()
	for b.Loop() {
		session, err := sim.Begin(b.Context(), s.present, s.pods)
		if err != nil {
			b.Fatal(err)
		}
		counted := &counting{Session: session}
		d := nodes.Decide(s.in, counted)
		var memory goruntime.MemStats
		goruntime.ReadMemStats(&memory)
		session.Close()
		added, bought := 0, int64(0)
		for _, add := range d.Adds {
			added += add.Count
			i := slices.IndexFunc(s.in.Groups, func(g nodes.Group) bool { return g.Name == add.Group })
			bought += int64(add.Count) * s.in.Groups[i].Template.Status.Allocatable.Cpu().MilliValue()
		}
		wanted := int64(0)
		for _, pod := range s.in.Pending {
			wanted += pod.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
		}
		b.ReportMetric(float64(counted.asked), "questions")
		b.ReportMetric(float64(added), "nodes")
		b.ReportMetric(float64(s.bound), "bound")
		b.ReportMetric(float64(bought)/float64(wanted), "cores/core")
		b.ReportMetric(float64(len(d.Unhelped)), "unhelped")
		b.ReportMetric(float64(memory.HeapInuse)/(1<<20), "heap-MiB")
		if d.Incomplete != "" || len(d.Adds) == 0 {
			b.Fatalf("%d adds, incomplete: %q", len(d.Adds), d.Incomplete)
		}
	}
}

func nodeOf(zone, name string, cpu int64, memory string, pods int) *v1.Node {
	return st.MakeNode().Name(name).Label(v1.LabelTopologyZone, zone).Label(v1.LabelHostname, name).Capacity(map[v1.ResourceName]string{
		v1.ResourceCPU: fmt.Sprint(cpu), v1.ResourceMemory: memory, v1.ResourcePods: fmt.Sprint(pods),
	}).Obj()
}

func podOf(name, cpu, memory string) *st.PodWrapper {
	return st.MakePod().Namespace("prod").Name(name).UID(name).SchedulerName("berth-scheduler").
		Req(map[v1.ResourceName]string{v1.ResourceCPU: cpu, v1.ResourceMemory: memory})
}

// boundOf is the largest share of a resource that the pods ask for, in the largest templates.
func boundOf(in nodes.Input) int {
	var cpu, memory, cpuMost, memoryMost int64
	for _, pod := range in.Pending {
		requests := pod.Spec.Containers[0].Resources.Requests
		cpu, memory = cpu+requests.Cpu().MilliValue(), memory+requests.Memory().Value()
	}
	for _, g := range in.Groups {
		cpuMost = max(cpuMost, g.Template.Status.Allocatable.Cpu().MilliValue())
		memoryMost = max(memoryMost, g.Template.Status.Allocatable.Memory().Value())
	}
	return int(math.Ceil(max(float64(cpu)/float64(cpuMost), float64(memory)/float64(memoryMost))))
}

// BenchmarkWorkloads: 10,000 pending pods of 200 workloads, 50 groups in three
// zones, 1,000 nodes with 30,000 running pods and one free core each. Mindful:
// a tenth of the workloads each spread over zones and keep to a node each, for
// which the scheduler looks at all pods of the cluster every time.
func BenchmarkWorkloads(b *testing.B) {
	b.Run("plain", func(b *testing.B) { workloads(false).decide(b) })
	b.Run("mindful", func(b *testing.B) { workloads(true).decide(b) })
}

func workloads(mindful bool) *story {
	s := &story{in: nodes.Input{Now: now, Config: nodes.Defaults()}}
	for i := range 50 {
		zone, size := string("abc"[i%3]), int64(4<<(i/3%4))
		s.in.Groups = append(s.in.Groups, nodes.Group{
			Name: fmt.Sprintf("group-%02d", i), Max: 1000, Template: nodeOf(zone, "template", size, fmt.Sprintf("%dGi", 4*size), 110),
		})
	}
	for i := range 1000 {
		n := nodeOf(string("abc"[i%3]), fmt.Sprintf("n%04d", i), 16, "64Gi", 110)
		n.UID, n.CreationTimestamp = types.UID(n.Name), metav1.NewTime(now.Add(-time.Hour))
		n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}
		present := nodes.Node{Object: n}
		for j := range 30 {
			pod := podOf(fmt.Sprintf("run-%d-%d", j, i), "500m", "2Gi").Label("app", fmt.Sprintf("run-%d", j)).Node(n.Name).
				OwnerReference(fmt.Sprintf("run-%d", j), appsv1.SchemeGroupVersion.WithKind("ReplicaSet")).Obj()
			present.Pods, s.pods, s.objects = append(present.Pods, pod), append(s.pods, pod), append(s.objects, pod)
		}
		s.in.Nodes, s.present, s.objects = append(s.in.Nodes, present), append(s.present, n), append(s.objects, n)
	}
	for i := range 200 {
		app := fmt.Sprintf("web-%d", i)
		for j := range 50 {
			pod := podOf(fmt.Sprintf("%s-%d", app, j), fmt.Sprintf("%dm", 250*(1+i%12)), fmt.Sprintf("%dMi", 512*(1+i%7))).
				Label("app", app).OwnerReference(app, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
			own := &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
			switch kind := i % 10; {
			case kind == 0:
				pod.NodeSelector(map[string]string{v1.LabelTopologyZone: string("abc"[i/10%3])})
			case kind == 1 && mindful:
				pod.SpreadConstraint(1, v1.LabelTopologyZone, v1.DoNotSchedule, own, nil, nil, nil, nil)
			case kind == 2 && mindful:
				pod.PodAntiAffinity(v1.LabelHostname, own, st.PodAntiAffinityWithRequiredReq)
			}
			s.in.Pending = append(s.in.Pending, pod.Obj())
		}
	}
	s.bound = boundOf(s.in)
	return s
}

// BenchmarkMix is the mix of pods of Karpenter's scheduling benchmark: a fifth
// each of plain pods, of pods spread over zones, over nodes, drawn to a zone by
// others and kept from each other, on 400 machine types in three zones.
func BenchmarkMix(b *testing.B) {
	for _, count := range []int{1000, 5000, 20000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			s := &story{in: nodes.Input{Now: now, Config: nodes.Defaults()}}
			for i := range int64(400) {
				s.in.Groups = append(s.in.Groups, nodes.Group{
					Name: fmt.Sprintf("type-%03d", i), Max: 1000,
					Template: nodeOf(string("abc"[i%3]), "template", i+1, fmt.Sprintf("%dGi", 2*(i+1)), int(10*(i+1))),
				})
			}
			r := rand.New(rand.NewSource(42))
			label := func(key string) map[string]string { return map[string]string{key: string("abcdefg"[r.Intn(7)])} }
			for i := range count {
				pod := podOf(fmt.Sprintf("pod-%d", i), fmt.Sprintf("%dm", []int{100, 250, 500, 1000, 1500}[r.Intn(5)]),
					fmt.Sprintf("%dMi", []int{100, 256, 512, 1024, 2048, 4096}[r.Intn(6)]))
				spread := func(key string) {
					pod.Labels(label("my-label")).SpreadConstraint(1, key, v1.DoNotSchedule, &metav1.LabelSelector{MatchLabels: label("my-label")}, nil, nil, nil, nil)
				}
				switch i % 5 {
				case 0:
					pod.Labels(label("my-label"))
				case 1:
					spread(v1.LabelTopologyZone)
				case 2:
					spread(v1.LabelHostname)
				case 3:
					pod.Labels(label("my-affinity")).PodAffinity(v1.LabelTopologyZone, &metav1.LabelSelector{MatchLabels: label("my-affinity")}, st.PodAffinityWithRequiredReq)
				case 4:
					pod.Label("app", "nginx").PodAntiAffinity(v1.LabelHostname, &metav1.LabelSelector{MatchLabels: map[string]string{"app": "nginx"}}, st.PodAntiAffinityWithRequiredReq)
				}
				s.in.Pending = append(s.in.Pending, pod.Obj())
			}
			// No two of the last fifth share a node.
			s.bound = max(boundOf(s.in), count/5)
			s.decide(b)
		})
	}
}

// BenchmarkSlots: 50 sets that come with 20 slots each, one slot of a set to a
// node, claims to be provisioned, and 12 groups in three zones.
func BenchmarkSlots(b *testing.B) {
	s := &story{in: nodes.Input{Now: now, Config: nodes.Defaults()}}
	s.objects = append(s.objects, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "zonal"}, Provisioner: "example.com/zonal", VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
	})
	for i := range 12 {
		zone, size := string("abc"[i%3]), int64(4<<(i/3))
		s.in.Groups = append(s.in.Groups, nodes.Group{
			Name: fmt.Sprintf("group-%02d", i), Max: 1000, Template: nodeOf(zone, "template", size, fmt.Sprintf("%dGi", 4*size), 110),
		})
		n := nodeOf(zone, fmt.Sprintf("n%02d", i), 1, "1Gi", 110)
		n.UID, n.CreationTimestamp = types.UID(n.Name), metav1.NewTime(now.Add(-time.Hour))
		n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}
		s.in.Nodes, s.present, s.objects = append(s.in.Nodes, nodes.Node{Object: n}), append(s.present, n), append(s.objects, n)
	}
	for i := range 50 {
		name := fmt.Sprintf("db%02d", i)
		s.objects = append(s.objects, &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name)},
			Spec: appsv1.StatefulSetSpec{
				Replicas: ptr.To[int32](20), VolumeClaimTemplates: []v1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}},
			},
		})
		for j := range 20 {
			pod := podOf(fmt.Sprintf("%s-%d", name, j), fmt.Sprintf("%dm", 1000+100*(i%10)), "2Gi").
				Label("app", name).Label("apps.kubernetes.io/pod-index", fmt.Sprint(j)).
				OwnerReference(name, appsv1.SchemeGroupVersion.WithKind("StatefulSet")).PVC(fmt.Sprintf("data-%s-%d", name, j)).Obj()
			s.in.Pending = append(s.in.Pending, pod)
			s.objects = append(s.objects, pod, &v1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: fmt.Sprintf("data-%s-%d", name, j), UID: types.UID(pod.Name)},
				Spec: v1.PersistentVolumeClaimSpec{
					AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, StorageClassName: ptr.To("zonal"),
					Resources: v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}},
				},
				Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimPending},
			})
		}
	}
	s.bound = max(boundOf(s.in), 20)
	s.decide(b)
}
