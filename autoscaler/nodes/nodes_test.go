// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func template(zone, cpu string) *v1.Node {
	return st.MakeNode().Name("template").Label(v1.LabelTopologyZone, zone).
		Capacity(map[v1.ResourceName]string{v1.ResourceCPU: cpu, v1.ResourceMemory: "16Gi", v1.ResourcePods: "110"}).Obj()
}

func zoneGroup(zone string, low, high, target int) Group {
	return Group{Name: "zone-" + zone, Min: low, Max: high, Target: target, Template: template(zone, "4")}
}

// nodeIn returns a ready node of the group, created an hour before start.
func nodeIn(g Group, name string, pods ...*v1.Pod) Node {
	n := newNode(g.Template, name)
	n.UID = types.UID("uid-" + name)
	n.CreationTimestamp = metav1.NewTime(start.Add(-time.Hour))
	n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}
	return Node{Object: n, Group: g.Name, Pods: pods}
}

// unready turns a node into one that never reported ready and is that old.
func unready(n Node, age time.Duration) Node {
	n.Object.CreationTimestamp = metav1.NewTime(start.Add(-age))
	n.Object.Status.Conditions = nil
	n.Object.Spec.Taints = []v1.Taint{{Key: v1.TaintNodeNotReady, Effect: v1.TaintEffectNoSchedule}}
	return n
}

func podOf(name, cpu string) *st.PodWrapper {
	return st.MakePod().Namespace("prod").Name(name).Req(map[v1.ResourceName]string{v1.ResourceCPU: cpu, v1.ResourceMemory: "1Gi"})
}

func podsOf(n int, name, cpu string) []*v1.Pod {
	var pods []*v1.Pod
	for i := range n {
		pods = append(pods, podOf(fmt.Sprintf("%s-%d", name, i), cpu).Obj())
	}
	return pods
}

func inZone(pod *st.PodWrapper, zone string) *v1.Pod {
	return pod.NodeSelector(map[string]string{v1.LabelTopologyZone: zone}).Obj()
}

func zoneVolume(slot, zone string) Volume {
	return Volume{Slot: slot, Affinity: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
		MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelTopologyZone, Operator: v1.NodeSelectorOpIn, Values: []string{zone}}},
	}}}}
}

// emptyFor returns a history in which the nodes have been empty that long.
func emptyFor(d time.Duration, nodes ...Node) History {
	h := History{UnneededSince: map[types.UID]time.Time{}}
	for _, n := range nodes {
		h.UnneededSince[n.Object.UID] = start.Add(-d)
	}
	return h
}

