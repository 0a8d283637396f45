// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/component-base/metrics"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/autoscaler/simulator"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/plugins/policies"
)

// inquiry is a conductor that is asked about the pods of a cluster, and what it asks the API server in turn.
type inquiry struct {
	*Conductor
	// admit is what the API server makes of a pod that is created.
	admit   func(*corev1.Pod) error
	created []*corev1.Pod
}

// ask returns a conductor over a cluster with the objects, which simulates the shipped profile.
func ask(t *testing.T, objects ...runtime.Object) *inquiry {
	t.Helper()
	a := &inquiry{}
	kube := fake.NewClientset(objects...)
	kube.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create := action.(clienttesting.CreateActionImpl)
		if diff := cmp.Diff([]string{metav1.DryRunAll}, create.CreateOptions.DryRun); diff != "" {
			t.Errorf("a pod is created (-want +got):\n%s", diff)
		}
		pod := create.GetObject().(*corev1.Pod).DeepCopy()
		a.created = append(a.created, pod.DeepCopy())
		if a.admit != nil {
			if err := a.admit(pod); err != nil {
				return true, nil, err
			}
		}
		return true, pod, nil
	})
	c, err := config.Parse([]byte("apiVersion: config.berth.dev/v1alpha1\nkind: AutoscalerConfiguration\n"))
	if err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(kube, 0)
	reader, err := observe.New(factory, kube.CoreV1(), observe.NewVPAs(kube.Discovery(), nil, func() {}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("../manifests/scheduler/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	profiles, err := simulator.ParseConfiguration(data)
	if err != nil {
		t.Fatal(err)
	}
	book := policies.NewBook()
	book.MarkReady(nil)
	sim, synced, err := simulator.NewWithPlugins(t.Context(), factory, profiles, book, nil)
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
	a.Conductor = New(c, Parts{
		Reader: reader, Policies: book, Writer: actuate.New(nil, nil, nil, kube.CoreV1(), nil, nil),
		Telemetry: actuate.NewTelemetry(func(...metrics.Registerable) {}),
		Simulate: func(ctx context.Context, nodes []*corev1.Node, pods []*corev1.Pod) (Simulation, error) {
			return sim.Begin(ctx, nodes, pods)
		},
	}, func() {})
	return a
}

// answer answers one question.
func (a *inquiry) answer(t *testing.T, q resize.Question) resize.Answer {
	t.Helper()
	answers := a.newAnswers(t.Context())
	defer answers.close()
	all := answers.of([]resize.Question{q})
	if len(all) != 1 || all[0].Pod != q.Pod.UID || all[0].Move != q.Move || cmp.Diff(q.Sizes, all[0].Sizes) != "" {
		t.Fatalf("the answers to %+v are %+v", q, all)
	}
	return all[0]
}

// inAll asks for so much cpu.
func inAll(cpu string) resize.Sizes {
	return resize.Sizes{"db": {Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}
}

// sizedTo has every pod created with so much cpu.
func sizedTo(cpu string) func(*corev1.Pod) error {
	return func(pod *corev1.Pod) error {
		pod.Spec.Containers[0].Resources.Requests = inAll(cpu)["db"].Requests
		return nil
	}
}

func berthNode(name, zone, cpu string) *corev1.Node {
	size := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("16Gi"), corev1.ResourcePods: resource.MustParse("110")}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.Now(),
			Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: zone}},
		Status: corev1.NodeStatus{Capacity: size, Allocatable: size, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

func comingNode(name, zone, cpu string) *corev1.Node {
	node := berthNode(name, zone, cpu)
	node.Status.Conditions = nil
	node.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}
	return node
}

// sizedSet is a set with claims, whose template asks for half a core.
func sizedSet() *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db", UID: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](1), ServiceName: "db", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}},
				Spec: corev1.PodSpec{SchedulerName: "berth-scheduler", Containers: []corev1.Container{{
					Name: "db", Resources: corev1.ResourceRequirements{Requests: inAll("500m")["db"].Requests}}}},
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}},
		},
		Status: appsv1.StatefulSetStatus{UpdateRevision: "db-2"},
	}
}

