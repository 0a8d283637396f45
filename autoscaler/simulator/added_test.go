// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// pooled is a class whose driver says how much it has, and the driver.
func pooled() []runtime.Object {
	return []runtime.Object{
		&storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: "pooled"}, Provisioner: "pooled.example.com",
			VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
		},
		&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "pooled.example.com"}, Spec: storagev1.CSIDriverSpec{StorageCapacity: ptr.To(true)}},
	}
}

func pool(name, size string, at map[string]string) *storagev1.CSIStorageCapacity {
	return &storagev1.CSIStorageCapacity{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name}, StorageClassName: "pooled",
		NodeTopology: &metav1.LabelSelector{MatchLabels: at}, Capacity: ptr.To(resource.MustParse(size)),
	}
}

// claimsOf returns a set that nothing spreads, and the claims of 1Gi that its slots will have.
func claimsOf(class, set string, many int) []runtime.Object {
	policy := policyOf(v1alpha1.Placement{})
	policy.Name, policy.Spec.TargetRef.Name = set, set
	objects := []runtime.Object{setOf(set, int32(many)), policy}
	for i := range many {
		claim := claimOf(set, i, "")[0].(*v1.PersistentVolumeClaim)
		claim.Spec.StorageClassName = &class
		objects = append(objects, claim)
	}
	return objects
}

// What a class has on a new node alone is what the volumes for its pods come
// from, and runs out.
func TestStorageOfANewNode(t *testing.T) {
	objects := append(pooled(), nodeIn("a", "a1"))
	objects = append(objects, claimsOf("pooled", "db", 6)...)
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	session.refuse(t, slotOf("db", 0, "100m"), `1 node(s) without storage of class "pooled"`)
	if err := session.AddNode(nodeIn("a", "plain")); err != nil {
		t.Fatal(err)
	}
	session.refuseAmong(t, slotOf("db", 0, "100m"), "plain")
	for i := range 2 {
		template := nodeIn("a", fmt.Sprintf("new-%d", i))
		template.Labels[v1.LabelHostname] = "template" // which does not matter
		if err := session.AddTemplate(template, nil, map[string]resource.Quantity{"pooled": resource.MustParse("2Gi")}); err != nil {
			t.Fatal(err)
		}
		if template.Labels[v1.LabelHostname] != "template" {
			t.Error("the template was changed")
		}
	}
	for i, want := range []string{"new-0", "new-0", "new-1", "new-1"} {
		session.expect(t, slotOf("db", i, "100m"), want)
	}
	if _, reasons, _ := session.Place(slotOf("db", 4, "100m")); !strings.Contains(strings.Join(reasons, "; "), `class "pooled" has 2Gi left, all of it promised to other pods, and claim data-db-4 needs 1Gi`) {
		t.Errorf("db-4 is refused for %q", reasons)
	}
}

