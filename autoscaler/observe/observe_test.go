// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpafake "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/fake"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	scalefake "k8s.io/client-go/scale/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/config"
)

// reader returns a reader over objects, with its caches filled.
func reader(t *testing.T, objects ...runtime.Object) *Reader {
	t.Helper()
	client := fake.NewClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	scales := &scalefake.FakeScaleClient{}
	scales.AddReactor("get", "rings", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 7}, Status: autoscalingv1.ScaleStatus{Replicas: 6, Selector: "ring=a"}}, nil
	})
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: "example.com", Version: "v1"}})
	mapper.Add(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Ring"}, meta.RESTScopeNamespace)
	r, err := New(factory, client.CoreV1(), NewVPAs(nil, nil, nil), scales, mapper)
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())
	return r
}

// A target of a kind of its own costs one request, however many versions its kind has, and if it is missing.
func TestAKindOfItsOwnIsAskedOnce(t *testing.T) {
	for name, want := range map[string]error{
		"there":   nil,
		"missing": apierrors.NewNotFound(schema.GroupResource{Group: "example.com", Resource: "rings"}, "one"),
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			scales := &scalefake.FakeScaleClient{}
			scales.AddReactor("get", "rings", func(clienttesting.Action) (bool, runtime.Object, error) {
				asked++
				return true, &autoscalingv1.Scale{}, want
			})
			versions := []schema.GroupVersion{{Group: "example.com", Version: "v2"}, {Group: "example.com", Version: "v1"}}
			mapper := meta.NewDefaultRESTMapper(versions)
			for _, version := range versions {
				mapper.Add(version.WithKind("Ring"), meta.RESTScopeNamespace)
			}
			if mappings, err := mapper.RESTMappings(schema.GroupKind{Group: "example.com", Kind: "Ring"}); err != nil || len(mappings) != 2 {
				t.Fatalf("mappings %v, %v: that tests nothing", mappings, err)
			}
			r := &Reader{scales: scales, mapper: mapper}
			if _, err := r.Scale(t.Context(), "prod", ref("example.com/v1", "Ring", "one")); !errors.Is(err, want) {
				t.Errorf("error %v, want %v", err, want)
			}
			if asked != 1 {
				t.Errorf("%d requests, want 1", asked)
			}
		})
	}
}

func ref(apiVersion, kind, name string) autoscalingv2.CrossVersionObjectReference {
	return autoscalingv2.CrossVersionObjectReference{APIVersion: apiVersion, Kind: kind, Name: name}
}

func deployment(name string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}},
		Status:     appsv1.DeploymentStatus{Replicas: 2},
	}
}

func ownedBy(kind, name string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, Controller: ptr.To(true)}}
}

