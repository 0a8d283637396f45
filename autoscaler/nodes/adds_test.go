// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// grown returns by how many nodes each group grows.
func grown(d Decision) map[string]int {
	counts := map[string]int{}
	for _, add := range d.Adds {
		counts[add.Group] = add.Count
	}
	return counts
}

func TestExpanders(t *testing.T) {
	big := Group{Name: "big", Max: 9, Template: template("a", "16"), Priority: 1, PricePerHour: 1, PriceKnown: true}
	mid := Group{Name: "mid", Max: 9, Template: template("a", "5"), Priority: 2, PricePerHour: 0.5, PriceKnown: true}
	small := Group{Name: "small", Max: 9, Template: template("a", "2"), Priority: 2}
	free := Group{Name: "free", Max: 9, Template: template("a", "5"), Priority: -1}
	four := podsOf(4, "web", "1")
	for name, tc := range map[string]struct {
		expanders []Expander
		groups    []Group
		pods      []*v1.Pod
		want      map[string]int
	}{
		"least waste by default":                  {groups: []Group{big, mid, small}, pods: four, want: map[string]int{"small": 2}},
		"most pods":                               {expanders: []Expander{MostPods}, groups: []Group{big, mid, small}, pods: podsOf(8, "web", "1"), want: map[string]int{"big": 1}},
		"least nodes":                             {expanders: []Expander{LeastNodes}, groups: []Group{mid, small}, pods: podsOf(9, "web", "1"), want: map[string]int{"mid": 2}},
		"priority, then waste":                    {expanders: []Expander{Priority, LeastWaste}, groups: []Group{big, mid, small}, pods: four, want: map[string]int{"small": 2}},
		"priority before waste":                   {expanders: []Expander{Priority, LeastWaste}, groups: []Group{big, free}, pods: podsOf(5, "web", "1"), want: map[string]int{"big": 1}},
		"priority, then price":                    {expanders: []Expander{Priority, Price}, groups: []Group{big, mid, small}, pods: four, want: map[string]int{"mid": 1}},
		"a lower priority where the higher fails": {expanders: []Expander{Priority}, groups: []Group{big, mid, small}, pods: podsOf(1, "web", "9"), want: map[string]int{"big": 1}},
		"price of what is used":                   {expanders: []Expander{Price}, groups: []Group{big, mid}, pods: podsOf(15, "web", "1"), want: map[string]int{"big": 1}},
		"price for few":                           {expanders: []Expander{Price}, groups: []Group{big, mid}, pods: four, want: map[string]int{"mid": 1}},
		"an unknown price is the last":            {expanders: []Expander{Price}, groups: []Group{free, big}, pods: podsOf(1, "web", "1"), want: map[string]int{"big": 1}},
		"the unknown among themselves by name":    {expanders: []Expander{Price}, groups: []Group{small, free}, pods: podsOf(1, "web", "1"), want: map[string]int{"free": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Now: start, Config: Defaults(), Groups: tc.groups, Pending: tc.pods}
			in.Config.Expanders = tc.expanders
			if diff := cmp.Diff(tc.want, grown(Decide(in, newToy(in)))); diff != "" {
				t.Errorf("nodes by group (-want +got):\n%s", diff)
			}
		})
	}
}

// Random is a value of the input: the same seed draws the same group, and every group is drawn by some seed.
func TestRandomIsSeeded(t *testing.T) {
	in := Input{Now: start, Config: Defaults(), Pending: podsOf(1, "web", "1")}
	in.Config.Expanders = []Expander{Random}
	for i := range 4 {
		in.Groups = append(in.Groups, Group{Name: fmt.Sprintf("g%d", i), Max: 9, Template: template("a", "4")})
	}
	drawn := map[string]bool{}
	for seed := range uint64(64) {
		in.Seed = seed
		first := Decide(in, newToy(in))
		if diff := cmp.Diff(first, Decide(in, newToy(in))); diff != "" {
			t.Fatalf("seed %d decides twice (-first +second):\n%s", seed, diff)
		}
		drawn[first.Adds[0].Group] = true
	}
	if len(drawn) != 4 {
		t.Errorf("drawn %v, want each of four groups", drawn)
	}
}

