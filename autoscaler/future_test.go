// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/autoscaler/horizontal"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

var ringLabels = map[string]string{"app": "ring"}

// ringTemplate makes pods with the label app: ring.
func ringTemplate() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: ringLabels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
}

func ringSet(name string, replicas int32, owner string) *appsv1.ReplicaSet {
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name)},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &replicas, Template: ringTemplate()},
	}
	if owner != "" {
		set.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: owner, Name: "ring", UID: "ring", Controller: ptr.To(true)}}
	}
	return set
}

func ringPod(name, kind, owner string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name), Labels: ringLabels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: owner, UID: types.UID(owner), Controller: ptr.To(true)}}},
		Spec: ringTemplate().Spec,
	}
	pod.Spec.NodeName = "n1"
	return pod
}

// evaluated is an HPA's decision for a target of a kind.
func evaluated(apiVersion, kind string, current, desired int32) *replicas {
	r := &replicas{hpa: &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "ring", UID: "hpa"},
		Spec:       autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 100, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: apiVersion, Kind: kind, Name: "ring"}},
	}}
	r.input = horizontal.Input{HPA: r.hpa, Scale: horizontal.Scale{SpecReplicas: current}}
	r.decision = horizontal.Decision{CurrentReplicas: current, DesiredReplicas: desired, Rescale: true}
	r.selector = labels.SelectorFromSet(ringLabels)
	return r
}

func namesOf(pods []*corev1.Pod) []string {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	return names
}