func TestScale(t *testing.T) {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db", ResourceVersion: "5"}, Spec: appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}}
	r := reader(t, deployment("web"), set)
	for name, tc := range map[string]struct {
		ref     autoscalingv2.CrossVersionObjectReference
		want    Scale
		wantErr string
	}{
		"deployment": {
			ref:  ref("apps/v1", "Deployment", "web"),
			want: Scale{Resource: schema.GroupResource{Group: "apps", Resource: "deployments"}, SpecReplicas: 3, StatusReplicas: 2, Selector: "app=web"},
		},
		"replicas nobody set": {
			ref:  ref("apps/v1", "StatefulSet", "db"),
			want: Scale{Resource: schema.GroupResource{Group: "apps", Resource: "statefulsets"}, SpecReplicas: 1, Selector: "app=db", Version: "5"},
		},
		"a kind of its own": {
			ref:  ref("example.com/v1", "Ring", "one"),
			want: Scale{Resource: schema.GroupResource{Group: "example.com", Resource: "rings"}, SpecReplicas: 7, StatusReplicas: 6, Selector: "ring=a"},
		},
		"missing":      {ref: ref("apps/v1", "Deployment", "gone"), wantErr: `deployments.apps "gone" not found`},
		"unknown kind": {ref: ref("example.com/v1", "Nothing", "one"), wantErr: "no matches for example.com/, Resource=Nothing"},
		"bad version":  {ref: ref("a/b/c", "Deployment", "web"), wantErr: "unexpected GroupVersion string: a/b/c"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := r.Scale(t.Context(), "prod", tc.ref)
			if (err != nil) != (tc.wantErr != "") || err != nil && err.Error() != tc.wantErr {
				t.Fatalf("error %v, want %q", err, tc.wantErr)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("scale (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTopOwner(t *testing.T) {
	replicaSet := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-1", OwnerReferences: ownedBy("Deployment", "web")}}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db", OwnerReferences: ownedBy("Cluster", "pg")}}
	loop := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "loop", OwnerReferences: ownedBy("ReplicaSet", "loop")}}
	r := reader(t, deployment("web"), replicaSet, set, loop)
	for name, tc := range map[string]struct {
		of, want autoscalingv2.CrossVersionObjectReference
	}{
		"its own top":    {of: ref("apps/v1", "Deployment", "web"), want: ref("apps/v1", "Deployment", "web")},
		"one up":         {of: ref("apps/v1", "ReplicaSet", "web-1"), want: ref("apps/v1", "Deployment", "web")},
		"an operator's":  {of: ref("apps/v1", "StatefulSet", "db"), want: ref("apps/v1", "Cluster", "pg")},
		"not there":      {of: ref("apps/v1", "StatefulSet", "gone"), want: ref("apps/v1", "StatefulSet", "gone")},
		"owns itself":    {of: ref("apps/v1", "ReplicaSet", "loop"), want: ref("apps/v1", "ReplicaSet", "loop")},
		"another kind":   {of: ref("example.com/v1", "Ring", "one"), want: ref("example.com/v1", "Ring", "one")},
		"another group":  {of: ref("example.com/v1", "ReplicaSet", "web-1"), want: ref("example.com/v1", "ReplicaSet", "web-1")},
		"broken version": {of: ref("a/b/c", "Ring", "one"), want: ref("a/b/c", "Ring", "one")},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.TopOwner("prod", tc.of)); diff != "" {
				t.Errorf("owner (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTopOwners(t *testing.T) {
	labelled := func(name, app string, owners []metav1.OwnerReference) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "prod", Name: name, Labels: map[string]string{"app": app}, OwnerReferences: owners}
	}
	template := func(app string) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}}}
	}
	web, idle := deployment("web"), deployment("idle")
	idle.Spec.Template = template("idle")
	elsewhere := idle.DeepCopy()
	elsewhere.Namespace, elsewhere.Name = "test", "elsewhere"
	r := reader(t, web, idle, elsewhere,
		&appsv1.ReplicaSet{ObjectMeta: labelled("web-1", "web", ownedBy("Deployment", "web"))},
		&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db", OwnerReferences: ownedBy("Cluster", "pg")}, Spec: appsv1.StatefulSetSpec{Template: template("db")}},
		&corev1.Pod{ObjectMeta: labelled("web-1-a", "web", ownedBy("ReplicaSet", "web-1"))},
		&corev1.Pod{ObjectMeta: labelled("web-1-b", "web", ownedBy("ReplicaSet", "web-1"))},
		&corev1.Pod{ObjectMeta: labelled("bare", "web", nil)},
		&corev1.Pod{ObjectMeta: labelled("done", "web", ownedBy("Job", "backup")), Status: corev1.PodStatus{Phase: corev1.PodSucceeded}},
	)
	for name, tc := range map[string]struct {
		selector string
		want     []autoscalingv2.CrossVersionObjectReference
	}{
		"of pods":               {selector: "app=web", want: []autoscalingv2.CrossVersionObjectReference{ref("apps/v1", "Deployment", "web"), ref("v1", "Pod", "bare")}},
		"of pods that are away": {selector: "app=idle", want: []autoscalingv2.CrossVersionObjectReference{ref("apps/v1", "Deployment", "idle")}},
		"an operator's":         {selector: "app=db", want: []autoscalingv2.CrossVersionObjectReference{ref("apps/v1", "Cluster", "pg")}},
		"of none":               {selector: "app=other"},
	} {
		t.Run(name, func(t *testing.T) {
			selector, err := labels.Parse(tc.selector)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, r.TopOwners("prod", selector)); diff != "" {
				t.Errorf("owners (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOverlaps(t *testing.T) {
	pod := func(namespace, name string, labels map[string]string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
	}
	r := reader(t,
		pod("prod", "a", map[string]string{"app": "web", "tier": "front"}),
		pod("prod", "b", map[string]string{"app": "api"}),
		pod("prod", "d", map[string]string{"app": "web", "tier": "back"}),
		pod("test", "c", map[string]string{"app": "web"}))
	selecting := func(namespace, name, selector string) Selecting {
		parsed, err := labels.Parse(selector)
		if err != nil {
			t.Fatal(err)
		}
		return Selecting{HPA: &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}, Selector: parsed}
	}
	got := r.Overlaps([]Selecting{
		selecting("prod", "web", "app=web"), selecting("prod", "front", "tier=front"),
		selecting("prod", "back", "tier=back"),
		selecting("prod", "api", "app=api"), selecting("test", "web", "app=web"),
	})
	want := map[types.NamespacedName][]string{
		{Namespace: "prod", Name: "web"}:   {"back", "front", "web"}, // each by a pod of its own
		{Namespace: "prod", Name: "front"}: {"front", "web"},
		{Namespace: "prod", Name: "back"}:  {"back", "web"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("overlaps (-want +got):\n%s", diff)
	}
}

func TestUnscheduledPods(t *testing.T) {
	pod := func(name, node string, phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name}, Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase}}
	}
	r := reader(t, pod("waits", "", corev1.PodPending), pod("starts", "n1", corev1.PodPending), pod("evicted", "", corev1.PodFailed))
	got := r.UnscheduledPods()
	if len(got) != 1 || got[0].Name != "waits" {
		t.Errorf("got %v, want the pod that waits", got)
	}
}

