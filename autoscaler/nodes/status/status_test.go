// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/nodes"
)

var now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func node(group, name string, change ...func(*v1.Node)) nodes.Node {
	n := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))}}
	n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}
	for _, do := range change {
		do(n)
	}
	return nodes.Node{Object: n, Group: group}
}

func young(n *v1.Node) {
	n.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute))
	n.Status.Conditions = nil
}

func unready(n *v1.Node) {
	n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionFalse, LastTransitionTime: metav1.NewTime(now)}}
}

func tainted(n *v1.Node) { n.Spec.Taints = []v1.Taint{{Key: nodes.ToBeDeletedTaint}} }

// cluster has a group that grows, one that failed, one at its maximum, and a node of nobody.
func cluster() Input {
	in := nodes.Input{
		Now: now, Config: nodes.Defaults(),
		Groups: []nodes.Group{
			{Name: "a", Max: 5, Target: 2, Template: &v1.Node{}, Priority: 7, PricePerHour: 0.25, PriceKnown: true, Options: nodes.Options{UnneededTime: time.Minute}},
			{Name: "b", Max: 5, Target: 1, Template: &v1.Node{}},
			{Name: "c", Min: 1, Max: 2, Target: 2, Template: &v1.Node{}},
		},
		Nodes: []nodes.Node{node("a", "a-1"), node("a", "a-2", young), node("c", "c-1"), node("c", "c-2", unready), node("c", "c-3", tainted), node("", "own")},
		Pending: []*v1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db-0"}},
			{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "gated"}, Spec: v1.PodSpec{SchedulingGates: []v1.PodSchedulingGate{{Name: "x"}}}}},
		Forecast: []*v1.Pod{{}},
		History: nodes.History{
			UnneededSince: map[types.UID]time.Time{"c-1": now.Add(-4 * time.Minute)},
			LastAdd:       now.Add(-time.Minute),
			MissingSince:  map[string][]time.Time{"b": {now.Add(-16 * time.Minute)}},
			Backoff:       map[string]nodes.Backoff{"b": {Until: now.Add(3 * time.Minute), For: 5 * time.Minute, Reason: "1 nodes asked for did not appear within 15m1s"}},
		},
	}
	add := nodes.Add{Group: "a", Count: 2, Target: 4, Reason: "pods that fit on no other node (2), first prod/db-0"}
	return Input{
		Before: in,
		Decision: nodes.Decision{
			Adds:     []nodes.Add{add},
			Unhelped: []nodes.Unhelped{{Pod: types.NamespacedName{Namespace: "prod", Name: "big"}, Present: []string{"4 Insufficient memory"}, Groups: []string{"groups a, c: Insufficient memory", "group b: left alone for another 3m0s: no machines"}}},
			Kept:     []nodes.Kept{{Node: "c-1", Reason: "nodes were added 1m0s ago (limit 10m0s)"}},
		},
		State: "acts", Grown: []nodes.Add{add},
		Drains: []Drain{{Node: "c-3", Group: "c", Since: metav1.NewTime(now.Add(-30 * time.Second)), Step: "Wait", Reason: "pod prod/db-1 is being deleted", Pods: 1}},
	}
}

// golden compares a text with a file, which is written when the environment says BERTH_GOLDEN=write.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("BERTH_GOLDEN") == "write" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestRendered(t *testing.T) {
	template := TemplateOf("a", &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "template", Labels: map[string]string{"zone": "a"}, Annotations: map[string]string{"left": "out"}},
		Status:     v1.NodeStatus{Allocatable: v1.ResourceList{v1.ResourceCPU: resource.MustParse("4")}},
	})
	template.Nodes, template.Drivers = []string{"a-1", "a-2"}, map[string]int32{"zonal.csi": 8}
	template.Storage = map[string]resource.Quantity{"local": resource.MustParse("100Gi")}
	data, err := Render(Of(cluster()), Templates{Groups: []Template{template}})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "status.yaml", data[Key])
	golden(t, "templates.json", data[TemplatesKey]+"\n")
}

// While nothing can be decided, what Berth does and which groups it is about are of now.
func TestFailed(t *testing.T) {
	last := Of(cluster())
	last.Berth.State, last.Berth.Reason = "stands_back", "the Lease is fresh"
	got := Failed(last, now.Add(time.Minute), "no answer", "acts", "", func(group string) bool { return group != "b" })
	var groups []string
	for _, g := range got.NodeGroups {
		groups = append(groups, g.Name)
	}
	if diff := cmp.Diff([]string{"a", "c"}, groups); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	if got.Message != "no answer" || got.Berth.State != "acts" || got.Berth.Reason != "" || len(got.Berth.Unhelped) != 1 || len(last.NodeGroups) != 3 {
		t.Errorf("got %+v", got)
	}
}