// Zones of one machine type share the nodes, though their allocatable differs a
// little; another type does not, and what is pinned to a zone goes there.
func TestBalance(t *testing.T) {
	var in Input
	for i, zone := range []string{"a", "b", "c"} {
		g := zoneGroup(zone, 0, 20, i)
		g.Template.Labels["pool"] = g.Name
		g.Template.Status.Allocatable[v1.ResourceMemory] = st.MakeNode().Capacity(map[v1.ResourceName]string{v1.ResourceMemory: fmt.Sprintf("%dMi", 16384-100*i)}).Obj().Status.Allocatable[v1.ResourceMemory]
		in.Groups = append(in.Groups, g)
		for j := range i {
			in.Nodes = append(in.Nodes, nodeIn(g, fmt.Sprintf("%s%d", zone, j), podOf("full", "4").Node("x").Obj()))
		}
	}
	other := zoneGroup("d", 0, 20, 0)
	other.Template.Labels["disk"] = "ssd"
	in.Groups = append(in.Groups, other)
	in.Now, in.Config, in.Pending = start, Defaults(), podsOf(9, "db", "3")
	if got := grown(Decide(in, newToy(in))); len(got) != 1 {
		t.Errorf("unbalanced: %v, want the one that wastes least", got)
	}
	in.Config.BalanceSimilarGroups = true
	if diff := cmp.Diff(map[string]int{"zone-a": 4, "zone-b": 3, "zone-c": 2}, grown(Decide(in, newToy(in)))); diff != "" {
		t.Errorf("nodes by group (-want +got):\n%s", diff)
	}
	for i := range in.Pending {
		in.Pending[i] = inZone(podOf(fmt.Sprintf("db-%d", i), "3"), "c")
	}
	if diff := cmp.Diff(map[string]int{"zone-c": 9}, grown(Decide(in, newToy(in)))); diff != "" {
		t.Errorf("nodes for pods of zone c (-want +got):\n%s", diff)
	}
}