// served is a discovery that serves the VPA group version once told to.
type served struct {
	discovery.ServerResourcesInterface
	yes atomic.Bool
}

func (s *served) ServerResourcesForGroupVersion(gv string) (*metav1.APIResourceList, error) {
	if !s.yes.Load() {
		return nil, apierrors.NewNotFound(schema.GroupResource{}, gv)
	}
	return &metav1.APIResourceList{GroupVersion: gv}, nil
}

func TestVPAsAreWatchedOnceTheirCRDIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes atomic.Int32
		d := &served{}
		client := vpafake.NewSimpleClientset(&vpav1.VerticalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db"}})
		v := NewVPAs(d, client, func() { changes.Add(1) })
		if v.Known() {
			t.Error("known before anybody looked")
		}
		go v.Run(t.Context())
		synctest.Wait()
		if !v.Known() || len(v.List()) != 0 {
			t.Errorf("without the CRD: known %t, %d VPAs; want known and none", v.Known(), len(v.List()))
		}
		d.yes.Store(true)
		time.Sleep(2 * crdCheckPeriod)
		synctest.Wait()
		if got := len(v.List()); got != 1 || changes.Load() == 0 {
			t.Errorf("with the CRD: %d VPAs after %d changes, want 1 after some", got, changes.Load())
		}
	})
}

