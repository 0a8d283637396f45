// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/nodes"
)

var _ nodes.Simulator = &Session{}

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// readyIn returns the node as one of a group, ready.
func readyIn(zone, name string) nodes.Node {
	n := nodeIn(zone, name)
	n.UID = types.UID(name)
	n.CreationTimestamp = metav1.NewTime(now.Add(-time.Hour))
	n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}
	return nodes.Node{Object: n, Group: "zone-" + zone}
}

func zones(high, target int) []nodes.Group {
	var groups []nodes.Group
	for _, zone := range []string{"a", "b", "c"} {
		groups = append(groups, nodes.Group{Name: "zone-" + zone, Max: high, Target: target, Template: nodeIn(zone, "template")})
	}
	return groups
}

// The story of a set that grows from 3 to 9, one slot to a node: the nodes
// that its future ordinals need are asked for at once, two in each zone, and
// one claim that exists already pins its ordinal.
func TestNodesForASetThatGrows(t *testing.T) {
	set := setOf("db", 9)
	objects := []runtime.Object{zonal(), set}
	in := nodes.Input{Now: now, Config: nodes.Defaults(), Groups: zones(10, 1)}
	for i, zone := range []string{"a", "b", "c"} {
		n := readyIn(zone, zone+"1")
		slot := slotOf("db", i, "3")
		slot.Spec.NodeName = n.Object.Name
		n.Pods = []*v1.Pod{slot}
		in.Nodes = append(in.Nodes, n)
		objects = append(objects, n.Object, slot)
		objects = append(objects, claimOf("db", i, zone)...)
	}
	objects = append(objects, claimOf("db", 7, "b")...)
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	for _, i := range []int{3, 4, 5, 6, 7, 8} {
		in.Forecast = append(in.Forecast, slotOf("db", i, "3"))
		if i != 7 {
			if err := session.AddObject(claimOf("db", i, "")[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := nodes.Decide(in, session)
	got := map[string][]string{}
	for _, add := range d.Adds {
		for _, pod := range add.Pods {
			got[add.Group] = append(got[add.Group], pod.Name)
		}
		if add.Count != 2 {
			t.Errorf("%d nodes for group %s, want 2", add.Count, add.Group)
		}
	}
	// Round by round, and db-7 is in b as its claim is.
	want := map[string][]string{"zone-a": {"db-3", "db-6"}, "zone-b": {"db-4", "db-7"}, "zone-c": {"db-5", "db-8"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes for slots (-want +got):\n%s\nunhelped: %+v, incomplete: %s", diff, d.Unhelped, d.Incomplete)
	}
}

// A volume in a zone without a node brings a node there.
func TestNodesForAVolumeInAnEmptyZone(t *testing.T) {
	n := readyIn("b", "b1")
	objects := append([]runtime.Object{zonal(), setOf("db", 1), n.Object}, claimOf("db", 0, "a")...)
	s, _ := simulate(t, objects...)
	in := nodes.Input{Now: now, Config: nodes.Defaults(), Groups: zones(5, 0), Nodes: []nodes.Node{n}, Pending: []*v1.Pod{slotOf("db", 0, "1")}}
	in.Groups[1].Target = 1
	d := nodes.Decide(in, begin(t, s, objects...))
	if len(d.Adds) != 1 || d.Adds[0].Group != "zone-a" || d.Adds[0].Count != 1 {
		t.Errorf("got %+v, want one node in zone a", d)
	}
}

// The volume's zone has no group with room: the reasons say so by group.
func TestReasonsByGroup(t *testing.T) {
	set := setOf("db", 1)
	n := readyIn("b", "b1")
	objects := append([]runtime.Object{zonal(), set, n.Object}, claimOf("db", 0, "a")...)
	s, _ := simulate(t, objects...)
	in := nodes.Input{Now: now, Config: nodes.Defaults(), Groups: zones(1, 0), Nodes: []nodes.Node{n}, Pending: []*v1.Pod{slotOf("db", 0, "1")}}
	in.Groups[0].Max = 0
	in.Groups[1].Target = 1
	d := nodes.Decide(in, begin(t, s, objects...))
	if len(d.Adds) > 0 || len(d.Unhelped) != 1 {
		t.Fatalf("got %+v, want the pod unhelped", d)
	}
	groups := d.Unhelped[0].Groups
	if len(groups) != 3 || groups[0] != "group zone-a: maximum size 0 reached" || groups[1] != "group zone-b: maximum size 1 reached" || groups[2] == "group zone-c: " {
		t.Errorf("reasons %q", groups)
	}
}

func BenchmarkDecide(b *testing.B) {
	for name, owner := range map[string]string{"deployments": "ReplicaSet", "unowned": ""} {
		b.Run(name, func(b *testing.B) { benchmark(b, owner) })
	}
}

// benchmark decides for 1,000 pending pods of 10 workloads and 100 nodes with
// 1,000 running pods, most of them full.
func benchmark(b *testing.B, owner string) {
	in := nodes.Input{Now: now, Config: nodes.Defaults(), Groups: zones(1000, 34)}
	var objects []runtime.Object
	var present []*v1.Node
	var pods []*v1.Pod
	for i := range 100 {
		n := readyIn(string("abc"[i%3]), fmt.Sprintf("n%d", i))
		for j := range 10 {
			pod := podOf(fmt.Sprintf("run-%d-%d", i, j), "350m").Node(n.Object.Name).Obj()
			n.Pods, pods, objects = append(n.Pods, pod), append(pods, pod), append(objects, pod)
		}
		in.Nodes, present, objects = append(in.Nodes, n), append(present, n.Object), append(objects, n.Object)
	}
	for i := range 1000 {
		pod := podOf(fmt.Sprintf("web-%d", i), fmt.Sprintf("%dm", 300+10*(i%10)))
		if owner != "" {
			pod.OwnerReference(fmt.Sprintf("web-%d", i%10), appsv1.SchemeGroupVersion.WithKind(owner))
		}
		in.Pending = append(in.Pending, pod.Obj())
	}
	s, _ := simulate(b, objects...)
	b.ReportAllocs()
	for b.Loop() {
		session, err := s.Begin(b.Context(), present, pods)
		if err != nil {
			b.Fatal(err)
		}
		d := nodes.Decide(in, session)
		session.Close()
		added := 0
		for _, add := range d.Adds {
			added += add.Count
		}
		b.ReportMetric(float64(added), "nodes")
		if len(d.Unhelped) > 0 || d.Incomplete != "" {
			b.Fatalf("%d unhelped, %s", len(d.Unhelped), d.Incomplete)
		}
	}
}