// The target of a decision may be of any kind, and what it decides may be made by others.
func TestForesee(t *testing.T) {
	set := sizedSet()
	set.Name, set.Spec.Template.Labels, set.Spec.Replicas, set.Spec.VolumeClaimTemplates = "ring-set", ringLabels, ptr.To[int32](2), nil
	setPods := []runtime.Object{ringPod("ring-set-0", "StatefulSet", "db"), ringPod("ring-set-1", "StatefulSet", "db")}
	rc := &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "ring", UID: "rc"}, Spec: corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](1), Template: ptr.To(ringTemplate())}}
	failed := evaluated("apps/v1", "ReplicaSet", 1, 3)
	failed.failed = true
	failing := ringSet("ring", 3, "")
	failing.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota"}}
	for name, tc := range map[string]struct {
		objects []runtime.Object
		decided *replicas
		want    []string
		// later is what is foreseen in a tick that no HPA is evaluated in.
		later []string
		held  string
	}{
		"a ReplicaSet": {objects: []runtime.Object{ringSet("ring", 1, ""), ringPod("a", "ReplicaSet", "ring")}, decided: evaluated("apps/v1", "ReplicaSet", 1, 3),
			want: []string{"ring-forecast-ReplicaSet-0", "ring-forecast-ReplicaSet-1"}}, // by then its own spec tells
		"a ReplicaSet by its spec": {objects: []runtime.Object{ringSet("ring", 2, ""), ringPod("a", "ReplicaSet", "ring")},
			want: []string{"ring-forecast-ReplicaSet-0"}, later: []string{"ring-forecast-ReplicaSet-0"}},
		"a scale that was not written": {objects: []runtime.Object{ringSet("ring", 1, ""), ringPod("a", "ReplicaSet", "ring")}, decided: failed},
		"a ReplicationController":      {objects: []runtime.Object{rc}, decided: evaluated("v1", "ReplicationController", 1, 2), want: []string{"ring-forecast-ReplicationController-0", "ring-forecast-ReplicationController-1"}, later: []string{"ring-forecast-ReplicationController-0"}},
		"a resource that makes a ReplicaSet": {objects: []runtime.Object{ringSet("ring-1", 1, "Ring"), ringSet("ring-0", 0, "Ring"), ringPod("a", "ReplicaSet", "ring-1")}, decided: evaluated("example.com/v1", "Ring", 1, 3),
			want: []string{"ring-1-forecast-ReplicaSet-0", "ring-1-forecast-ReplicaSet-1"}, later: []string{"ring-1-forecast-ReplicaSet-0", "ring-1-forecast-ReplicaSet-1"}},
		"a resource that makes a set": {objects: append(setPods, set), decided: evaluated("example.com/v1", "Ring", 2, 4), want: []string{"ring-set-2", "ring-set-3"}, later: []string{"ring-set-2", "ring-set-3"}},
		"a resource that makes two, one of them on the way": {
			objects: []runtime.Object{ringSet("ring-1", 1, "Ring"), ringSet("ring-2", 2, "Ring"), ringPod("a", "ReplicaSet", "ring-1"), ringPod("b", "ReplicaSet", "ring-2")},
			decided: evaluated("example.com/v1", "Ring", 3, 5),
			want:    []string{"ring-2-forecast-ReplicaSet-0", "ring-forecast-Ring.example.com-0", "ring-forecast-Ring.example.com-1"},
			later:   []string{"ring-2-forecast-ReplicaSet-0", "ring-forecast-Ring.example.com-0", "ring-forecast-Ring.example.com-1"},
		},
		"a resource that makes pods": {objects: []runtime.Object{ringPod("a", "Other", "ring")}, decided: evaluated("example.com/v1", "Ring", 1, 2), want: []string{"ring-forecast-Ring.example.com-0"}, later: []string{"ring-forecast-Ring.example.com-0"}},
		"a resource without pods":    {decided: evaluated("example.com/v1", "Ring", 1, 2), held: "its pods have no template that is known, and there is no live one to copy"},
		"a kind of another group of that name": {objects: []runtime.Object{ringSet("ring", 1, ""), ringPod("a", "ReplicaSet", "ring")}, decided: evaluated("example.com/v1", "Deployment", 3, 4),
			want: []string{"ring-forecast-Deployment.example.com-0", "ring-forecast-Deployment.example.com-1", "ring-forecast-Deployment.example.com-2"}, later: []string{"ring-forecast-Deployment.example.com-0", "ring-forecast-Deployment.example.com-1", "ring-forecast-Deployment.example.com-2"}},
		"pods that are refused": {objects: []runtime.Object{failing}, held: "its pods are refused: exceeded quota"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := tc.objects
			var decided []*replicas
			if tc.decided != nil {
				objects, decided = append(slices.Clone(objects), tc.decided.hpa), []*replicas{tc.decided}
			}
			a := ask(t, objects...)
			d := a.foresee(t.Context(), decided, a.reader.Pods())
			if diff := cmp.Diff(tc.want, namesOf(d.Pods)); diff != "" {
				t.Errorf("foreseen (-want +got):\n%s", diff)
			}
			held := ""
			if len(d.Held) > 0 {
				held = d.Held[0].Reason
			}
			if held != tc.held {
				t.Errorf("held: %q, want %q", held, tc.held)
			}
			if diff := cmp.Diff(tc.later, namesOf(a.foresee(t.Context(), nil, a.reader.Pods()).Pods)); diff != "" {
				t.Errorf("foreseen in the next tick (-want +got):\n%s", diff)
			}
		})
	}
}

