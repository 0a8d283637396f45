// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func replicaSet() *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web", UID: "rs"},
		Spec:       appsv1.ReplicaSetSpec{Template: v1.PodTemplateSpec{Spec: v1.PodSpec{Containers: []v1.Container{{Name: "db", Image: "web:2"}}}}},
	}
}

func imaged(p *v1.Pod, image string) *v1.Pod {
	p.Spec.Containers[0].Image = image
	return p
}

func TestKinds(t *testing.T) {
	rc := &v1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web", UID: "rc"}}
	old := pod("web-a", "")
	old.Spec.Volumes = nil
	young := old.DeepCopy()
	young.Name, young.CreationTimestamp, young.Spec.PriorityClassName = "web-b", metav1.NewTime(time.Unix(9, 0)), "young"
	young.OwnerReferences = []metav1.OwnerReference{{Kind: "Ring", Name: "web", Controller: ptr.To(true)}}
	templated := OfController(rc, 2, nil)
	templated.Template = &v1.PodTemplateSpec{Spec: v1.PodSpec{Containers: []v1.Container{{Name: "db"}}}}
	type made struct{ name, owner, of string }
	for name, tc := range map[string]struct {
		workload Workload
		want     []made
		held     string
	}{
		"a ReplicaSet, from a pod of its template": {
			workload: OfReplicaSet(replicaSet(), 3, []*v1.Pod{imaged(pod("web-a", ""), "web:1"), imaged(pod("web-b", ""), "web:2")}),
			want:     []made{{"web-forecast-ReplicaSet-0", "rs", "injected"}},
		},
		"a ReplicaSet, whose pods are of an older template": {
			workload: OfReplicaSet(replicaSet(), 2, []*v1.Pod{imaged(pod("web-a", ""), "web:1")}),
			want:     []made{{"web-forecast-ReplicaSet-0", "rs", ""}},
		},
		"a ReplicationController": {workload: templated, want: []made{{"web-forecast-ReplicationController-0", "rc", ""}, {"web-forecast-ReplicationController-1", "rc", ""}}},
		"a ReplicationController without a template": {
			workload: OfController(rc, 2, nil), held: "its pods have no template that is known, and there is no live one to copy",
		},
		"another kind, from its newest pod": {
			workload: OfPods("Ring.example.com", "prod", "web", 3, []*v1.Pod{old, young}),
			want:     []made{{"web-forecast-Ring.example.com-0", "", "young"}},
		},
		"another kind without pods": {
			workload: OfPods("Ring.example.com", "prod", "web", 3, nil), held: "its pods have no template that is known, and there is no live one to copy",
		},
		"another kind, whose pods have claims": {
			workload: OfPods("Ring.example.com", "prod", "web", 3, []*v1.Pod{pod("web-a", "")}),
			held:     "its pods have claims of their own, as web-a has data-web-a: which are next is known to its operator alone",
		},
		"another kind that lacks none": {workload: OfPods("Ring.example.com", "prod", "web", 1, []*v1.Pod{pod("web-a", "")})},
		"pods that are refused": {
			workload: Workload{Kind: "Deployment", Namespace: "prod", Name: "web", Desired: 2, Template: &v1.PodTemplateSpec{}, Refused: "the webhook says no"},
			held:     "the webhook says no",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decide(on(tc.workload))
			var got []made
			for _, p := range d.Pods {
				m := made{name: p.Name, of: p.Spec.PriorityClassName}
				if owner := metav1.GetControllerOf(p); owner != nil {
					m.owner = string(owner.UID)
				}
				if len(p.Spec.Containers) > 1 && m.of == "" {
					m.of = p.Spec.Containers[1].Name
				}
				got = append(got, m)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(made{})); diff != "" {
				t.Errorf("pods (-want +got):\n%s", diff)
			}
			held := ""
			for _, h := range d.Held {
				held += h.Reason
			}
			if held != tc.held {
				t.Errorf("held: %q, want %q", held, tc.held)
			}
		})
	}
}

// A slot below the partition gets the pod of before.
func TestPartition(t *testing.T) {
	s := set("db")
	s.Status.CurrentRevision = "rev-1"
	s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](2)}
	before, after := pod("db-0", "rev-1"), pod("db-3", "rev-2")
	before.Spec.PriorityClassName, after.Spec.PriorityClassName = "before", "after"
	got := map[string]string{}
	for _, p := range Decide(on(OfSet(s, 5, []*v1.Pod{before, after}, nil))).Pods {
		got[p.Name] = p.Spec.PriorityClassName + " " + p.Labels[appsv1.ControllerRevisionHashLabelKey]
	}
	want := map[string]string{"db-1": "before rev-1", "db-2": "after rev-2", "db-4": "after rev-2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("revisions (-want +got):\n%s", diff)
	}
}

func TestUnsampled(t *testing.T) {
	gated := set("db")
	gated.Spec.Template.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "quota"}}
	answered := OfSet(set("db"), 2, nil, nil)
	answered.Created = pod("db-0", "rev-2")
	for name, tc := range map[string]struct {
		workload Workload
		want     string
	}{
		"nothing to copy":     {OfSet(set("db"), 3, []*v1.Pod{pod("db-0", "rev-1")}, nil), "db-1"},
		"a pod to copy":       {OfSet(set("db"), 3, []*v1.Pod{pod("db-0", "rev-2")}, nil), ""},
		"nothing missing":     {OfSet(set("db"), 1, []*v1.Pod{pod("db-0", "rev-1")}, nil), ""},
		"nothing would come":  {OfSet(gated, 3, nil, nil), ""},
		"answered":            {answered, ""},
		"no template to send": {OfPods("Ring", "prod", "web", 3, nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if p := tc.workload.Unsampled(); p != nil {
				got = p.Name
			}
			if got != tc.want {
				t.Errorf("asked for %q, want %q", got, tc.want)
			}
		})
	}
	// What the API server has answered is copied, for each slot as its own.
	d := Decide(on(answered))
	if diff := cmp.Diff([]string{"db-0", "db-1"}, names(d.Pods)); diff != "" || len(d.Pods[1].Spec.Containers) != 2 || d.Pods[1].Spec.Hostname != "db-1" {
		t.Errorf("pods %+v (-want +got):\n%s", d.Pods, diff)
	}
}