// sizedPod is ordinal 0 of that set, with a core on a node, and its claim is bound in a zone.
func sizedPod(node, zone string) (*corev1.Pod, []runtime.Object) {
	set := sizedSet()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db-0", UID: "db-0", ResourceVersion: "7",
			Labels:          map[string]string{"app": "db", appsv1.PodIndexLabel: "0", appsv1.ControllerRevisionHashLabelKey: "db-2"},
			Annotations:     map[string]string{resize.RecordAnnotation: "{}"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}},
		Spec:   *set.Spec.Template.Spec.DeepCopy(),
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	pod.Spec.NodeName = node
	pod.Spec.Containers[0].Resources.Requests = inAll("1")["db"].Requests
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-db-0"}}}}
	class := ptr.To("zonal")
	return pod, []runtime.Object{
		set, pod,
		&corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "data-db-0", UID: "claim", Annotations: map[string]string{"pv.kubernetes.io/bind-completed": "yes"}},
			Spec:       corev1.PersistentVolumeClaimSpec{StorageClassName: class, VolumeName: "volume", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}},
			Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
		},
		&corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "volume", UID: "volume"},
			Spec: corev1.PersistentVolumeSpec{StorageClassName: *class, ClaimRef: &corev1.ObjectReference{Namespace: "prod", Name: "data-db-0", UID: "claim"},
				NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}}}}}}},
			Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
		},
	}
}

// waitingPod waits for a node.
func waitingPod(name, cpu string, priority int32) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{
			Name: "c", Resources: corev1.ResourceRequirements{Requests: inAll(cpu)["db"].Requests}}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
}

func TestAnswersAboutItsOwnNode(t *testing.T) {
	for name, tc := range map[string]struct {
		others []runtime.Object
		blind  bool // nothing can be simulated
		to     string
		want   string
	}{
		"room":                              {to: "4"},
		"no room":                           {to: "4001m", want: "node a1 has no room for it: Insufficient cpu"},
		"room that a waiting pod would get": {others: []runtime.Object{waitingPod("web", "3", 0)}, to: "4"},
		"room, by the sums":                 {blind: true, to: "4"},
		"no room, by the sums":              {blind: true, to: "4001m", want: "node a1 has no room for it: Insufficient cpu"},
	} {
		t.Run(name, func(t *testing.T) {
			pod, objects := sizedPod("a1", "a")
			a := ask(t, append(append(objects, berthNode("a1", "a", "4")), tc.others...)...)
			if tc.blind {
				a.simulate = nil
			}
			got := a.answer(t, resize.Question{Pod: pod, Sizes: inAll(tc.to)})
			if got.Fits != (tc.want == "") || got.Reason != tc.want {
				t.Errorf("fits %v: %q, want %q", got.Fits, got.Reason, tc.want)
			}
		})
	}
}

