// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"os"
	goruntime "runtime"
	"testing"

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

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/policies"
)

// berthProfile is the shipped configuration: what is simulated is what runs.
func berthProfile(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("../../manifests/scheduler/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// simulate returns a simulator of Berth's scheduler and the overlay that it
// reads, over a server that has the objects, policies among them.
func simulate(t testing.TB, objects ...runtime.Object) (*Simulator, *Overlay) {
	t.Helper()
	return simulateBy(t, false, objects...)
}

func simulateBy(t testing.TB, plain bool, objects ...runtime.Object) (*Simulator, *Overlay) {
	t.Helper()
	configuration, err := ParseConfiguration([]byte(berthProfile(t)))
	if err != nil {
		t.Fatal(err)
	}
	book := policies.NewBook()
	book.MarkReady(nil)
	var served []runtime.Object
	for _, object := range objects {
		if policy, ok := object.(*v1alpha1.PlacementPolicy); ok {
			book.Set(policy)
			continue
		}
		served = append(served, object)
	}
	factory := informers.NewSharedInformerFactory(fake.NewClientset(served...), 0)
	options, shared := withPlugins(factory, book)
	options.Configuration, options.plain = configuration, plain
	s, err := New(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(t.Context())
	if err := factory.WaitForCacheSyncWithContext(t.Context()).AsError(); err != nil {
		t.Fatal(err)
	}
	for !shared.HasSynced() {
		goruntime.Gosched()
	}
	return s, options.Overlay
}

// begin opens a session on the nodes and pods among the objects.
func begin(t testing.TB, s *Simulator, objects ...runtime.Object) *Session {
	t.Helper()
	var nodes []*v1.Node
	var pods []*v1.Pod
	for _, object := range objects {
		switch object := object.(type) {
		case *v1.Node:
			nodes = append(nodes, object)
		case *v1.Pod:
			pods = append(pods, object)
		}
	}
	session, err := s.Begin(t.Context(), nodes, pods)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}

func nodeIn(zone, name string) *v1.Node {
	return st.MakeNode().Name(name).Label(v1.LabelTopologyZone, zone).Label(v1.LabelHostname, name+".local").
		Capacity(map[v1.ResourceName]string{v1.ResourceCPU: "4", v1.ResourceMemory: "16Gi", v1.ResourcePods: "110"}).Obj()
}

func podOf(name, cpu string) *st.PodWrapper {
	return st.MakePod().Namespace("prod").Name(name).UID(name).SchedulerName("berth-scheduler").
		Req(map[v1.ResourceName]string{v1.ResourceCPU: cpu})
}

func setOf(name string, replicas int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name)},
		Spec: appsv1.StatefulSetSpec{
			Replicas:             &replicas,
			VolumeClaimTemplates: []v1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}},
		},
	}
}

// slotOf returns a pod of a set with its claim.
func slotOf(set string, ordinal int, cpu string) *v1.Pod {
	return podOf(fmt.Sprintf("%s-%d", set, ordinal), cpu).
		Label("app", set).Label("apps.kubernetes.io/pod-index", fmt.Sprint(ordinal)).
		OwnerReference(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet")).
		Volume(v1.Volume{Name: "data", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{
			ClaimName: fmt.Sprintf("data-%s-%d", set, ordinal),
		}}}).Obj()
}

func zonal() *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "zonal"}, Provisioner: "example.com/zonal",
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
	}
}

// claimOf returns the claim of a slot, bound to a volume in a zone or to none.
func claimOf(set string, ordinal int, zone string) []runtime.Object {
	claim := &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: fmt.Sprintf("data-%s-%d", set, ordinal), UID: "claim"},
		Spec: v1.PersistentVolumeClaimSpec{
			AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, StorageClassName: ptr.To("zonal"),
			Resources: v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}},
		},
		Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimPending},
	}
	if zone == "" {
		return []runtime.Object{claim}
	}
	volume := &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-" + claim.Name},
		Spec: v1.PersistentVolumeSpec{
			AccessModes: claim.Spec.AccessModes, StorageClassName: "zonal",
			Capacity:               v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")},
			PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: "example.com", VolumeHandle: claim.Name}},
			ClaimRef:               &v1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
				MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelTopologyZone, Operator: v1.NodeSelectorOpIn, Values: []string{zone}}},
			}}}},
		},
		Status: v1.PersistentVolumeStatus{Phase: v1.VolumeBound},
	}
	claim.Spec.VolumeName, claim.Status.Phase = volume.Name, v1.ClaimBound
	claim.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
	return []runtime.Object{claim, volume}
}