// Whoever reads Cluster Autoscaler's status by its fields finds them.
func TestFieldsOfClusterAutoscaler(t *testing.T) {
	data, err := Render(Of(cluster()), Templates{})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"time", "autoscalerStatus", "clusterWide", "nodeGroups", "health", "scaleUp", "scaleDown", "status", "lastProbeTime", "lastTransitionTime",
		"nodeCounts", "registered", "total", "ready", "notStarted", "beingDeleted", "unready", "resourceUnready", "longUnregistered", "unregistered",
		"cloudProviderTarget", "minSize", "maxSize", "backoffInfo", "errorCode", "errorMessage", "candidates", "name"} {
		if !strings.Contains(data[Key], field+":") {
			t.Errorf("no field %s", field)
		}
	}
}

func TestStatuses(t *testing.T) {
	type statuses struct{ health, up, down, groupHealth, groupUp string }
	tests := map[string]struct {
		change func(*Input)
		want   statuses // the last two are those of group c
	}{
		"nodes on their way": {func(*Input) {}, statuses{Healthy, InProgress, CandidatesPresent, Healthy, NoActivity}},
		"nothing to do": {func(in *Input) {
			in.Before.Nodes, in.Before.Groups, in.Grown, in.Decision.Adds = in.Before.Nodes[2:3], in.Before.Groups[2:], nil, nil
			in.Before.Groups[0].Target, in.Before.History.UnneededSince = 1, nil
		}, statuses{Healthy, NoActivity, NoCandidates, Healthy, NoActivity}},
		"planned only": {func(in *Input) {
			in.Before.Nodes, in.Before.Groups, in.Grown = in.Before.Nodes[2:3], in.Before.Groups[2:], nil
			in.Before.Groups[0].Target, in.Decision.Adds[0].Group = 1, "c"
		}, statuses{Healthy, Needed, CandidatesPresent, Healthy, Needed}},
		"blocked": {func(in *Input) { in.Decision.Blocked = "3 of 4 nodes are unready" }, statuses{Unhealthy, InProgress, CandidatesPresent, Healthy, NoActivity}},
		"a group of dead nodes": {func(in *Input) {
			for i := range 5 {
				in.Before.Nodes = append(in.Before.Nodes, node("c", fmt.Sprintf("dead-%d", i), unready))
			}
		}, statuses{Healthy, InProgress, CandidatesPresent, Unhealthy, NoActivity}},
		"a group that failed": {func(in *Input) {
			in.Before.History.Backoff["c"] = nodes.Backoff{Until: now.Add(time.Second), Reason: "no machines"}
		}, statuses{Healthy, InProgress, CandidatesPresent, Healthy, Backoff}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			in := cluster()
			tc.change(&in)
			s := Of(in)
			c := s.NodeGroups[len(s.NodeGroups)-1]
			got := statuses{s.ClusterWide.Health.Status, s.ClusterWide.ScaleUp.Status, s.ClusterWide.ScaleDown.Status, c.Health.Status, c.ScaleUp.Status}
			if got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestTransitions(t *testing.T) {
	in := cluster()
	first := Of(in)
	in.Last, in.Before.Now = first, now.Add(time.Minute)
	second := Of(in)
	if got := second.ClusterWide.Health.LastTransitionTime; !got.Time.Equal(now) {
		t.Errorf("health changed at %s, want %s", got, now)
	}
	if got := second.ClusterWide.Health.LastProbeTime; !got.Time.Equal(in.Before.Now) {
		t.Errorf("looked at %s, want %s", got, in.Before.Now)
	}
	in.Last, in.Before.Now, in.Decision.Blocked, in.Grown = second, now.Add(2*time.Minute), "3 of 4 nodes are unready", nil
	third := Of(in)
	if got := third.ClusterWide.Health.LastTransitionTime; !got.Time.Equal(in.Before.Now) {
		t.Errorf("health changed at %s, want %s", got, in.Before.Now)
	}
	if got := third.NodeGroups[0].Berth.LastScaleUp; got == nil || !got.Time.Time.Equal(now.Add(time.Minute)) || got.To != 4 {
		t.Errorf("last growth %+v, want that of before", got)
	}
	if third.NodeGroups[0].Berth.Planned == nil || second.NodeGroups[0].Berth.Planned != nil {
		t.Error("only what is not asked for is planned")
	}
}

// What moves with the time alone is no news.
func TestGist(t *testing.T) {
	gist := func(change func(*Input)) string {
		in := cluster()
		change(&in)
		said, err := Gist(Of(in), Templates{})
		if err != nil {
			t.Fatal(err)
		}
		return said
	}
	in := cluster()
	in.Last = Of(in)
	before := gist(func(*Input) {})
	for name, tc := range map[string]struct {
		change func(*Input)
		same   bool
	}{
		"later": {func(i *Input) {
			i.Last, i.Before.Now = in.Last, now.Add(15*time.Second)
			i.Grown[0].Target = 4
			i.Decision.Kept[0].Reason = "nodes were added 1m15s ago (limit 10m0s)"
			i.Decision.Unhelped[0].Groups[1] = "group b: left alone for another 2m45s: no machines"
			i.Grown = nil
			i.Decision.Adds = nil
			i.Before.Groups[0].Target = 4
		}, true},
		"another number":  {func(i *Input) { i.Before.Groups[0].Max = 6 }, false},
		"another reason":  {func(i *Input) { i.Decision.Kept[0].Reason = "annotation x" }, false},
		"a group is gone": {func(i *Input) { i.Before.Groups = i.Before.Groups[1:] }, false},
		"a group is lost": {func(i *Input) { i.Unread = []Unread{{Group: "c", Reason: "there is none"}} }, false},
		"standing back":   {func(i *Input) { i.Reason = "a Lease is fresh" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			after := gist(tc.change)
			if got := before == after; got != tc.same {
				t.Errorf("same %t, want %t:\n%s", got, tc.same, cmp.Diff(before, after))
			}
		})
	}
}

func TestProperties(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	text := func() string { return strings.Repeat("größer ", r.Intn(200)) }
	for range 8 {
		s, templates := Of(cluster()), Templates{Groups: []Template{}}
		s.NodeGroups = nil
		most := 1 << r.Intn(12)
		for i := range most {
			s.Berth.Unhelped = append(s.Berth.Unhelped, Unhelped{Pod: fmt.Sprint("p", i), Nodes: []string{text()}, Groups: []string{text(), text()}})
			s.Berth.Kept = append(s.Berth.Kept, Kept{Node: fmt.Sprint("n", i), Reason: text()})
			s.Berth.Unread = append(s.Berth.Unread, Unread{Group: fmt.Sprint("u", i), Reason: text()})
			s.NodeGroups = append(s.NodeGroups, NodeGroup{Name: fmt.Sprint("g", i), Berth: BerthGroup{Obstacle: text(), Planned: &Growth{Reason: text()}}})
			group := Template{Name: fmt.Sprint("g", i), Labels: map[string]string{"x": text()}}
			for j := range r.Intn(50) {
				group.Nodes = append(group.Nodes, fmt.Sprintf("node-%d-%d", i, j))
			}
			templates.Groups = append(templates.Groups, group)
		}
		data, err := Render(s, templates)
		if err != nil {
			t.Fatal(err)
		}
		if size := len(data[Key]) + len(data[TemplatesKey]) + len(Key) + len(TemplatesKey); size >= 1<<20 {
			t.Fatalf("%d bytes", size)
		}
		parsed, parsedTemplates, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		left := parsed.Berth.LeftOut
		for what, got := range map[string][2]int{
			"unhelped":  {len(parsed.Berth.Unhelped) + left.Unhelped, len(s.Berth.Unhelped)},
			"kept":      {len(parsed.Berth.Kept) + left.Kept, len(s.Berth.Kept)},
			"unread":    {len(parsed.Berth.Unread) + left.Unread, len(s.Berth.Unread)},
			"groups":    {len(parsed.NodeGroups) + left.NodeGroups, len(s.NodeGroups)},
			"templates": {len(parsedTemplates.Groups) + parsedTemplates.LeftOut, len(templates.Groups)},
		} {
			if got[0] != got[1] {
				t.Errorf("%d %s are there or said to be left out, want %d", got[0], what, got[1])
			}
		}
		again, err := Render(parsed, parsedTemplates)
		if err != nil {
			t.Fatal(err)
		}
		reparsed, _, err := Parse(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(parsed, reparsed, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("what is parsed is not what was rendered (-want +got):\n%s", diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	data, err := Render(Of(cluster()), Templates{Groups: []Template{{Name: "a"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[Key], data[TemplatesKey])
	f.Add("", "")
	f.Fuzz(func(_ *testing.T, s, t string) {
		status, templates, err := Parse(map[string]string{Key: s, TemplatesKey: t})
		if err == nil {
			_, _ = Render(status, templates)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	s, templates := Of(cluster()), Templates{}
	for i := range 400 {
		group := s.NodeGroups[i%3]
		group.Name = fmt.Sprint("group-", i)
		s.NodeGroups = append(s.NodeGroups, group)
		templates.Groups = append(templates.Groups, TemplateOf(group.Name, &v1.Node{}))
	}
	for b.Loop() {
		if _, err := Render(s, templates); err != nil {
			b.Fatal(err)
		}
	}
}