func TestDecide(t *testing.T) {
	a, b, c := zoneGroup("a", 0, 10, 0), zoneGroup("b", 0, 10, 0), zoneGroup("c", 0, 10, 0)
	a1, a2 := nodeIn(a, "a1"), nodeIn(a, "a2")
	withTarget := func(g Group, target int) Group { g.Target = target; return g }
	withMin := func(g Group, low int) Group { g.Min = low; return g }
	full := podOf("full", "4").Node("a1").Obj()
	daemon := podOf("daemon", "100m").Node("a1").OwnerReference("agent", metav1.SchemeGroupVersion.WithKind("DaemonSet")).Obj()
	name := func(pod string) types.NamespacedName { return types.NamespacedName{Namespace: "prod", Name: pod} }
	tests := map[string]struct {
		in   Input
		want Decision
	}{
		"everything fits, nothing is added": {
			in:   Input{Groups: []Group{withTarget(a, 1)}, Nodes: []Node{a1}, Pending: podsOf(4, "web", "1")},
			want: Decision{Placed: 4},
		},
		"equal groups are balanced, and one call grows several": {
			in: Input{Groups: []Group{c, b, a}, Pending: podsOf(6, "db", "3")},
			want: Decision{Adds: []Add{
				{Group: "zone-a", Count: 2, Target: 2, Pods: []types.NamespacedName{name("db-0"), name("db-3")}, Reason: "pods that fit on no other node (2), first prod/db-0"},
				{Group: "zone-b", Count: 2, Target: 2, Pods: []types.NamespacedName{name("db-1"), name("db-4")}, Reason: "pods that fit on no other node (2), first prod/db-1"},
				{Group: "zone-c", Count: 2, Target: 2, Pods: []types.NamespacedName{name("db-2"), name("db-5")}, Reason: "pods that fit on no other node (2), first prod/db-2"},
			}},
		},
		"forecast pods are helped in the zone that they need": {
			in: Input{Groups: []Group{a, b}, Forecast: []*v1.Pod{inZone(podOf("db-0", "1"), "b")}},
			want: Decision{Adds: []Add{
				{Group: "zone-b", Count: 1, Target: 1, Pods: []types.NamespacedName{name("db-0")}, Reason: "pods that fit on no other node (1), first prod/db-0"},
			}},
		},
		"the group that wastes least": {
			in: Input{
				Groups:  []Group{{Name: "big", Max: 1, Template: template("a", "32")}, {Name: "small", Max: 1, Template: template("a", "2")}},
				Pending: podsOf(1, "web", "2"),
			},
			want: Decision{Adds: []Add{
				{Group: "small", Count: 1, Target: 1, Pods: []types.NamespacedName{name("web-0")}, Reason: "pods that fit on no other node (1), first prod/web-0"},
			}},
		},
		"each group says why it does not help": {
			in: Input{
				Groups:  []Group{withTarget(a, 10), b, c},
				Nodes:   []Node{nodeIn(a, "a1", full)},
				Pending: []*v1.Pod{inZone(podOf("db-0", "8"), "b")},
				History: History{Backoff: map[string]Backoff{"zone-c": {Until: start.Add(time.Minute), For: time.Minute, Reason: "out of stock"}}},
			},
			want: Decision{
				Upcoming: 9,
				Unhelped: []Unhelped{{
					Pod: name("db-0"), Present: []string{"10 wrong label"},
					Groups: []string{"group zone-a: maximum size 10 reached", "group zone-b: 1 Insufficient cpu (needs 8, a new node has 4 free)", "group zone-c: left alone for another 1m0s: out of stock"},
				}},
			},
		},
		"groups that say the same are named together": {
			in: Input{
				Groups:  []Group{withTarget(a, 10), b, withTarget(c, 10)},
				Pending: []*v1.Pod{inZone(podOf("db-0", "8"), "b")},
			},
			want: Decision{
				Upcoming: 20,
				Unhelped: []Unhelped{{
					Pod: name("db-0"), Present: []string{"20 wrong label"},
					Groups: []string{"groups zone-a, zone-c: maximum size 10 reached", "group zone-b: 1 Insufficient cpu (needs 8, a new node has 4 free)"},
				}},
			},
		},
		"pods that no node would help are left out": {
			in: Input{Groups: []Group{a}, Pending: []*v1.Pod{
				podOf("gated", "1").SchedulingGates([]string{"x"}).Obj(),
				podOf("expendable", "1").Priority(-11).Obj(),
				podOf("bound", "1").Node("elsewhere").Obj(),
				podOf("leaving", "1").Terminating().Obj(),
			}},
			want: Decision{},
		},
		"pods that wait for their turn will come, in the order of their ordinals": {
			in: Input{Groups: []Group{withTarget(a, 1)}, Nodes: []Node{nodeIn(a, "a1", full)}, Pending: []*v1.Pod{
				podOf("db-10", "3").Condition(v1.PodScheduled, v1.ConditionFalse, v1.PodReasonSchedulingGated).Obj(),
				podOf("db-9", "3").Condition(v1.PodScheduled, v1.ConditionFalse, v1.PodReasonSchedulingGated).Obj(),
				podOf("db-11", "3").Obj(), // just made: nobody has said anything of it yet
				podOf("db-8", "3").Condition(v1.PodScheduled, v1.ConditionFalse, v1.PodReasonUnschedulable).Obj(),
				podOf("db-12", "3").SchedulingGates([]string{"x"}).Condition(v1.PodScheduled, v1.ConditionFalse, v1.PodReasonSchedulingGated).Obj(),
			}},
			want: Decision{Adds: []Add{{
				Group: "zone-a", Count: 4, Target: 5, Pods: []types.NamespacedName{name("db-8"), name("db-9"), name("db-10"), name("db-11")},
				Reason: "pods that fit on no other node (4), first prod/db-8",
			}}},
		},
		"a pod that preempts waits for its victims": {
			in:   Input{Groups: []Group{withTarget(a, 1)}, Nodes: []Node{nodeIn(a, "a1", full)}, Pending: []*v1.Pod{podOf("web", "1").NominatedNodeName("a1").Obj()}},
			want: Decision{},
		},
		"nodes on their way are counted on": {
			in:   Input{Groups: []Group{withTarget(a, 1)}, Nodes: []Node{unready(nodeIn(a, "a1"), time.Minute)}, Pending: podsOf(4, "web", "1")},
			want: Decision{Upcoming: 1, Placed: 4},
		},
		"nodes asked for that do not exist yet are counted on": {
			in:   Input{Groups: []Group{withTarget(a, 1)}, Pending: podsOf(4, "web", "1")},
			want: Decision{Upcoming: 1, Placed: 4},
		},
		"nodes asked for that never appear fail their group": {
			in: Input{
				Groups: []Group{withTarget(a, 1)}, Pending: podsOf(1, "web", "1"),
				History: History{MissingSince: map[string][]time.Time{"zone-a": {start.Add(-16 * time.Minute)}}},
			},
			want: Decision{
				Forgo: []Forgo{{Group: "zone-a", Count: 1, Reason: "1 nodes asked for did not appear within 16m0s"}},
				Unhelped: []Unhelped{{
					Pod: name("web-0"), Groups: []string{"group zone-a: 1 nodes asked for did not appear within 16m0s"},
				}},
			},
		},
		"a node that never became ready goes and another group helps": {
			in: Input{Groups: []Group{withTarget(a, 1), b}, Nodes: []Node{unready(nodeIn(a, "a1"), 16*time.Minute)}, Pending: podsOf(1, "web", "1")},
			want: Decision{
				Adds: []Add{
					{Group: "zone-b", Count: 1, Target: 1, Pods: []types.NamespacedName{name("web-0")}, Reason: "pods that fit on no other node (1), first prod/web-0"},
				},
				Removals: []Removal{{
					Node: "a1", UID: "uid-a1", Group: "zone-a", Failed: true, Reason: "is not ready 16m0s after its creation (limit 15m0s)",
				}},
			},
		},
		"a node that was ready once is not replaced": {
			in: Input{
				Groups: []Group{withTarget(a, 1)}, Nodes: []Node{unready(nodeIn(a, "a1"), 16*time.Minute)},
				History: History{WasReady: map[types.UID]bool{"uid-a1": true}},
			},
			want: Decision{},
		},
		"a group below its minimum grows": {
			in:   Input{Groups: []Group{withMin(a, 2)}, Pending: podsOf(1, "web", "1")},
			want: Decision{Placed: 1, Adds: []Add{{Group: "zone-a", Count: 2, Target: 2, Reason: "0 nodes, minimum 2"}}},
		},
		"an empty node goes after its time": {
			in: Input{Groups: []Group{withTarget(a, 1)}, Nodes: []Node{nodeIn(a, "a1", daemon)}, History: emptyFor(10*time.Minute, a1)},
			want: Decision{Removals: []Removal{{
				Node: "a1", UID: "uid-a1", Group: "zone-a", Reason: "empty for 10m0s (limit 10m0s); group zone-a has 1 nodes, minimum 0",
				Utilization: Utilization{CPU: 0.025, Memory: 0.0625},
			}}},
		},
		"an empty node stays until its time": {
			in: Input{Groups: []Group{withTarget(a, 1)}, Nodes: []Node{a1}, History: emptyFor(10*time.Minute-time.Second, a1)},
		},
		"an empty node of no group stays": {
			in: Input{Groups: []Group{a}, Nodes: []Node{{Object: a1.Object}}, History: emptyFor(time.Hour, a1)},
		},
		"an empty node that a pod needs stays": {
			in:   Input{Groups: []Group{withTarget(a, 1)}, Nodes: []Node{a1}, Forecast: podsOf(1, "web", "1"), History: emptyFor(time.Hour, a1)},
			want: Decision{Placed: 1},
		},
		"an empty node stays where the group would fall below its minimum": {
			in:   Input{Groups: []Group{withMin(withTarget(a, 1), 1)}, Nodes: []Node{a1}, History: emptyFor(time.Hour, a1)},
			want: Decision{Kept: []Kept{{"a1", "group zone-a is at its minimum 1", "GroupMinimum"}}},
		},
		"an empty node stays soon after an add": {
			in: Input{
				Groups: []Group{withTarget(a, 1)}, Nodes: []Node{a1},
				History: History{UnneededSince: emptyFor(time.Hour, a1).UnneededSince, LastAdd: start.Add(-time.Minute)},
			},
			want: Decision{Kept: []Kept{{"a1", "nodes were added 1m0s ago (limit 10m0s)", "RecentAdd"}}},
		},
		"an empty node stays while its group grows": {
			in: Input{
				Groups: []Group{withTarget(a, 1)}, Nodes: []Node{a1}, History: emptyFor(time.Hour, a1),
				Pending: []*v1.Pod{podOf("web", "1").NodeSelector(map[string]string{v1.LabelHostname: "zone-a-new-0"}).Obj()},
			},
			want: Decision{
				Adds: []Add{{Group: "zone-a", Count: 1, Target: 2, Pods: []types.NamespacedName{name("web")}, Reason: "pods that fit on no other node (1), first prod/web"}},
				Kept: []Kept{{"a1", "group zone-a grows by 1", "GroupGrows"}},
			},
		},
		"of two nodes that reach a volume one stays": {
			in: Input{
				Groups:  []Group{{Name: "old", Target: 2, Template: template("elsewhere", "4")}},
				Nodes:   []Node{{Object: a2.Object, Group: "old"}, {Object: a1.Object, Group: "old"}},
				Volumes: []Volume{zoneVolume("prod/db-0", "a")}, History: emptyFor(time.Hour, a1, a2),
			},
			want: Decision{
				Removals: []Removal{{
					Node: "a1", UID: "uid-a1", Group: "old", Reason: "empty for 1h0m0s (limit 10m0s); group old has 2 nodes, minimum 0",
				}},
				Kept: []Kept{{"a2", "the last node that reaches the volume of prod/db-0, and no group can add another", "LastOfVolume"}},
			},
		},
		"the last node of a zone stays for a volume when no group can grow there": {
			in: Input{
				Groups: []Group{{Name: "old", Target: 1, Template: template("elsewhere", "4")}}, Nodes: []Node{{Object: a1.Object, Group: "old"}},
				Volumes: []Volume{zoneVolume("prod/db-1", "b"), zoneVolume("prod/db-0", "a")}, History: emptyFor(time.Hour, a1),
			},
			want: Decision{Kept: []Kept{{"a1", "the last node that reaches the volume of prod/db-0, and no group can add another", "LastOfVolume"}}},
		},
		"the last node of a zone goes when its group can grow there again": {
			in: Input{
				Groups: []Group{withTarget(a, 1)}, Nodes: []Node{a1},
				Volumes: []Volume{zoneVolume("prod/db-0", "a")}, History: emptyFor(time.Hour, a1),
			},
			want: Decision{Removals: []Removal{{
				Node: "a1", UID: "uid-a1", Group: "zone-a", Reason: "empty for 1h0m0s (limit 10m0s); group zone-a has 1 nodes, minimum 0",
			}}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tc.in.Now, tc.in.Config = start, Defaults()
			got := Decide(tc.in, newToy(tc.in))
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(Decision{}, "History"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecideStopsWhenManyNodesAreUnready(t *testing.T) {
	a := zoneGroup("a", 0, 20, 8)
	in := Input{Now: start, Config: Defaults(), Groups: []Group{a}, Pending: podsOf(100, "web", "1")}
	in.History.WasReady = map[types.UID]bool{}
	for i := range 8 {
		n := nodeIn(a, fmt.Sprintf("a%d", i))
		if i < 4 {
			n = unready(n, time.Hour)
			in.History.WasReady[n.Object.UID] = true
		}
		in.Nodes = append(in.Nodes, n)
	}
	got := Decide(in, newToy(in))
	if want := "4 of 8 nodes are unready, more than 45%"; got.Blocked != want || len(got.Adds)+len(got.Removals) > 0 {
		t.Errorf("got %+v, want only blocked by %q", got, want)
	}
	in.Nodes[0].Object.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}
	in.Nodes[0].Object.Spec.Taints = nil
	if got := Decide(in, newToy(in)); got.Blocked != "" || len(got.Adds) == 0 {
		t.Errorf("blocked by %q with 3 unready nodes, %d adds; want adds", got.Blocked, len(got.Adds))
	}
}

// An error of the simulation for one pod neither stops the adds for others
// nor lets anything be removed.
func TestDecideWithoutAnswer(t *testing.T) {
	a := zoneGroup("a", 0, 10, 1)
	a1 := nodeIn(a, "a1")
	in := Input{
		Now: start, Config: Defaults(), Groups: []Group{a}, Nodes: []Node{a1}, History: emptyFor(time.Hour, a1),
		Pending: []*v1.Pod{podOf("huge", "4").NodeSelector(map[string]string{v1.LabelHostname: "none"}).Obj(), inZone(podOf("poison", "5"), "a")},
	}
	sim := newToy(in)
	sim.fail = func(pod *v1.Pod) error {
		if pod.Name == "poison" {
			return errors.New("no answer")
		}
		return nil
	}
	got := Decide(in, sim)
	if got.Incomplete != "no answer" || len(got.Removals) != 0 || len(got.Adds) != 0 || len(got.Unhelped) != 1 {
		t.Errorf("got %+v, want one pod unhelped, none removed, incomplete", got)
	}
	if len(sim.saved) != 0 {
		t.Errorf("%d forks were not reverted", len(sim.saved))
	}
}