func TestTwin(t *testing.T) {
	of := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "k-kafka-1", Labels: map[string]string{"strimzi.io/pod-name": "k-kafka-1", "index": "1", "app": "k"}},
		Spec: v1.PodSpec{Hostname: "k-kafka-1", Volumes: []v1.Volume{
			{Name: "data", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data-1-k-kafka-1"}}},
			{Name: "shared", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "models-1"}}},
		}},
	}
	before := of.DeepCopy()
	got, why := Twin(of, 1, 12, []string{"data-1-k-kafka-1"}, []string{"data-12-k-kafka-12"})
	want := of.DeepCopy()
	want.Name, want.Spec.Hostname = "k-kafka-12", "k-kafka-12"
	want.Labels = map[string]string{"strimzi.io/pod-name": "k-kafka-12", "index": "12", "app": "k"}
	want.Spec.Volumes[0].PersistentVolumeClaim.ClaimName = "data-12-k-kafka-12"
	if diff := cmp.Diff(want, got) + cmp.Diff(before, of); diff != "" || why != "" {
		t.Errorf("twin (-want +got), %q:\n%s", why, diff)
	}
	for name, tc := range map[string]struct {
		from   int
		claims []string
		want   string
	}{
		"a claim is missing":      {1, []string{"data-2-k-kafka-1"}, "k-kafka-1 has the claim data-1-k-kafka-1, and there is no data-2-k-kafka-2"},
		"a name without ordinals": {7, nil, "the name of k-kafka-1, which could be copied, does not tell its ordinal 7"},
	} {
		if got, why := Twin(of, tc.from, 2, []string{"data-1-k-kafka-1"}, tc.claims); got != nil || why != tc.want {
			t.Errorf("%s: %v, %q, want %q", name, got, why, tc.want)
		}
	}

	shaped := Workload{Kind: "PlacementPolicy", Namespace: "prod", Name: "kafka", Shaped: []*v1.Pod{got}}
	d := Decide(on(shaped))
	if diff := cmp.Diff([]string{"k-kafka-12"}, names(d.Pods)); diff != "" || len(d.Claims) != 0 || d.Pods[0].UID != "forecast/prod/k-kafka-12" || d.Pods[0].Spec.Hostname != "k-kafka-12" {
		t.Errorf("pods %+v (-want +got):\n%s", d.Pods, diff)
	}
}

func TestReserve(t *testing.T) {
	with := func(w Workload, reserve int) Workload {
		w.Reserve = reserve
		return w
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web"}}
	refused := with(OfSet(set("db"), 1, nil, nil), 3)
	refused.Refused = "the webhook says no"
	for name, tc := range map[string]struct {
		budget   int
		workload Workload
		unhelped map[types.NamespacedName]string
		want     []string
		reserve  []string
		claims   int
	}{
		"beyond what is decided": {
			workload: with(OfSet(set("db"), 2, []*v1.Pod{pod("db-0", "rev-2")}, nil), 4),
			want:     []string{"db-1"}, reserve: []string{"db-2", "db-3"}, claims: 3,
		},
		"not what is there still": {
			workload: with(OfSet(set("db"), 1, []*v1.Pod{pod("db-0", "rev-2"), pod("db-2", "rev-2")}, nil), 4),
			reserve:  []string{"db-1", "db-3"}, claims: 2,
		},
		"nor of a Deployment": {
			workload: with(OfDeployment(deployment, nil, 1, []*v1.Pod{pod("web-a", ""), pod("web-b", "")}), 3),
			reserve:  []string{"web-forecast-Deployment-0"},
		},
		"names go on": {
			workload: with(OfDeployment(deployment, nil, 1, nil), 2),
			want:     []string{"web-forecast-Deployment-0"}, reserve: []string{"web-forecast-Deployment-1"},
		},
		"less than is decided": {workload: with(OfSet(set("db"), 2, nil, nil), 1), want: []string{"db-0", "db-1"}, claims: 2},
		"what the budget leaves": {
			budget: 3, workload: with(OfSet(set("db"), 2, nil, nil), 9), want: []string{"db-0", "db-1"}, reserve: []string{"db-2"}, claims: 3,
		},
		"nothing where pods do not come": {workload: refused},
		"nothing above one without help": {
			workload: with(OfSet(set("db"), 2, nil, nil), 4), unhelped: map[types.NamespacedName]string{{Namespace: "prod", Name: "db-1"}: "no room"},
			want: []string{"db-0", "db-1"}, claims: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := on(tc.workload)
			in.Unhelped = tc.unhelped
			if tc.budget > 0 {
				in.Budget = tc.budget
			}
			d := Decide(in)
			if diff := cmp.Diff(tc.want, names(d.Pods), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("pods (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.reserve, names(d.Reserve), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("reserve (-want +got):\n%s", diff)
			}
			if len(d.Claims) != tc.claims {
				t.Errorf("%d claims, want %d", len(d.Claims), tc.claims)
			}
		})
	}
}
