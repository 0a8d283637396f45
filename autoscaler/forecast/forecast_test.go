// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func set(name string) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: "set"},
		Spec: appsv1.StatefulSetSpec{
			ServiceName: "db",
			Selector:    &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			Template: v1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}},
				Spec:       v1.PodSpec{SchedulerName: "berth-scheduler", Containers: []v1.Container{{Name: "db"}}},
			},
			VolumeClaimTemplates: []v1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}},
		},
		Status: appsv1.StatefulSetStatus{UpdateRevision: "rev-2"},
	}
}

func pod(name, revision string) *v1.Pod {
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "prod", Name: name, UID: "live", ResourceVersion: "7", Finalizers: []string{"keep"},
			Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: revision, "app": "db"},
		},
		Spec: v1.PodSpec{NodeName: "n1", Containers: []v1.Container{{Name: "db"}, {Name: "injected"}}, Volumes: []v1.Volume{
			{Name: "config"}, {Name: "data", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data-" + name}}},
		}},
		Status: v1.PodStatus{Phase: v1.PodRunning, PodIP: "10.0.0.1"},
	}
}

// on is the input of a decision upon workloads.
func on(workloads ...Workload) Input { return Input{Budget: 10, Workloads: workloads} }

func broken(p *v1.Pod) *v1.Pod {
	p.Status.ContainerStatuses = []v1.ContainerStatus{{Name: "db", State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	return p
}

func names(pods []*v1.Pod) []string {
	names := []string{}
	for _, p := range pods {
		names = append(names, p.Name)
	}
	return names
}

func TestSlot(t *testing.T) {
	d := Decide(Input{Budget: 10, DefaultStorageClass: "zonal", Workloads: []Workload{
		OfSet(set("db"), 2, []*v1.Pod{pod("db-0", "rev-2")}, map[string]bool{"data-db-0": true}),
	}})
	want := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "prod", Name: "db-1", UID: "forecast/prod/db-1",
			Labels: map[string]string{
				"app": "db", "controller-revision-hash": "rev-2", "statefulset.kubernetes.io/pod-name": "db-1", "apps.kubernetes.io/pod-index": "1",
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "set", Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		},
		Spec: v1.PodSpec{
			Hostname: "db-1", Subdomain: "db", Containers: []v1.Container{{Name: "db"}, {Name: "injected"}}, Volumes: []v1.Volume{
				{Name: "config"}, {Name: "data", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data-db-1"}}},
			},
		},
		Status: v1.PodStatus{Phase: v1.PodPending},
	}
	if diff := cmp.Diff([]*v1.Pod{want}, d.Pods); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	wantClaim := &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "data-db-1", UID: "forecast/prod/data-db-1", Labels: map[string]string{"app": "db"}},
		Spec:       v1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("zonal")},
		Status:     v1.PersistentVolumeClaimStatus{Phase: v1.ClaimPending},
	}
	if diff := cmp.Diff([]*v1.PersistentVolumeClaim{wantClaim}, d.Claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func TestDecide(t *testing.T) {
	parallel, later, other := set("db"), set("db"), set("db-2")
	parallel.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	later.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
	gated := set("db")
	gated.Spec.Template.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "quota"}}
	leaving, failed := pod("web-x", ""), pod("web-y", "")
	leaving.DeletionTimestamp = ptr.To(metav1.Now())
	failed.Status.Phase = v1.PodFailed
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web"}}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-abc", UID: "rs", Labels: map[string]string{"pod-template-hash": "abc"}}}
	goingSlot := pod("db-1", "rev-2")
	goingSlot.DeletionTimestamp = leaving.DeletionTimestamp
	tests := map[string]struct {
		budget    int
		workloads []Workload
		want      []string
		claims    int
		held      []Held
	}{
		"every missing ordinal at once, ordered or not": {
			workloads: []Workload{OfSet(set("db"), 5, []*v1.Pod{pod("db-0", "rev-2"), pod("db-3", "rev-2")}, map[string]bool{"data-db-1": true})},
			want:      []string{"db-1", "db-2", "db-4"}, claims: 2,
		},
		"nothing is missing": {
			workloads: []Workload{OfSet(set("db"), 1, []*v1.Pod{pod("db-0", ""), pod("db-1", "")}, nil)},
		},
		"a scale-down is no gap": {
			workloads: []Workload{OfSet(set("db"), 1, []*v1.Pod{pod("db-1", ""), pod("db-2", "")}, nil)},
			want:      []string{"db-0"}, claims: 1,
		},
		"a slot on its way out keeps its room": {
			workloads: []Workload{OfSet(set("db"), 2, []*v1.Pod{pod("db-0", ""), goingSlot}, nil)},
		},
		"ordinals start where the set says": {
			workloads: []Workload{OfSet(later, 2, []*v1.Pod{pod("db-5", "")}, nil)},
			want:      []string{"db-6"}, claims: 1,
		},
		"a name that only looks like a slot is none": {
			workloads: []Workload{OfSet(other, 1, []*v1.Pod{pod("db-2-00", ""), pod("db-2", "")}, nil)},
			want:      []string{"db-2-0"}, claims: 1,
		},
		"ordered slots above a broken one are held": {
			workloads: []Workload{OfSet(set("db"), 4, []*v1.Pod{broken(pod("db-1", "rev-2"))}, nil)},
			want:      []string{"db-0"}, claims: 1,
			held: []Held{{"StatefulSet", "prod", "db", 2, "db-1 must be ready first and cannot be: container db: CrashLoopBackOff"}},
		},
		"parallel slots are not held": {
			workloads: []Workload{OfSet(parallel, 3, []*v1.Pod{broken(pod("db-1", "rev-2"))}, nil)},
			want:      []string{"db-0", "db-2"}, claims: 2,
		},
		"gated pods are held": {
			workloads: []Workload{OfSet(gated, 3, nil, nil)},
			held:      []Held{{"StatefulSet", "prod", "db", 3, "its pods wait for the scheduling gate quota"}},
		},
		"a deployment lacks what does not run": {
			workloads: []Workload{OfDeployment(deployment, rs, 3, []*v1.Pod{leaving, failed, pod("web-z", "")})},
			want:      []string{"web-forecast-Deployment-0", "web-forecast-Deployment-1"},
		},
		"the budget is shared, lower ordinals first": {
			budget:    5,
			workloads: []Workload{OfSet(set("db"), math.MaxInt32, nil, nil), OfDeployment(deployment, nil, 2, nil)},
			want:      []string{"web-forecast-Deployment-0", "web-forecast-Deployment-1", "db-0", "db-1", "db-2"}, claims: 3,
			held: []Held{{"StatefulSet", "prod", "db", math.MaxInt32 - 3, "the budget of 5 future pods is used up"}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := Decide(Input{Budget: max(tc.budget, 5), Workloads: tc.workloads})
			if diff := cmp.Diff(tc.want, names(d.Pods), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("pods (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.held, d.Held); diff != "" {
				t.Errorf("held (-want +got):\n%s", diff)
			}
			if len(d.Claims) != tc.claims {
				t.Errorf("%d claims, want %d", len(d.Claims), tc.claims)
			}
		})
	}
}