// Storage that a zone shares is told by labels: it needs no more than the node.
func TestStorageOfAZone(t *testing.T) {
	objects := append(pooled(), nodeIn("a", "a1"), podOf("full", "4").Node("a1").Obj(), pool("zone-b", "1Gi", map[string]string{v1.LabelTopologyZone: "b"}))
	objects = append(objects, claimsOf("pooled", "db", 3)...)
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	for _, name := range []string{"new-a", "new-b", "new-b2"} {
		if err := session.AddTemplate(nodeIn(strings.TrimPrefix(name[:5], "new-"), name), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	session.expect(t, slotOf("db", 0, "1"), "new-b")
	session.refuseAmong(t, slotOf("db", 1, "1")) // the zone had room for one
}

// A driver whose storage is local to nodes tells what a new one has by a label of
// Cluster Autoscaler's, and by its own label which node an existing one is.
func TestStorageThatDriversTellOfNewNodes(t *testing.T) {
	const own = "topology.pooled.example.com/node"
	copied := nodeIn("a", "a1")
	copied.Labels[own] = "a1"
	objects := append(pooled(), copied, podOf("full", "4").Node("a1").Obj(), pool("a1", "9Gi", map[string]string{own: "a1"}),
		pool("template", "1Gi", map[string]string{templateLabel: "true"}))
	objects = append(objects, claimsOf("pooled", "db", 4)...)
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	for i := range 3 {
		node := copied.DeepCopy()
		node.Name = fmt.Sprintf("new-%d", i)
		if err := session.AddTemplate(node, nil, nil); err != nil {
			t.Fatal(err)
		}
		session.expect(t, slotOf("db", i, "100m"), node.Name) // each has its own
	}
	session.refuseAmong(t, slotOf("db", 3, "100m"))
}

// What is there of a node on its way counts, and what is not comes from the template.
func TestNodeWhoseDriversAreNotThereYet(t *testing.T) {
	objects := append(pooled(), zonal(), nodeIn("a", "told"), nodeIn("a", "untold"),
		pool("told", "1Gi", map[string]string{v1.LabelHostname: "told.local"}),
		&storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "told"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
			{Name: "example.com", NodeID: "told", Allocatable: &storagev1.VolumeNodeResources{Count: ptr.To(int32(1))}},
		}}})
	objects = append(objects, claimsOf("pooled", "pool", 9)...)
	for i := range 6 {
		objects = append(objects, claimOf("db", i, "a")...)
	}
	s, _ := simulate(t, append(objects, setOf("db", 6))...)
	session := begin(t, s, objects...)
	before := slices.Clone(s.snapshot.nodes)
	session.Fork()
	for _, info := range before {
		if err := session.AddTemplate(info.Node(), map[string]int32{"example.com": 2}, map[string]resource.Quantity{"pooled": resource.MustParse("2Gi")}); err != nil {
			t.Fatal(err)
		}
	}
	fits := func(slots func(i int) *v1.Pod, node string) (many int) {
		for i := range 6 {
			if at, _, err := session.Place(slots(i), node); err != nil {
				t.Fatal(err)
			} else if at != "" {
				many++
			}
		}
		return many
	}
	got := map[string]int{}
	for _, node := range []string{"told", "untold"} {
		session.Fork()
		got["volumes on "+node] = fits(func(i int) *v1.Pod { return slotOf("db", i, "10m") }, node)
		got["pools on "+node] = fits(func(i int) *v1.Pod { return slotOf("pool", i, "10m") }, node)
		session.Revert()
	}
	want := map[string]int{"volumes on told": 1, "volumes on untold": 2, "pools on told": 1, "pools on untold": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what fits (-want +got):\n%s", diff)
	}
	session.Revert()
	if nodes, err := s.csiNodes.List(labels.Everything()); err != nil || len(nodes) != 1 {
		t.Errorf("%d CSINodes at the end (%v), want the one there is", len(nodes), err)
	}
}

// A pod that nobody has said yet how to attach is not placed where a driver has to be.
func TestDriversThatHaveToBeThere(t *testing.T) {
	objects := append([]runtime.Object{zonal(), nodeIn("a", "a1"), setOf("db", 4)}, claimOf("db", 0, "a")...)
	for i := 1; i < 4; i++ {
		objects = append(objects, claimOf("db", i, "a")...)
	}
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	if err := session.AddTemplate(nodeIn("a", "new"), map[string]int32{"example.com": 1, "other": 0}, nil); err != nil {
		t.Fatal(err)
	}
	session.expect(t, slotOf("db", 0, "100m"), "new", "new")
	session.refuseAmong(t, slotOf("db", 1, "100m"), "new")
	session.expect(t, slotOf("db", 1, "100m"), "a1", "a1") // it has no limits
}