// Half a core is what the template asks for.
func TestAnswersAboutItsSuccessor(t *testing.T) {
	quota := func(*corev1.Pod) error {
		return apierrors.NewForbidden(corev1.Resource("pods"), "db-successor-0", errors.New("exceeded quota: all, requested: cpu=3, used: cpu=1, limited: cpu=3"))
	}
	for name, tc := range map[string]struct {
		nodes   []runtime.Object
		others  []runtime.Object
		admit   func(*corev1.Pod) error
		blind   bool
		created string
		node    string
		coming  bool
		want    string // part of the reason
		unknown bool
	}{
		"no answer":                            {nodes: []runtime.Object{berthNode("a1", "a", "4")}, admit: func(*corev1.Pod) error { return context.DeadlineExceeded }, want: "context deadline exceeded", unknown: true},
		"on its own node":                      {nodes: []runtime.Object{berthNode("a1", "a", "4")}, admit: sizedTo("4"), created: "4", node: "a1"},
		"on another node":                      {nodes: []runtime.Object{berthNode("a1", "a", "2"), berthNode("a2", "a", "4")}, admit: sizedTo("3"), created: "3", node: "a2"},
		"without the policy":                   {nodes: []runtime.Object{berthNode("a1", "a", "4")}, created: "500m", node: "a1"},
		"not where its volume is":              {nodes: []runtime.Object{berthNode("a1", "a", "2"), berthNode("b1", "b", "4")}, admit: sizedTo("3"), created: "3", want: "1 Insufficient cpu"},
		"on a node on its way":                 {nodes: []runtime.Object{berthNode("a1", "a", "2"), comingNode("a2", "a", "4")}, admit: sizedTo("3"), created: "3", node: "a2", coming: true, want: "1 Insufficient cpu"},
		"on a present node before":             {nodes: []runtime.Object{berthNode("a1", "a", "2"), comingNode("a2", "a", "4"), berthNode("a3", "a", "4")}, admit: sizedTo("3"), created: "3", node: "a3"},
		"not where the node on its way is":     {nodes: []runtime.Object{berthNode("a1", "a", "2"), comingNode("b1", "b", "4")}, admit: sizedTo("3"), created: "3", want: "1 Insufficient cpu"},
		"after one as important":               {nodes: []runtime.Object{berthNode("a1", "a", "1"), berthNode("a2", "a", "4")}, others: []runtime.Object{waitingPod("web", "2", 0)}, admit: sizedTo("3"), created: "3", want: "2 Insufficient cpu"},
		"before one less important":            {nodes: []runtime.Object{berthNode("a1", "a", "1"), berthNode("a2", "a", "4")}, others: []runtime.Object{waitingPod("web", "2", -1)}, admit: sizedTo("3"), created: "3", node: "a2"},
		"after one that gets the node to come": {nodes: []runtime.Object{berthNode("a1", "a", "1"), comingNode("a2", "a", "4")}, others: []runtime.Object{waitingPod("web", "2", 0)}, admit: sizedTo("3"), created: "3", want: "1 Insufficient cpu"},
		"no quota":                             {nodes: []runtime.Object{berthNode("a1", "a", "4")}, admit: quota, want: "a ResourceQuota has no room for its successor beside it: pods \"db-successor-0\" is forbidden: exceeded quota: all"},
		"refused":                              {nodes: []runtime.Object{berthNode("a1", "a", "4")}, admit: func(*corev1.Pod) error { return errors.New("no") }, want: "a dry-run create of its successor is refused: no"},
		"nothing to simulate by":               {nodes: []runtime.Object{berthNode("a1", "a", "4")}, blind: true, want: "nodes.schedulerConfigFile is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			pod, objects := sizedPod("a1", "a")
			a := ask(t, append(append(objects, tc.nodes...), tc.others...)...)
			a.admit = tc.admit
			if tc.blind {
				a.simulate = nil
			}
			got := a.answer(t, resize.Question{Pod: pod, Move: true, Sizes: inAll("3")})
			if tc.created == "" {
				if got.Created != nil || got.Fits {
					t.Errorf("created %v, fits %v", got.Created, got.Fits)
				}
			} else if q := got.Created["db"].Requests[corev1.ResourceCPU]; q.Cmp(resource.MustParse(tc.created)) != 0 {
				t.Errorf("created with %s, want %s", q.String(), tc.created)
			}
			if got.Fits != (tc.node != "") || got.Node != tc.node || got.Coming != tc.coming {
				t.Errorf("fits %v on %q, coming %v; want %q, %v", got.Fits, got.Node, got.Coming, tc.node, tc.coming)
			}
			if !strings.Contains(got.Reason, tc.want) || tc.want == "" && got.Reason != "" {
				t.Errorf("reason %q, want %q", got.Reason, tc.want)
			}
			if got.Unknown != tc.unknown {
				t.Errorf("unknown %t, want %t", got.Unknown, tc.unknown)
			}
		})
	}
}

