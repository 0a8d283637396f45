// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// away is an absent slot of db that can run on one node only.
func away(ordinal int, node, cpu string, priority int32) []runtime.Object {
	return awayFrom(bound(fmt.Sprint("data-db-", ordinal), host, "host-"+node), node, cpu, priority, time.Now())
}

// To whoever scores resources, a node whose slots are away looks emptier than
// one that is used: who may take their room does so only for want of another.
func TestWhoMayTakeAHoldPrefersNot(t *testing.T) {
	for name, tt := range map[string]struct{ used, node string }{
		"a node that is used has room": {used: "6", node: "a2"},
		"no other node has room":       {used: "7", node: "a1"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(objects(sized("a1", "8"), sized("a2", "8"), set("db", 1, "data"), away(0, "a1", "7", 0),
				asksFor(other("filler", 9).Node("a2").Obj(), tt.used))...)
			bindings, _ := runProfile(t, client, noPolicies(), `{"schedulerName": "berth-scheduler", "plugins": {"multiPoint": {"enabled": [{"name": "SlotHold", "weight": 100}]}}}`, func() {})
			create(t, client, asksFor(other("important", 9).Obj(), "2"))
			if diff := cmp.Diff([2]string{"important", tt.node}, next(t, "binding", bindings)); diff != "" {
				t.Errorf("bound (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSlotHoldScores(t *testing.T) {
	tests := map[string]struct {
		held  []runtime.Object
		pod   *v1.Pod
		nodes []string         // those that are left, all if empty
		want  map[string]int64 // nil where the plugin skips
	}{
		"nothing is held":                    {pod: asksFor(other("p", 9).Obj(), "2")},
		"it may take what is held":           {held: away(0, "a1", "3", 5), pod: asksFor(other("p", 9).Obj(), "2"), want: map[string]int64{"a1": 0, "a2": 100}},
		"there is room beside it":            {held: away(0, "a1", "3", 5), pod: asksFor(other("p", 9).Obj(), "1"), want: map[string]int64{"a1": 100, "a2": 100}},
		"it may not":                         {held: away(0, "a1", "3", 5), pod: asksFor(other("p", 5).Obj(), "2")},
		"its own":                            {held: away(0, "a1", "3", 5), pod: asksFor(slotPod("db", 0, "data").Priority(9).Obj(), "3")},
		"a sibling's":                        {held: away(0, "a1", "3", 5), pod: asksFor(slotPod("db", 1).Priority(9).Obj(), "2")},
		"on none of the nodes that are left": {held: away(0, "a1", "3", 5), pod: asksFor(other("p", 9).Obj(), "2"), nodes: []string{"a2"}},
		"room beside each, not beside both": {
			held: objects(away(0, "a1", "2", 5), away(1, "a1", "2", 5)), pod: asksFor(other("p", 9).Obj(), "1"), want: map[string]int64{"a1": 0, "a2": 100},
		},
		"room beside it, not beside one that keeps it out as well": {
			held: objects(away(0, "a1", "2", 5), away(1, "a1", "2", 9)), pod: asksFor(other("p", 9).Obj(), "1"), want: map[string]int64{"a1": 0, "a2": 100},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, nil, objects(sized("a1", "4"), sized("a2", "4"), set("db", 3, "data"), tt.held)...)
			if diff := cmp.Diff(tt.want, c.scoresOfSlotHold(t, tt.pod, tt.nodes...)); diff != "" {
				t.Errorf("scores (-want +got):\n%s", diff)
			}
		})
	}
}

// scoresOfSlotHold returns what SlotHold gives the nodes that are left, nil if it skips.
func (c *cluster) scoresOfSlotHold(t *testing.T, pod *v1.Pod, left ...string) map[string]int64 {
	t.Helper()
	state := framework.NewCycleState()
	if _, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	var nodes []fwk.NodeInfo
	for _, name := range c.nodes {
		if nodeInfo, err := c.framework.SnapshotSharedLister().NodeInfos().Get(name); err != nil {
			t.Fatal(err)
		} else if len(left) == 0 || slices.Contains(left, name) {
			nodes = append(nodes, nodeInfo)
		}
	}
	if status := c.framework.RunPreScorePlugins(t.Context(), state, pod, nodes); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	if state.GetSkipScorePlugins().Has("SlotHold") {
		return nil
	}
	all, status := c.framework.RunScorePlugins(t.Context(), state, pod, nodes)
	if !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	scores := map[string]int64{}
	for _, of := range all {
		for _, score := range of.Scores {
			if score.Name == "SlotHold" {
				scores[of.Name] = score.Score
			}
		}
	}
	return scores
}

// Of several holds that do not all have room beside a pod, the least important
// are taken.
func TestHoldsAreTakenTogether(t *testing.T) {
	tests := map[string]struct {
		held []runtime.Object
		cpu  string
		want []string // the slots of the events
	}{
		"room beside all":                 {held: objects(away(0, "a1", "1", 2), away(1, "a1", "1", 1)), cpu: "2"},
		"room beside each":                {held: objects(away(0, "a1", "1", 2), away(1, "a1", "1", 1)), cpu: "3", want: []string{"1"}},
		"whichever comes first":           {held: objects(away(0, "a1", "1", 1), away(1, "a1", "1", 2)), cpu: "3", want: []string{"0"}},
		"room beside none":                {held: objects(away(0, "a1", "1", 1), away(1, "a1", "1", 2)), cpu: "4", want: []string{"1", "0"}},
		"room beside one that can not go": {held: objects(away(0, "a1", "1", 9), away(1, "a1", "1", 1)), cpu: "3", want: []string{"1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, nil, objects(sized("a1", "4"), set("db", 2, "data"), tt.held)...)
			pod, state := asksFor(other("p", 9).Obj(), tt.cpu), framework.NewCycleState()
			if _, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
				t.Fatal(status.Message())
			}
			if status := c.framework.RunReservePluginsReserve(t.Context(), state, pod, "a1"); !status.IsSuccess() {
				t.Fatal(status.Message())
			}
			c.framework.RunPostBindPlugins(t.Context(), state, pod, "a1")
			var want, got []string
			for _, ordinal := range tt.want {
				want = append(want, fmt.Sprintf("Warning SlotHoldTaken the room of ordinal %s of prod/db on node \"a1\" went to pod prod/p, whose priority is higher", ordinal))
			}
			for len(c.events.Events) > 0 {
				got = append(got, <-c.events.Events)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}