// A pod of another revision is no sample: its size or its volumes may differ.
func TestSample(t *testing.T) {
	pending := pod("db-0", "rev-2")
	pending.Spec.NodeName = ""
	pending.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse("1")}
	for name, tc := range map[string]struct {
		pods []*v1.Pod
		want string // of the first two containers
	}{
		"of the revision":      {[]*v1.Pod{pod("db-1", "rev-1"), pod("db-2", "rev-2")}, "injected"},
		"with a node":          {[]*v1.Pod{pending, pod("db-2", "rev-2")}, "injected"},
		"of another revision":  {[]*v1.Pod{pod("db-1", "rev-1")}, ""},
		"without a live pod":   {nil, ""},
		"of an unnamed one is": {[]*v1.Pod{pod("db-1", "")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := set("db")
			if name == "of an unnamed one is" {
				s.Status.UpdateRevision = ""
			}
			d := Decide(Input{Budget: 1, Workloads: []Workload{OfSet(s, 4, tc.pods, nil)}})
			got := ""
			if containers := d.Pods[0].Spec.Containers; len(containers) > 1 {
				got = containers[1].Name
			}
			if requests := d.Pods[0].Spec.Containers[0].Resources.Requests; got != tc.want || requests != nil {
				t.Errorf("second container %q, want %q (requests %v)", got, tc.want, requests)
			}
			if d.Pods[0].Spec.SchedulerName != "berth-scheduler" && tc.want == "" {
				t.Error("the pod is not made from the template")
			}
		})
	}
}

// The forecast owns what it returns.
func TestNothingIsShared(t *testing.T) {
	live, s := pod("db-0", "rev-2"), set("db")
	before, setBefore := live.DeepCopy(), s.DeepCopy()
	d := Decide(Input{Budget: 5, Workloads: []Workload{OfSet(s, 3, []*v1.Pod{live}, nil)}})
	for _, p := range d.Pods {
		p.Labels["x"], p.Spec.Containers[0].Name, p.Spec.Volumes[0].Name = "x", "x", "x"
	}
	for _, c := range d.Claims {
		c.Labels["x"] = "x"
	}
	if diff := cmp.Diff(before, live) + cmp.Diff(setBefore, s); diff != "" {
		t.Errorf("the input changed with the output:\n%s", diff)
	}
}
