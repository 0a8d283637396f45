// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"

	autoscaler "github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

// nodeStatus is what the autoscaler says of the groups a, b and c, with a change.
func nodeStatus(t *testing.T, change func(*status.Status, *status.Templates)) *v1.ConfigMap {
	t.Helper()
	at := func(before time.Duration) metav1.Time { return metav1.NewTime(now.Add(-before)) }
	group := func(name string, target, low, high, ready int) status.NodeGroup {
		g := status.NodeGroup{Name: name, Health: status.GroupHealth{CloudProviderTarget: target, MinSize: low, MaxSize: high}}
		g.Health.NodeCounts.Registered = status.Registered{Ready: ready, Total: ready}
		return g
	}
	s := status.Status{
		Time: now.Add(-12 * time.Second).Format("2006-01-02 15:04:05.999999999 -0700 MST"), AutoscalerStatus: status.Running,
		NodeGroups: []status.NodeGroup{group("a", 4, 0, 5, 1), group("b", 2, 0, 5, 2), group("c", 2, 1, 2, 2)},
		Berth: status.Berth{
			State: "acts",
			Unhelped: []status.Unhelped{{Pod: "prod/big", Groups: []string{"groups a, c: Insufficient memory", "group b: left alone"}},
				{Pod: "prod/db-7", Forecast: true, Groups: []string{"group c: maximum size 2 reached"}}},
			Kept:     []status.Kept{{Node: "c1", Group: "c", Reason: "the last node that reaches the volume of prod/db-2, and no group can add another"}},
			Unneeded: []status.Unneeded{{Node: "b1", Group: "b", Since: at(4 * time.Minute), Until: at(-6 * time.Minute)}, {Node: "b2", Group: "b", Since: at(time.Hour), Until: at(time.Minute)}},
			Draining: []status.Drain{{Node: "c2", Group: "c", Since: at(30 * time.Second), Step: "Wait", Reason: "pod prod/db-1 is being deleted", Pods: 1}},
		},
	}
	counts := &s.NodeGroups[0].Health.NodeCounts
	counts.Registered.NotStarted, counts.Unregistered = 1, 2
	s.NodeGroups[0].Berth.LastScaleUp = &status.Growth{Time: at(2 * time.Minute), From: 2, To: 4, Reason: "pods that fit on no other node (2), first prod/db-0"}
	s.NodeGroups[0].Berth.Priority, s.NodeGroups[0].Berth.PricePerHour = 7, ptr.To(0.25)
	s.NodeGroups[0].Berth.Options = status.Options{UtilizationThreshold: 0.5, UnneededTime: metav1.Duration{Duration: 10 * time.Minute},
		UnreadyTime: metav1.Duration{Duration: 20 * time.Minute}, MaxNodeProvisionTime: metav1.Duration{Duration: 15 * time.Minute}}
	s.NodeGroups[1].Berth = status.BerthGroup{Obstacle: "no machines of this kind", RetryAt: ptr.To(at(-3 * time.Minute))}
	s.NodeGroups[2].Berth.Obstacle = "maximum size 2 reached"
	templates := status.Templates{Groups: []status.Template{
		{Name: "a", Labels: map[string]string{"zone": "a", v1.LabelHostname: "x"}, Taints: []v1.Taint{{Key: "for", Value: "db", Effect: v1.TaintEffectNoSchedule}},
			Allocatable: v1.ResourceList{v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("16Gi")}, Nodes: []string{"a1", "a2", "gone"}},
		{Name: "b", Nodes: []string{"b1", "b2"}}, {Name: "c", Nodes: []string{"c1", "c2"}},
	}}
	if change != nil {
		change(&s, &templates)
	}
	data, err := status.Render(s, templates)
	if err != nil {
		t.Fatal(err)
	}
	return &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: autoscaler.Namespace, Name: autoscaler.StatusName}, Data: data}
}