// A simulation that is late, or was never begun, is no reason to evict anything.
func TestAnswersWithoutASimulation(t *testing.T) {
	pod, objects := sizedPod("a1", "a")
	a := ask(t, append(objects, berthNode("a1", "a", "4"))...)
	a.admit = sizedTo("3")
	begin := a.simulate
	for name, simulate := range map[string]Simulate{
		"not begun": func(context.Context, []*corev1.Node, []*corev1.Pod) (Simulation, error) { return nil, errors.New("no") },
		"late": func(ctx context.Context, nodes []*corev1.Node, pods []*corev1.Pod) (Simulation, error) {
			ended, end := context.WithCancel(ctx)
			end()
			return begin(ended, nodes, pods)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a.simulate = simulate
			for _, move := range []bool{false, true} {
				got := a.answer(t, resize.Question{Pod: pod, Move: move, Sizes: inAll("3")})
				if !got.Unknown || got.Fits || got.Created != nil || !strings.HasPrefix(got.Reason, "there is no answer from the simulation: ") {
					t.Errorf("answer %+v", got)
				}
			}
		})
	}
}

// Questions of one tick are answered each for itself, from one simulation, and
// equal pods are created once.
func TestAnswersOfOneTick(t *testing.T) {
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-1", UID: "web-1"},
		Spec:       appsv1.ReplicaSetSpec{Template: sizedSet().Spec.Template},
	}
	objects := []runtime.Object{set, berthNode("a1", "a", "2"), berthNode("a2", "a", "4")}
	var questions []resize.Question
	for i := range 2 {
		pod := waitingPod(fmt.Sprintf("web-1-%d", i), "1", 0)
		pod.Spec.Containers[0].Name, pod.Spec.NodeName, pod.Status.Phase = "db", "a1", corev1.PodRunning
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
		objects = append(objects, pod)
		questions = append(questions, resize.Question{Pod: pod, Move: true, Sizes: inAll("3")}, resize.Question{Pod: pod, Sizes: inAll("2")})
	}
	a := ask(t, objects...)
	a.admit = sizedTo("3")
	begun, begin := 0, a.simulate
	a.simulate = func(ctx context.Context, nodes []*corev1.Node, pods []*corev1.Pod) (Simulation, error) {
		begun++
		return begin(ctx, nodes, pods)
	}
	answers := a.newAnswers(t.Context())
	for range 2 {
		for i, got := range answers.of(questions) {
			if want := questions[i].Move; got.Fits != want || want && got.Node != "a2" {
				t.Errorf("answer %d: %+v", i, got)
			}
		}
	}
	answers.close()
	a.newAnswers(t.Context()).close()
	if begun != 1 || len(a.created) != 1 {
		t.Errorf("began %d simulations and created %d pods, want one of each", begun, len(a.created))
	}
	// It is closed: another one can begin.
	a.answer(t, questions[1])
}

// Pods that wait are placed for those that move: what stays is asked about its node as it is, whatever was asked before.
func TestAnswersAboutItsOwnNodeAfterAMove(t *testing.T) {
	pod, objects := sizedPod("a1", "a")
	a := ask(t, append(objects, berthNode("a1", "a", "4"), waitingPod("web", "3", 0))...)
	a.admit = sizedTo("4")
	answers := a.newAnswers(t.Context())
	defer answers.close()
	got := answers.of([]resize.Question{{Pod: pod, Move: true, Sizes: inAll("4")}, {Pod: pod, Sizes: inAll("4")}})
	if got[0].Fits || !got[1].Fits {
		t.Errorf("moves %t, stays %t; want that it only stays", got[0].Fits, got[1].Fits)
	}
}

