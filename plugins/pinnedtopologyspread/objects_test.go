// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package pinnedtopologyspread

import (
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// node makes a node; an empty value leaves out the label.
func node(name string, labels map[string]string) *v1.Node {
	w := st.MakeNode().Name(name)
	for key, value := range labels {
		if value != "" {
			w.Label(key, value)
		}
	}
	return w.Obj()
}

// in makes a node of a zone, labelled as kubelets label it.
func in(domain, name string) *v1.Node {
	return node(name, map[string]string{zone: domain, host: name})
}

var app = map[string]string{"app": "db"}

// member is a pod of the set db.
func member(name string) *st.PodWrapper {
	return st.MakePod().Namespace("prod").Name(name).UID(name).SchedulerName("berth-scheduler").Labels(app).
		OwnerReference("db", appsv1.SchemeGroupVersion.WithKind("StatefulSet"))
}

func on(node, name string) *v1.Pod { return member(name).Node(node).Obj() }

// spread is a constraint over the members of the set db.
func spread(key string, action v1.UnsatisfiableConstraintAction, maxSkew int32) v1.TopologySpreadConstraint {
	return v1.TopologySpreadConstraint{
		TopologyKey: key, WhenUnsatisfiable: action, MaxSkew: maxSkew, LabelSelector: &metav1.LabelSelector{MatchLabels: app},
	}
}

func hard(key string) v1.TopologySpreadConstraint { return spread(key, v1.DoNotSchedule, 1) }
func soft(key string) v1.TopologySpreadConstraint { return spread(key, v1.ScheduleAnyway, 1) }

func spreading(pod *v1.Pod, constraints ...v1.TopologySpreadConstraint) *v1.Pod {
	pod.Spec.TopologySpreadConstraints = constraints
	return pod
}

func set() *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db"},
		Spec:       appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: app}},
	}
}

// bound is a claim with its volume in one domain.
func bound(claim, key, domain string) []runtime.Object {
	pvc := st.MakePersistentVolumeClaim().Namespace("prod").Name(claim).VolumeName("pv-"+claim).
		Annotation("pv.kubernetes.io/bind-completed", "yes").Obj()
	pvc.UID, pvc.Status.Phase = types.UID(claim), v1.ClaimBound
	pv := st.MakePersistentVolume().Name("pv-"+claim).NodeAffinityIn(key, []string{domain}).Obj()
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