func TestExplainNodeGroups(t *testing.T) {
	pods := func() []runtime.Object {
		asks := func(name, node string, phase v1.PodPhase) runtime.Object {
			return st.MakePod().Namespace("other").Name(name).Node(node).Phase(phase).Req(map[v1.ResourceName]string{v1.ResourceCPU: "1", v1.ResourceMemory: "2Gi"}).Obj()
		}
		return []runtime.Object{asks("x", "a1", v1.PodRunning), asks("y", "a1", v1.PodRunning), asks("over", "a1", v1.PodSucceeded), asks("z", "c2", v1.PodRunning)}
	}
	leave := func(s *status.Status, _ *status.Templates) {
		s.Berth.State, s.Berth.Reason = "stands_back", "the Lease kube-system/cluster-autoscaler is fresh"
		s.NodeGroups[0].Berth.Planned = &status.Growth{Time: metav1.NewTime(now.Add(-time.Minute)), From: 4, To: 5, Reason: "pods that fit on no other node (1), first prod/db-9"}
	}
	unread := func(s *status.Status, _ *status.Templates) {
		s.Berth.Unread = []status.Unread{{Group: "MachineDeployment/prod/typo", Reason: "there is no MachineDeployment prod/typo"}}
	}
	tests := map[string]struct {
		change func(*status.Status, *status.Templates)
		args   string
	}{
		"grows":          {nil, "node-group/a"},
		"yaml":           {nil, "node-group/a -o yaml"},
		"failed":         {nil, "node-group/b"},
		"at its maximum": {nil, "ng/c"},
		"planned":        {leave, "node-group/a"},
		"blocked": {func(s *status.Status, _ *status.Templates) {
			s.Berth.Blocked = "5 of 6 nodes are unready, more than 45%"
		}, "node-group/a"},
		"nobody leads":  {func(s *status.Status, _ *status.Templates) { s.Time = "2026-05-04 11:00:00 +0000 UTC" }, "node-group/a"},
		"provider down": {func(s *status.Status, _ *status.Templates) { s.Message = "refreshing node groups: no answer" }, "node-group/b"},
		"left out": {func(s *status.Status, t *status.Templates) {
			s.Berth.LeftOut.Unhelped, t.NodesLeftOut = 7, 3
			t.Groups = t.Groups[1:]
		}, "node-group/a"},
		"unread":         {unread, "node-group/MachineDeployment/prod/typo"},
		"one is unread":  {unread, "node-group/b"},
		"node":           {nil, "node/a1"},
		"node that goes": {nil, "node/c2"},
		"node of nobody": {func(_ *status.Status, t *status.Templates) { t.Groups = nil }, "node/a1"},
		"node json":      {nil, "node/b1 -o json"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			world := aged(threeZones(pods()...).add(nodeStatus(t, tc.change)))
			got, err := world.run(t, append([]string{"explain"}, strings.Fields(tc.args)...)...)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "explain nodes "+name, got)
		})
	}
	t.Run("node without a status", func(t *testing.T) {
		got, err := aged(threeZones(pods()...)).run(t, "explain", "node/a1")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "explain nodes without a status", got)
	})
}