// What is inquiry for is what the controller would ask for.
func TestSuccessor(t *testing.T) {
	pod, objects := sizedPod("a1", "a")
	a := ask(t, objects...)
	next, why := a.successorOf(pod)
	if next == nil {
		t.Fatal(why)
	}
	template := sizedSet().Spec.Template.Spec
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "prod", Name: "db-successor-0",
			Labels:          map[string]string{"app": "db", appsv1.PodIndexLabel: "0", appsv1.StatefulSetPodNameLabel: "db-0", appsv1.ControllerRevisionHashLabelKey: "db-2"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "db", Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{SchedulerName: template.SchedulerName, Containers: template.Containers, Hostname: "db-0", Subdomain: "db", Volumes: pod.Spec.Volumes},
	}
	if diff := cmp.Diff(want, next); diff != "" {
		t.Errorf("of a set (-want +got):\n%s", diff)
	}

	operated := pod.DeepCopy()
	operated.OwnerReferences[0].APIVersion, operated.OwnerReferences[0].Kind = "example.com/v1", "Cluster"
	if next, why = a.successorOf(operated); next == nil {
		t.Fatal(why)
	}
	operated.Spec.NodeName, operated.Status = "", corev1.PodStatus{}
	operated.ObjectMeta = metav1.ObjectMeta{Namespace: "prod", Name: "db-successor-0", Labels: pod.Labels, Annotations: map[string]string{}, OwnerReferences: operated.OwnerReferences}
	operated.OwnerReferences[0].BlockOwnerDeletion = nil
	if diff := cmp.Diff(operated, next); diff != "" {
		t.Errorf("of an operator (-want +got):\n%s", diff)
	}

	for name, edit := range map[string]func(*corev1.Pod){
		"it has no controller that would re-create it": func(pod *corev1.Pod) { pod.OwnerReferences = nil },
		"its StatefulSet db is not there":              func(pod *corev1.Pod) { pod.OwnerReferences[0].UID = "another" },
		"its ReplicaSet db is not there":               func(pod *corev1.Pod) { pod.OwnerReferences[0].Kind = "ReplicaSet" },
	} {
		pod := pod.DeepCopy()
		edit(pod)
		if next, why := a.successorOf(pod); next != nil || why != name {
			t.Errorf("successor %v: %q, want %q", next, why, name)
		}
	}
}

// A pod that waits for a node with room has one inquiry for where its volume is,
// and keeps it while it is on its way and while it is empty.
func TestRoomsAskForNodes(t *testing.T) {
	pod, objects := sizedPod("a1", "a")
	template := func(zone string) *corev1.Node { return berthNode("template", zone, "4") }
	now := time.Now()
	for name, tc := range map[string]struct {
		target int
		node   *corev1.Node
		rooms  []resize.Room
		adds   int
		goes   int
	}{
		"nothing waits":         {},
		"a node is inquiry for": {rooms: []resize.Room{{Pod: pod, Sizes: inAll("3")}}, adds: 1},
		"it is awaited":         {rooms: []resize.Room{{Pod: pod, Sizes: inAll("3")}}, target: 1},
		"it is on its way":      {rooms: []resize.Room{{Pod: pod, Sizes: inAll("3")}}, target: 1, node: comingNode("a2", "a", "4")},
		"it is empty":           {rooms: []resize.Room{{Pod: pod, Sizes: inAll("3")}}, target: 1, node: berthNode("a2", "a", "4")},
		"it is for nobody":      {target: 1, node: berthNode("a2", "a", "4"), goes: 1},
		"the pod is gone":       {rooms: []resize.Room{{Pod: waitingPod("gone", "1", 0), Sizes: inAll("3")}}},
	} {
		t.Run(name, func(t *testing.T) {
			all := append(objects, berthNode("a1", "a", "2"), berthNode("b1", "b", "8"))
			if tc.node != nil {
				all = append(all, tc.node)
			}
			a := ask(t, all...)
			a.history.rooms = tc.rooms
			in := nodes.Input{Now: now, Config: nodes.Defaults(), Groups: []nodes.Group{
				{Name: "a", Max: 5, Target: tc.target, Template: template("a")}, {Name: "b", Max: 5, Template: template("b")}}}
			if tc.node != nil {
				in.Nodes = []nodes.Node{{Object: tc.node, Group: "a"}}
				in.History.UnneededSince = map[types.UID]time.Time{tc.node.UID: now.Add(-time.Hour)}
			}
			d, err := a.placeNodes(t.Context(), in, a.reader.Nodes(), a.reader.Pods(), a.foresee(t.Context(), nil, a.reader.Pods()))
			if err != nil {
				t.Fatal(err)
			}
			if len(d.Adds) != tc.adds || len(d.Removals) != tc.goes || tc.adds > 0 && d.Adds[0].Group != "a" {
				t.Errorf("adds %v and removals %v, want %d in group a and %d", d.Adds, d.Removals, tc.adds, tc.goes)
			}
		})
	}
}