func TestWake(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "p"}}
	unschedulable := pod.DeepCopy()
	unschedulable.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}
	gated := pod.DeepCopy()
	gated.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated}}
	someoneElses := gated.DeepCopy()
	someoneElses.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "quota"}}
	again := unschedulable.DeepCopy()
	again.Labels = map[string]string{"seen": "twice"}
	bound := unschedulable.DeepCopy()
	bound.Spec.NodeName = "n1"
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	ready := node.DeepCopy()
	ready.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	tainted := ready.DeepCopy()
	tainted.Spec.Taints = []corev1.Taint{{Key: "going"}}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web"}}
	status := hpa.DeepCopy()
	status.Status.DesiredReplicas = 3
	edited := hpa.DeepCopy()
	edited.Spec.MaxReplicas = 9
	canary := hpa.DeepCopy()
	canary.Namespace, canary.Name = config.Namespace, config.CanaryName
	judged := canary.DeepCopy()
	judged.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: config.BerthActs}}
	answered := canary.DeepCopy()
	answered.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionFalse}}
	namesake := canary.DeepCopy()
	namesake.Namespace = "prod"
	scaled := answered.DeepCopy()
	scaled.Namespace = "prod"
	sized := func(condition corev1.PodConditionType, memory string) *corev1.Pod {
		p := pod.DeepCopy()
		p.Annotations = map[string]string{"resized": "note"}
		p.Status.Conditions = []corev1.PodCondition{{Type: condition, Status: corev1.ConditionTrue}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Resources: &corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)},
		}}}
		return p
	}
	unsized := func(p *corev1.Pod) *corev1.Pod {
		p.Annotations = nil
		return p
	}

	for name, tc := range map[string]struct {
		old, new runtime.Object
		want     bool
	}{
		"a pod finds no node":         {pod, unschedulable, true},
		"and still finds none":        {unschedulable, again, false},
		"a pod waits for its turn":    {pod, gated, true},
		"a pod waits for its gate":    {pod, someoneElses, false},
		"a gate is opened":            {someoneElses, gated, true},
		"a pod is bound":              {unschedulable, bound, false},
		"a pod has another size":      {sized(corev1.PodReady, "1Gi"), sized(corev1.PodReady, "2Gi"), true},
		"one that Berth did not size": {unsized(sized(corev1.PodReady, "1Gi")), unsized(sized(corev1.PodReady, "2Gi")), false},
		"a resize is deferred":        {sized(corev1.PodReady, "1Gi"), sized(corev1.PodResizePending, "1Gi"), true},
		"a sized pod is initialized":  {sized(corev1.PodInitialized, "1Gi"), sized(corev1.PodScheduled, "1Gi"), false},
		"a node is ready":             {node, ready, true},
		"a node says the same":        {ready, ready, false},
		"a node is marked to go":      {ready, tainted, true},
		"a node is marked no more":    {tainted, ready, true},
		"nothing new about its mark":  {tainted, tainted, false},
		"an HPA's status is written":  {hpa, status, false},
		"an HPA is edited by someone": {hpa, edited, true},
		"the canary is answered":      {canary, answered, true},
		"the canary is cleared":       {answered, canary, true},
		"Berth writes on the canary":  {canary, judged, false},
		"an HPA of its name has none": {namesake, scaled, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset(tc.old)
				factory := informers.NewSharedInformerFactory(client, 0)
				var woken atomic.Int32
				if err := Wake(factory, "resized", func(n *corev1.Node) bool { return len(n.Spec.Taints) > 0 }, func() { woken.Add(1) }); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				factory.Start(ctx.Done())
				factory.WaitForCacheSync(ctx.Done())
				synctest.Wait()
				woken.Store(0)
				gvr, _ := meta.UnsafeGuessKindToResource(kindOf(t, tc.new))
				namespace := tc.new.(metav1.Object).GetNamespace()
				if err := client.Tracker().Update(gvr, tc.new, namespace); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := woken.Load() > 0; got != tc.want {
					t.Errorf("woken %t, want %t", got, tc.want)
				}
				cancel()
				factory.Shutdown()
			})
		})
	}
}

func kindOf(t *testing.T, object runtime.Object) schema.GroupVersionKind {
	t.Helper()
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		t.Fatal(err)
	}
	return kinds[0]
}