// What is in the way of an add is said with its figures.
func TestObstacles(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(in *Input)
		grown  int
		want   string
	}{
		"nothing":                    {func(*Input) {}, 3, ""},
		"nodes of the whole":         {func(in *Input) { in.Config.MaxNodesTotal = 3 }, 1, "the cluster has 3 nodes, limit 3"},
		"cores of the whole":         {func(in *Input) { in.Config.MaxCores = 15 }, 1, "the cluster has 12 cores and would have 16, limit 15"},
		"memory of the whole":        {func(in *Input) { in.Config.MaxMemory = 48 << 30 }, 1, "the cluster has 48Gi of memory and would have 64Gi, limit 48Gi"},
		"less than none":             {func(in *Input) { in.Groups[0].Target = -3 }, 0, "its provider says that it has -3 nodes"},
		"a maximum too low":          {func(in *Input) { in.Groups[0].Min, in.Groups[0].Max = 7, 5 }, 0, "its maximum 5 is below its minimum 7"},
		"more nodes than the target": {func(in *Input) { in.Groups[0].Target, in.Groups[0].Max = 0, 2 }, 0, "maximum size 2 reached"},
		"a provider that never counts": {func(in *Input) {
			in.History.Asked = map[string]Asked{"zone-a": {Target: 4, At: start.Add(-time.Minute)}}
		}, 0, "4 nodes were asked for 1m0s ago, and its provider says 2"},
		"a provider that never counted": {func(in *Input) { in.History.Asked = map[string]Asked{"zone-a": {Target: 4, At: start.Add(-time.Hour)}} }, 0, "4 nodes were asked for 1h0m0s ago, and its provider says 2"},
	} {
		t.Run(name, func(t *testing.T) {
			a := zoneGroup("a", 0, 10, 2)
			in := Input{Now: start, Config: Defaults(), Groups: []Group{a}, Pending: podsOf(3, "web", "4")}
			for i := range 2 {
				in.Nodes = append(in.Nodes, nodeIn(a, fmt.Sprintf("a%d", i), podOf("full", "4").Obj()))
			}
			tc.change(&in)
			d := Decide(in, newToy(in))
			if got := grown(d)["zone-a"]; got != tc.grown {
				t.Errorf("%d nodes added, want %d", got, tc.grown)
			}
			if want := 3 - tc.grown; len(d.Unhelped) != want {
				t.Fatalf("%d pods unhelped, want %d", len(d.Unhelped), want)
			}
			for _, unhelped := range d.Unhelped {
				if diff := cmp.Diff([]string{"group zone-a: " + tc.want}, unhelped.Groups); diff != "" {
					t.Errorf("reasons (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// A provider that takes every wish and counts none is asked once, and again
// only after its back-off.
func TestNoRunawayGrowth(t *testing.T) {
	in := Input{Now: start, Config: Defaults(), Groups: []Group{zoneGroup("a", 0, 100, 0)}, Pending: podsOf(1, "web", "1")}
	asked := 0
	for range 4 * 60 {
		d := Decide(in, newToy(in))
		asked += grown(d)["zone-a"]
		in.Now, in.History = in.Now.Add(15*time.Second), d.History
	}
	if asked != 3 {
		t.Errorf("%d nodes asked for in an hour, want 3: one each time it may be tried", asked)
	}
}

// Nodes that do not come are given up, and others help in the same call.
func TestForgo(t *testing.T) {
	b := zoneGroup("b", 0, 10, 0)
	for name, tc := range map[string]struct {
		change func(g *Group, h *History)
		want   []Forgo
		added  map[string]int
	}{
		"on their way": {func(_ *Group, h *History) { h.MissingSince = missing(time.Minute, time.Minute) }, nil, map[string]int{}},
		"one of two is late": {
			func(_ *Group, h *History) { h.MissingSince = missing(16*time.Minute, time.Minute) },
			[]Forgo{{"zone-a", 1, "1 nodes asked for did not appear within 16m0s"}}, map[string]int{"zone-b": 1},
		},
		"late by the group's own limit": {
			func(g *Group, h *History) {
				g.Options.MaxNodeProvisionTime, h.MissingSince = 30*time.Second, missing(time.Minute, time.Minute)
			},
			[]Forgo{{"zone-a", 2, "2 nodes asked for did not appear within 1m0s"}}, map[string]int{"zone-b": 2},
		},
		"their machines failed": {
			func(g *Group, _ *History) { g.Failing = []Failing{{1, "quota"}, {7, "stock"}} },
			[]Forgo{{"zone-a", 1, "1 machines failed: quota"}, {"zone-a", 1, "7 machines failed: stock"}}, map[string]int{"zone-b": 2},
		},
		"the oldest came": {
			func(_ *Group, h *History) { h.MissingSince = missing(16*time.Minute, 15*time.Minute, time.Minute) }, nil, map[string]int{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := zoneGroup("a", 0, 10, 2)
			in := Input{Now: start, Config: Defaults(), Pending: podsOf(2, "web", "3")}
			tc.change(&a, &in.History)
			in.Groups = []Group{a, b}
			d := Decide(in, newToy(in))
			if diff := cmp.Diff(tc.want, d.Forgo); diff != "" {
				t.Errorf("forgone (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.added, grown(d)); diff != "" {
				t.Errorf("added (-want +got):\n%s", diff)
			}
			if _, failed := d.History.Backoff["zone-a"]; failed != (len(tc.want) > 0) {
				t.Errorf("left alone: %t, want %t", failed, !failed)
			}
		})
	}
}

func missing(ago ...time.Duration) map[string][]time.Time {
	since := map[string][]time.Time{}
	for _, d := range ago {
		since["zone-a"] = append(since["zone-a"], start.Add(-d))
	}
	return since
}

// A startup taint is no obstacle on a template, and until it goes its node is
// on its way.
func TestStartupTaints(t *testing.T) {
	for _, key := range []string{"agent/not-ready", "startup-taint.cluster-autoscaler.kubernetes.io/x", "ignore-taint.cluster-autoscaler.kubernetes.io/x"} {
		a := zoneGroup("a", 0, 10, 1)
		a.Template.Spec.Taints = []v1.Taint{{Key: key, Effect: v1.TaintEffectNoSchedule}}
		n := nodeIn(a, "a1")
		n.Object.CreationTimestamp.Time = start.Add(-time.Minute)
		in := Input{Now: start, Config: Defaults(), Groups: []Group{a}, Nodes: []Node{n}, Pending: podsOf(2, "web", "3")}
		in.Config.StartupTaints = []string{"agent/not-ready"}
		d := Decide(in, newToy(in))
		if d.Upcoming != 1 || d.Placed != 1 || grown(d)["zone-a"] != 1 {
			t.Errorf("%s: %+v, want a node on its way with one pod, and another node", key, d)
		}
		for _, upcoming := range Upcoming(in) {
			if len(upcoming.Spec.Taints) > 0 {
				t.Errorf("%s: still on %s", key, upcoming.Name)
			}
		}
		if len(a.Template.Spec.Taints) != 1 || len(n.Object.Spec.Taints) != 1 {
			t.Errorf("%s: the input changed", key)
		}
	}
}

// The node that a pod is nominated to is not empty, and the pod needs no other.
func TestNominated(t *testing.T) {
	a := zoneGroup("a", 0, 10, 1)
	n := nodeIn(a, "a1")
	in := Input{Now: start, Config: Defaults(), Groups: []Group{a}, Nodes: []Node{n}, History: emptyFor(time.Hour, n)}
	in.Pending = []*v1.Pod{podOf("web", "1").NominatedNodeName("a1").Obj()}
	if d := Decide(in, newToy(in)); len(d.Adds)+len(d.Removals) > 0 {
		t.Errorf("got %+v, want nothing added nor removed", d)
	}
	// The scheduler may not have heard yet that this one is about to go.
	in.Nodes[0] = marked(n)
	if d := Decide(in, newToy(in)); len(d.Adds) != 1 && len(d.Recalls) != 1 {
		t.Errorf("got %+v, want another node, or that one kept", d)
	}
}

// Equal pods are asked about once where they are refused; those with a place of
// their own each.
func TestQuestions(t *testing.T) {
	in := Input{Now: start, Config: Defaults(), Groups: []Group{zoneGroup("a", 0, 10, 0)}, Pending: podsOf(500, "web", "9")}
	ask := func() (int, int) {
		sim := newToy(in)
		d := Decide(in, sim)
		return sim.asked, len(d.Unhelped)
	}
	if asked, unhelped := ask(); asked > 5 || unhelped != 500 {
		t.Errorf("%d questions for 500 equal pods, %d unhelped", asked, unhelped)
	}
	in.Pending = nil
	for i := range 500 {
		in.Pending = append(in.Pending, podOf(fmt.Sprintf("db-%d", i), "9").OwnerReference("db", appsv1.SchemeGroupVersion.WithKind("StatefulSet")).Obj())
	}
	if asked, unhelped := ask(); asked < 500 || unhelped != 500 {
		t.Errorf("%d questions for 500 slots of a set, %d unhelped", asked, unhelped)
	}
	in.Pending, in.Slots = podsOf(500, "web", "9"), map[types.NamespacedName]bool{}
	for _, pod := range in.Pending {
		in.Slots[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = true
	}
	if asked, unhelped := ask(); asked < 500 || unhelped != 500 {
		t.Errorf("%d questions for 500 slots, %d unhelped", asked, unhelped)
	}
}

// Many groups that say the same are counted, with the most that one has.
func TestReasonsOfManyGroups(t *testing.T) {
	in := Input{Now: start, Config: Defaults(), Pending: podsOf(1, "web", "40")}
	for i := range 8 {
		in.Groups = append(in.Groups, Group{Name: fmt.Sprintf("g%d", i), Max: 1, Template: template("a", fmt.Sprint(1+i))})
	}
	want := []string{"groups g0, g1, g2, g3, g4 and 3 more: 1 Insufficient cpu (needs 40, a new node has at most 8 free)"}
	if got := Decide(in, newToy(in)).Unhelped[0].Groups; !slices.Equal(got, want) {
		t.Errorf("reasons %q, want %q", got, want)
	}
}

// A group's own limits are those of its nodes.
func TestOptions(t *testing.T) {
	for name, tc := range map[string]struct {
		own  Options
		pods []*v1.Pod
		want int
	}{
		"none":                     {Options{}, nil, 1},
		"unneeded for longer":      {Options{UnneededTime: time.Hour}, nil, 0},
		"a higher share is little": {Options{UtilizationThreshold: 0.9}, []*v1.Pod{podOf("web", "3").Node("a1").Obj()}, 0}, // the pod has no place elsewhere
	} {
		t.Run(name, func(t *testing.T) {
			a := zoneGroup("a", 0, 10, 1)
			a.Options = tc.own
			n := nodeIn(a, "a1", tc.pods...)
			in := Input{Now: start, Config: Defaults(), Groups: []Group{a}, Nodes: []Node{n}, History: emptyFor(11*time.Minute, n)}
			d := Decide(in, newToy(in))
			if len(d.Removals) != tc.want {
				t.Errorf("%d nodes go, want %d", len(d.Removals), tc.want)
			}
			if _, under := d.History.UnneededSince[n.Object.UID]; !under && name != "none" {
				t.Error("the node is not seen as under-used")
			}
		})
	}
}

// Nodes on their way out still count until they are gone: for the target that
// is told, for the maximum and for what a provider has counted.
func TestAddBesideDraining(t *testing.T) {
	a := zoneGroup("a", 0, 5, 3)
	in := Input{Now: start, Config: Defaults(), Groups: []Group{a}, Pending: podsOf(4, "web", "4")}
	in.Nodes = []Node{nodeIn(a, "a1", podOf("full-1", "4").Node("a1").Obj())}
	for _, name := range []string{"a2", "a3"} {
		in.Nodes = append(in.Nodes, marked(nodeIn(a, name, podOf("on-"+name, "1").Node(name).Obj())))
	}
	for target, want := range map[int]int{3: 2, 0: 2, 4: 1} { // 0 is a lie
		in.Groups[0].Target = target
		d := Decide(in, newToy(in))
		if len(d.Adds) != 1 || d.Adds[0].Count != want || d.Adds[0].Target != target+want {
			t.Errorf("of target %d: adds %+v, want %d nodes", target, d.Adds, want)
		}
		in.History.Asked = d.History.Asked
		if target > 0 && obstacleOf(in) == "" {
			t.Error("the group may be asked again before its provider has counted")
		}
		in.Groups[0].Target = target + want - 2 // the two are gone
		in.History = in.History.Deleted("zone-a").Deleted("zone-a")
		gone := in
		gone.Nodes = in.Nodes[:1]
		if target == 3 && obstacleOf(gone) != "" {
			t.Errorf("the group is left alone: %s", obstacleOf(gone))
		}
		in.History.Asked = nil
	}
}

// obstacleOf is the obstacle of the first group.
func obstacleOf(in Input) string {
	planner := newPlanner(in, nil)
	return planner.obstacle(planner.groups[0])
}