func TestErrorsAboutNodeGroups(t *testing.T) {
	const none = "there is no ConfigMap berth-system/berth-autoscaler-status: berth-autoscaler writes it, while it leads and nodes.provider is set"
	broken := nodeStatus(t, nil)
	broken.Data[status.Key] = "{"
	for name, tc := range map[string]struct {
		world *world
		args  string
		want  string
	}{
		"no status":        {threeZones(), "node-group/a", none},
		"a group mistyped": {threeZones(nodeStatus(t, nil)), "node-group/d", `node group "d" not found: berth-autoscaler has a, b, c`},
		"a node mistyped":  {threeZones(nodeStatus(t, nil)), "node/a3", `node "a3" not found: the cluster has a1, a2, b1, b2, c1, and 1 more`},
		"no right":         {threeZones(nodeStatus(t, nil)).but(forbidden("configmaps", autoscaler.Namespace)), "node-group/a", "reading ConfigMap berth-system/berth-autoscaler-status: configmaps"},
		"not readable":     {threeZones(broken), "node-group/a", "reading ConfigMap berth-system/berth-autoscaler-status: status: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tc.world.run(t, "explain", tc.args)
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// A node that was asked for and is young takes the time that it has; another one that is not ready does not.
func TestFateOfANodeThatIsNotReady(t *testing.T) {
	for name, tc := range map[string]struct {
		age    time.Duration
		change func(*status.NodeGroup)
		want   string
	}{
		"starts":            {20 * time.Second, nil, "is starting, for 20s of at most 15m"},
		"of no known limit": {20 * time.Second, func(g *status.NodeGroup) { g.Berth.Options = status.Options{} }, "is starting, for 20s"},
		"too late":          {16 * time.Minute, nil, "stays for a while: it is not ready"},
		"has been ready":    {20 * time.Second, func(g *status.NodeGroup) { g.Health.NodeCounts.Registered.NotStarted = 0 }, "stays for a while: it is not ready"},
	} {
		t.Run(name, func(t *testing.T) {
			young := node("a9", "a").Obj()
			young.CreationTimestamp, young.Status.Conditions = metav1.NewTime(now.Add(-tc.age)), nil
			known := nodeStatus(t, func(s *status.Status, templates *status.Templates) {
				templates.Groups[0].Nodes = []string{"a9"}
				if tc.change != nil {
					tc.change(&s.NodeGroups[0])
				}
			})
			got, err := zones(young, known).run(t, "explain", "node/a9")
			if want := "Becomes of it:  " + tc.want + "\n"; err != nil || !strings.Contains(got, want) {
				t.Errorf("error %v, want %q in:\n%s", err, want, got)
			}
		})
	}
}

// Shares are rounded as in what the autoscaler says, and what passes the node is said to.
func TestSharesOfANode(t *testing.T) {
	for cpu, want := range map[string][]string{
		"3499m": {"87% of its cpu"},
		"3500m": {"88% of its cpu"},
		"4":     {"100% of its cpu"},
		"5":     {"125% of its cpu", "Note:           over-committed: its pods ask for more than it has, as another scheduler may bind pods there"},
	} {
		world := zones(asking(other("big", "b2"), cpu, "1Gi").Obj(), nodeStatus(t, nil))
		got, err := world.run(t, "explain", "node/b2")
		of, err2 := world.run(t, "explain", "node-group/b")
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		for _, text := range want {
			if !strings.Contains(got, text) {
				t.Errorf("%s: want %q in:\n%s", cpu, text, got)
			}
		}
		over := len(want) > 1
		if strings.Contains(got, "over-committed") != over || strings.Contains(of, "over-committed: b2; pods ask for more than there is") != over {
			t.Errorf("%s: over-committed is not %t in:\n%s\n%s", cpu, over, got, of)
		}
	}
}

// aged is the world with nodes that are a day old.
func aged(w *world) *world {
	for _, object := range w.objects {
		if node, ok := object.(*v1.Node); ok {
			node.CreationTimestamp = metav1.NewTime(now.Add(-24 * time.Hour))
		}
	}
	return w
}

func TestRefusalBy(t *testing.T) {
	known := []string{"a", "b", "c", "z", "MachineDeployment/prod/b", "b: odd, and", "b, c"}
	reasons := []string{"group a: too small", "groups b, c and 3 more: full", "no sentence of a group", "group MachineDeployment/prod/b: gone", "group b: odd, and: odd"}
	for group, want := range map[string]string{"a": "too small", "c": "full", "z": "full", "MachineDeployment/prod/b": "gone", "b: odd, and": "odd", "b, c": "full"} {
		if got, ok := refusalBy(group, known, reasons); got != want || !ok {
			t.Errorf("group %s: %q (%t), want %q", group, got, ok, want)
		}
	}
	if got, ok := refusalBy("z", known, reasons[:1]); ok {
		t.Errorf("group z: %q, want nothing", got)
	}
}

// A group is called what its provider calls it.
func TestExplainNodeGroupOfAnyName(t *testing.T) {
	for _, name := range []string{"MachineDeployment/prod/workers-a", "a b: ü, c/", "/"} {
		called := func(s *status.Status, templates *status.Templates) {
			s.NodeGroups[2].Name, templates.Groups[2].Name = name, name
			s.Berth.Unhelped[1].Groups = []string{"group " + name + ": full"}
		}
		for _, args := range [][]string{{"node-group/" + name}, {"ng", name}} {
			got, err := threeZones(nodeStatus(t, called)).run(t, append([]string{"explain"}, args...)...)
			if err != nil {
				t.Errorf("explain %q: %v", args, err)
				continue
			}
			for _, want := range []string{" " + name + ", target 2", "prod/db-7 (to come)   full"} {
				if !strings.Contains(got, want) {
					t.Errorf("explain %q does not say %q:\n%s", args, want, got)
				}
			}
		}
	}
}

// What node groups do for a pod that waits is told where the autoscaler says so to this person.
func TestExplainOfAPodAsksNodeGroups(t *testing.T) {
	waiting := func(more ...runtime.Object) *world {
		return threeZones(append(more, set("db", 8), running("db", 0, "a1").Obj(), pod("db", 1).Obj())...)
	}
	asked := failed("db-1", "uid-db-1", "node group a grows from 2 to 4: pods that fit on no other node (2), first prod/db-0", now.Add(-2*time.Minute).Unix())
	asked.Reason = triggeredScaleUp
	refused := func(s *status.Status, _ *status.Templates) {
		s.Berth.Unhelped = append(s.Berth.Unhelped, status.Unhelped{Pod: "prod/db-1", Groups: []string{"groups a, c: Insufficient memory", "group b: left alone"}})
	}
	stale := func(s *status.Status, templates *status.Templates) {
		refused(s, templates)
		s.Time = "2026-05-04 11:00:00 +0000 UTC"
	}
	for name, tc := range map[string]struct {
		world *world
		pod   string
		want  string // after "Node groups:", up to the end
	}{
		"none can help":      {waiting(asked, nodeStatus(t, refused)), "db-1", "none can help\n groups a, c: Insufficient memory\n group b: left alone"},
		"to come":            {waiting(nodeStatus(t, nil)), "db-7", "none can help\n group c: maximum size 2 reached\nNote: there is no such pod yet: its set makes it once every lower ordinal is ready (podManagementPolicy OrderedReady)"},
		"a status of before": {waiting(nodeStatus(t, stale)), "db-1", "none can help\n groups a, c: Insufficient memory\n group b: left alone\nNote: the status is 60m old: berth-autoscaler does not run, or cannot write it"},
		"a node comes":       {waiting(asked, nodeStatus(t, nil)), "db-1", "asked for a node 2m ago: node group a grows from 2 to 4: pods that fit on no other node (2), first prod/db-0"},
		"nothing is known":   {waiting(nodeStatus(t, nil)), "db-1", ""},
		"it has a node":      {waiting(nodeStatus(t, func(s *status.Status, _ *status.Templates) { s.Berth.Unhelped[0].Pod = "prod/db-0" })), "db-0", ""},
		"no status":          {waiting(asked), "db-1", ""},
		"no right":           {waiting(asked, nodeStatus(t, refused)).but(forbidden("configmaps", autoscaler.Namespace)), "db-1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tc.world.run(t, "explain", "pod/"+tc.pod)
			if err != nil {
				t.Fatal(err)
			}
			_, after, _ := strings.Cut(got, "Node groups:")
			var lines []string
			for line := range strings.Lines(after) {
				indent := ""
				if strings.HasPrefix(line, " ") && len(lines) > 0 {
					indent = " "
				}
				lines = append(lines, indent+strings.Join(strings.Fields(line), " "))
			}
			if diff := cmp.Diff(tc.want, strings.Join(lines, "\n")); diff != "" {
				t.Errorf("node groups (-want +got):\n%s\nof:\n%s", diff, got)
			}
		})
	}
}