// A node can go before its pods: one of them is still to be re-created, and nobody else waits for what becomes of it.
func TestPodsOfANodeThatIsGone(t *testing.T) {
	for _, mode := range []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteOncePod} {
		t.Run(string(mode), func(t *testing.T) {
			pod, objects := sizedPod("gone", "a")
			for _, object := range objects {
				if claim, ok := object.(*corev1.PersistentVolumeClaim); ok {
					claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{mode}
				}
			}
			a := ask(t, append(objects, berthNode("a2", "a", "2"))...)
			a.history.rooms = []resize.Room{{Pod: pod, Sizes: inAll("3")}}
			in := nodes.Input{Now: time.Now(), Config: nodes.Defaults(), Groups: []nodes.Group{{Name: "a", Max: 5, Template: berthNode("template", "a", "4")}}}
			d, err := a.placeNodes(t.Context(), in, a.reader.Nodes(), a.reader.Pods(), a.foresee(t.Context(), nil, a.reader.Pods()))
			if err != nil || len(d.Adds) != 1 || d.Adds[0].Count != 1 {
				t.Errorf("adds %+v (%v), want one node", d.Adds, err)
			}
			a.admit = sizedTo("2")
			if got := a.answer(t, resize.Question{Pod: pod, Move: true, Sizes: inAll("2")}); got.Node != "a2" {
				t.Errorf("the answer about it is %+v", got)
			}
		})
	}
}

// A pod that waits for a node is asked for once in a sync period, one that may be evicted upon the answer in each tick.
func TestAnswersOfSeveralTicks(t *testing.T) {
	for name, tc := range map[string]struct {
		cpu     string
		created int
		fits    bool
		// then is the size of what is created in the second tick.
		then string
	}{
		"no room":                     {cpu: "9", created: 1},
		"a place":                     {cpu: "3", created: 2, fits: true},
		"a place, and another size":   {cpu: "3", created: 2, then: "2"},
		"no room, which is forgotten": {cpu: "9", created: 1, then: "2"},
	} {
		t.Run(name, func(t *testing.T) {
			pod, objects := sizedPod("a1", "a")
			a := ask(t, append(objects, berthNode("a1", "a", "4"))...)
			q := resize.Question{Pod: pod, Move: true, Sizes: inAll(tc.cpu)}
			a.admit = sizedTo(tc.cpu)
			a.answer(t, q)
			if tc.then != "" {
				a.admit = sizedTo(tc.then)
			}
			if got := a.answer(t, q); (got.Fits && got.Created != nil) != tc.fits {
				t.Errorf("the second answer is %+v", got)
			}
			if len(a.created) != tc.created {
				t.Errorf("%d dry-run creates in two ticks of one period, want %d", len(a.created), tc.created)
			}
		})
	}
}