// Without a live pod to copy the API server says what a pod would be, once a minute.
func TestFirstborns(t *testing.T) {
	var objects []runtime.Object
	for i := range maxFirstborns + 2 {
		set := sizedSet()
		set.Name, set.UID, set.Spec.VolumeClaimTemplates = fmt.Sprintf("db%d", i), types.UID(fmt.Sprint(i)), nil
		set.Spec.Replicas = ptr.To[int32](2)
		objects = append(objects, set)
	}
	a := ask(t, objects...)
	a.admit = func(pod *corev1.Pod) error {
		if pod.Name == "db3-0" {
			return apierrors.NewForbidden(corev1.Resource("pods"), pod.Name, errors.New("no"))
		}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "injected"})
		return nil
	}
	d := a.foresee(t.Context(), nil, a.reader.Pods())
	if len(a.created) != maxFirstborns || len(d.Pods) != 2*(maxFirstborns-1) || len(d.Pods[0].Spec.Containers) != 2 {
		t.Errorf("%d dry-run creates, pods %v", len(a.created), namesOf(d.Pods))
	}
	held := map[string]string{}
	for _, h := range d.Held {
		held[h.Name] = h.Reason
	}
	yet := "the API server is yet to be asked what becomes of them"
	if diff := cmp.Diff(map[string]string{"db3": `a dry-run create of db3-0 is refused: pods "db3-0" is forbidden: no`, "db8": yet, "db9": yet}, held); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	if asked := a.created[0]; asked.UID != "" || asked.OwnerReferences[0].BlockOwnerDeletion != nil {
		t.Errorf("asked for %+v", asked)
	}
	// The others have their turn, and nobody is asked twice in a minute.
	age := func(name string) {
		key := forecast.Key{Kind: "StatefulSet", Namespace: "prod", Name: name}
		known := a.history.futures.created[key]
		known.at = known.at.Add(-firstbornFor)
		a.history.futures.created[key] = known
	}
	for i := range maxFirstborns - 1 {
		age(fmt.Sprintf("db%d", i))
	}
	a.created = nil
	d = a.foresee(t.Context(), nil, a.reader.Pods())
	if len(a.created) != maxFirstborns || len(d.Pods) != 2*(maxFirstborns+1) {
		t.Errorf("%d dry-run creates in the second tick, pods %v", len(a.created), namesOf(d.Pods))
	}
	a.created = nil
	a.foresee(t.Context(), nil, a.reader.Pods())
	if len(a.created) != 1 { // what the second tick had no time for
		t.Errorf("%d dry-run creates in the third tick", len(a.created))
	}
	// What is known stands until it is known better.
	for i := range maxFirstborns {
		age(fmt.Sprintf("db%d", i))
	}
	a.admit = func(*corev1.Pod) error { return apierrors.NewTimeoutError("slow", 1) }
	a.created = nil
	d = a.foresee(t.Context(), nil, a.reader.Pods())
	if len(a.created) != maxFirstborns || len(d.Pods) != 2*(maxFirstborns+1) || len(a.history.futures.created) != maxFirstborns+2 {
		t.Errorf("%d dry-run creates in the fourth tick, pods %v, %d remembered", len(a.created), namesOf(d.Pods), len(a.history.futures.created))
	}
}

// A Deployment's pod has no name yet when it is asked for.
func TestFirstbornOfADeployment(t *testing.T) {
	a := ask(t, ringSet("ring", 1, ""))
	a.admit = func(*corev1.Pod) error { return apierrors.NewTimeoutError("slow", 1) }
	d := a.foresee(t.Context(), nil, nil)
	if len(a.created) != 1 || a.created[0].Name != "" || a.created[0].GenerateName != "ring-" {
		t.Errorf("asked for %+v", a.created)
	}
	if len(d.Pods) > 0 || len(d.Held) != 1 || !strings.HasPrefix(d.Held[0].Reason, "the API server does not say what becomes of them: ") || len(a.history.futures.created) > 0 {
		t.Errorf("foreseen %v, held %+v, remembered %+v", namesOf(d.Pods), d.Held, a.history.futures.created)
	}
}

// Quotas are those of the cluster.
func TestForeseeWithinQuota(t *testing.T) {
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "count"}, Status: corev1.ResourceQuotaStatus{
		Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("3")}, Used: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}}}
	a := ask(t, ringSet("ring", 5, ""), ringPod("a", "ReplicaSet", "ring"), quota)
	d := a.foresee(t.Context(), nil, a.reader.Pods())
	if len(d.Pods) != 2 || len(d.Held) != 1 || d.Held[0].Pods != 2 || !strings.HasPrefix(d.Held[0].Reason, "ResourceQuota count") {
		t.Errorf("foreseen %v, held %+v", namesOf(d.Pods), d.Held)
	}
}