// A node that goes takes everything with it, and comes back with everything.
func TestRemoveNode(t *testing.T) {
	agent := podOf("agent", "100m").Node("a1").Obj()
	slot := slotPod("db", 0, "3", "a1")
	objects := append([]runtime.Object{nodeIn("a", "a1"), nodeIn("a", "a2"), nodeIn("b", "b1"), zonal(), setOf("db", 1), agent, slot},
		claimOf("db", 0, "a")...)
	s, overlay := simulate(t, objects...)
	session := begin(t, s, objects...)
	nodes := func() (names []string) {
		list, err := overlay.Core().V1().Nodes().Lister().List(labels.Everything())
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range list {
			names = append(names, node.Name)
		}
		slices.Sort(names)
		return names
	}
	before := s.snapshot.state()
	session.Fork()
	if err := session.RemovePod(slot); err != nil {
		t.Fatal(err)
	}
	if err := session.RemoveNode("a1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a2", "b1"}, nodes()); diff != "" {
		t.Errorf("nodes of the informer (-want +got):\n%s", diff)
	}
	if pod, err := overlay.Core().V1().Pods().Lister().Pods("prod").Get("agent"); err == nil {
		t.Errorf("the informer shows %s, which was on the node", pod.Name)
	}
	session.expect(t, slotOf("db", 0, "3"), "a2") // and no room is kept on the other
	if _, reasons, _ := session.Place(podOf("web", "1").Obj(), "a1"); !slices.Equal(reasons, []string{"1 node(s) unknown"}) {
		t.Errorf("on the node that is gone: %q", reasons)
	}
	if err := session.RemoveNode("a1"); err == nil {
		t.Error("a node goes twice")
	}
	if err := session.AddNode(nodeIn("a", "a1")); err != nil { // another of its name
		t.Fatal(err)
	}
	session.expect(t, podOf("big", "4").NodeSelector(map[string]string{v1.LabelTopologyZone: "a"}).Obj(), "a1")
	session.Revert()
	if diff := cmp.Diff(before, s.snapshot.state()); diff != "" {
		t.Errorf("after the revert (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a1", "a2", "b1"}, nodes()); diff != "" {
		t.Errorf("nodes of the informer after the revert (-want +got):\n%s", diff)
	}
	session.refuseAmong(t, podOf("web", "1").Obj(), "a1")
}

// A volume that only a node that goes can reach has nowhere to be.
func TestRemoveNodeOfALocalVolume(t *testing.T) {
	objects := []runtime.Object{nodeIn("a", "a1"), nodeIn("a", "a2"), setOf("db", 1), zonal()}
	claim := claimOf("db", 0, "a")
	claim[1].(*v1.PersistentVolume).Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0] =
		v1.NodeSelectorRequirement{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{"a1.local"}}
	s, _ := simulate(t, append(objects, claim...)...)
	session := begin(t, s, objects...)
	session.Fork()
	session.expect(t, slotOf("db", 0, "1"), "a1")
	session.Revert()
	if err := session.RemoveNode("a1"); err != nil {
		t.Fatal(err)
	}
	if _, reasons, err := session.Place(slotOf("db", 0, "1")); err != nil || !strings.Contains(strings.Join(reasons, ""), "no node reaches volume") {
		t.Errorf("db-0 is refused for %q (%v)", reasons, err)
	}
}

func TestRoom(t *testing.T) {
	agent := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "agent", UID: types.UID("agent")},
		Spec: appsv1.DaemonSetSpec{Template: v1.PodTemplateSpec{
			Spec: st.MakePod().Lim(map[v1.ResourceName]string{v1.ResourceCPU: "500m", v1.ResourceMemory: "1Gi"}).Obj().Spec,
		}},
	}
	elsewhere := agent.DeepCopy()
	elsewhere.Name, elsewhere.UID = "elsewhere", "elsewhere"
	elsewhere.Spec.Template.Spec.NodeSelector = map[string]string{v1.LabelTopologyZone: "b"}
	s, _ := simulate(t, agent, elsewhere)
	session := begin(t, s)
	if err := session.AddTemplate(nodeIn("a", "new"), nil, nil); err != nil {
		t.Fatal(err)
	}
	session.expect(t, podOf("web", "1").Obj(), "new")
	got := map[v1.ResourceName]string{}
	for name, left := range session.Room("new") {
		got[name] = left.String()
	}
	want := map[v1.ResourceName]string{v1.ResourceCPU: "2500m", v1.ResourceMemory: "15Gi", v1.ResourcePods: "108", v1.ResourceEphemeralStorage: "0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("room (-want +got):\n%s", diff)
	}
	if room := session.Room("nowhere"); room != nil {
		t.Errorf("a node that is not there has room for %v", room)
	}
}

// The scheduler looks at no other node where that of a preemption fits.
func TestNominatedNodeComesFirst(t *testing.T) {
	objects := []runtime.Object{nodeIn("a", "a1"), nodeIn("a", "a2"), podOf("load", "2").Node("a2").Obj()}
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	session.expect(t, podOf("web", "1").NominatedNodeName("a2").Obj(), "a2")
	session.expect(t, podOf("large", "2").NominatedNodeName("a2").Obj(), "a1")
	session.expect(t, podOf("lost", "1").NominatedNodeName("gone").Obj(), "a1")
}