func TestGiveSizes(t *testing.T) {
	table := func(lines string) sizes.Table {
		table, ok := sizes.Parse("v1 uid\n" + lines)
		if !ok {
			t.Fatal("no table")
		}
		return table
	}
	tables := map[scaled]sizes.Table{
		{"StatefulSet", "prod", "db"}: table("1 db 2000m 8589934592 - -\n* db 500m 1073741824 - -\n"),
		{"Ring", "prod", "ring"}:      table("* db 7m 7 - -\n"),
	}
	ring := ringPod("a", "Ring", "ring")
	workloads := []forecast.Workload{
		{Kind: "StatefulSet", Namespace: "prod", Name: "db"}, {Kind: "StatefulSet", Namespace: "test", Name: "db"},
		{Kind: "PlacementPolicy", Namespace: "prod", Name: "any", Pods: []*corev1.Pod{ring}},
	}
	giveSizes(workloads, tables)
	var got []string
	for _, w := range workloads {
		for _, s := range w.Sizes {
			got = append(got, fmt.Sprintf("%s/%s %s %s %s", w.Namespace, w.Name, s.Slot, s.Container, s.Requests.Cpu()))
		}
	}
	if diff := cmp.Diff([]string{"prod/db 1 db 2", "prod/db  db 500m", "prod/any  db 7m"}, got); diff != "" {
		t.Errorf("sizes (-want +got):\n%s", diff)
	}
}

// Of a set that an operator makes, a slot is wanted while its claim is there.
func TestForeseeOperatedSets(t *testing.T) {
	policy := &v1alpha1.PlacementPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "kafka", UID: "policy"},
		Spec:       v1alpha1.PlacementPolicySpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "kafka"}}, Ordinal: &v1alpha1.OrdinalSource{Label: "id"}},
	}
	claim := func(ordinal int) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
			Namespace: "prod", Name: fmt.Sprintf("data-%d-kafka-%d", ordinal, ordinal), Labels: map[string]string{"app": "kafka", "id": fmt.Sprint(ordinal)}}}
	}
	pod := func(ordinal int) *corev1.Pod {
		p := ringPod(fmt.Sprintf("kafka-%d", ordinal), "StrimziPodSet", "kafka")
		p.Labels = claim(ordinal).Labels
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim(ordinal).Name}}}}
		return p
	}
	leaving, odd := claim(4), pod(0)
	leaving.DeletionTimestamp, leaving.Finalizers = ptr.To(metav1.Now()), []string{"keep"}
	odd.Name, odd.UID = "kafka-x", "x"
	for name, tc := range map[string]struct {
		objects []runtime.Object
		want    map[string]string // claims of pods
		held    string
	}{
		"one is missing":      {[]runtime.Object{claim(0), claim(1), claim(3), leaving, pod(0), pod(1)}, map[string]string{"kafka-3": "data-3-kafka-3"}, ""},
		"none is missing":     {[]runtime.Object{claim(0), claim(1), pod(0), pod(1), pod(2)}, nil, ""},
		"all are missing":     {[]runtime.Object{claim(0), claim(1)}, nil, "the set has no live pod to copy"},
		"a name without them": {[]runtime.Object{claim(0), claim(1), odd}, nil, "the name of kafka-x, which could be copied, does not tell its ordinal 0"},
	} {
		t.Run(name, func(t *testing.T) {
			a := ask(t, tc.objects...)
			a.policies.Set(policy)
			d := a.foresee(t.Context(), nil, a.reader.Pods())
			got := map[string]string{}
			for _, p := range d.Pods {
				got[p.Name] = p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("foreseen (-want +got):\n%s", diff)
			}
			if len(d.Held) > 0 != (tc.held != "") || tc.held != "" && d.Held[0].Reason != tc.held {
				t.Errorf("held %+v, want %q", d.Held, tc.held)
			}
		})
	}
}

// What is known of a target ends with its HPA.
func TestExpectationsEnd(t *testing.T) {
	a := ask(t, ringPod("a", "Other", "ring"))
	r := evaluated("example.com/v1", "Ring", 1, 2)
	if d := a.foresee(t.Context(), []*replicas{r}, nil); len(d.Pods) != 1 {
		t.Errorf("foreseen %v", namesOf(d.Pods))
	}
	if d := a.foresee(t.Context(), nil, nil); len(d.Pods) != 0 || len(a.history.futures.expected) != 0 {
		t.Errorf("foreseen %v without the HPA", namesOf(d.Pods))
	}
	r.input.Scale.Absent = "not found"
	if d := a.foresee(t.Context(), []*replicas{r}, nil); len(d.Pods) != 0 {
		t.Errorf("foreseen %v without the target", namesOf(d.Pods))
	}
}
