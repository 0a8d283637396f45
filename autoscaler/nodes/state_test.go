// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

func TestState(t *testing.T) {
	const limit = 15 * time.Minute
	for name, tc := range map[string]struct {
		age      time.Duration
		ready    v1.ConditionStatus // empty for no condition
		since    time.Duration      // of the condition, after the creation
		taint    string
		wasReady bool
		want     state
	}{
		"ready":                           {age: time.Hour, ready: v1.ConditionTrue, want: ready},
		"ready but not yet untainted":     {age: time.Minute, ready: v1.ConditionTrue, taint: v1.TaintNodeNotReady, want: upcoming},
		"waiting for its cloud":           {age: time.Minute, ready: v1.ConditionTrue, taint: uninitializedTaint, want: upcoming},
		"silent and young":                {age: limit, want: upcoming},
		"silent and old":                  {age: limit + 1, want: neverReady},
		"not ready since its creation":    {age: time.Hour, ready: v1.ConditionFalse, since: time.Second, want: neverReady},
		"not ready after its time":        {age: time.Hour, ready: v1.ConditionUnknown, since: 2 * limit, want: unreadyNow},
		"not ready and young but was":     {age: time.Minute, ready: v1.ConditionFalse, wasReady: true, want: unreadyNow},
		"marked for deletion by someone":  {age: time.Hour, ready: v1.ConditionTrue, taint: ToBeDeletedTaint, want: leaving},
		"cordoned by an admin is present": {age: time.Hour, ready: v1.ConditionTrue, taint: v1.TaintNodeUnschedulable, want: ready},
	} {
		t.Run(name, func(t *testing.T) {
			n := nodeIn(zoneGroup("a", 0, 1, 1), "a1").Object
			n.CreationTimestamp = metav1.NewTime(start.Add(-tc.age))
			n.Status.Conditions = nil
			if tc.ready != "" {
				n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: tc.ready, LastTransitionTime: metav1.NewTime(n.CreationTimestamp.Add(tc.since))}}
			}
			if tc.taint != "" {
				n.Spec.Taints = []v1.Taint{{Key: tc.taint}}
			}
			in := Input{Now: start, Config: Defaults(), History: History{WasReady: map[types.UID]bool{n.UID: tc.wasReady}}}
			if got := stateIn(n, in); got != tc.want {
				t.Errorf("state %d, want %d", got, tc.want)
			}
		})
	}
}

// A node on its way is judged as it will be: what the template promises and
// the node does not say yet, and never another node's hostname.
func TestAsReady(t *testing.T) {
	n := st.MakeNode().Name("a1").Label("own", "yes").Label(v1.LabelTopologyZone, "reported").Obj()
	n.Status = v1.NodeStatus{}
	n.Spec.Taints = []v1.Taint{{Key: v1.TaintNodeNotReady}, {Key: "dedicated"}, {Key: uninitializedTaint}}
	promised := template("a", "4")
	promised.Labels[v1.LabelHostname], promised.Labels["disk"] = "template", "ssd"
	got := newPlanner(Input{}, nil).asReady(n, promised)
	want := map[string]string{"own": "yes", v1.LabelTopologyZone: "reported", "disk": "ssd"}
	if diff := cmp.Diff(want, got.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if len(got.Spec.Taints) != 1 || got.Spec.Taints[0].Key != "dedicated" {
		t.Errorf("taints %v, want the lasting one", got.Spec.Taints)
	}
	if capacityOf(got) != capacityOf(promised) {
		t.Errorf("capacity %v, want the template's", capacityOf(got))
	}
	if len(n.Labels) != 2 || len(n.Spec.Taints) != 3 {
		t.Error("the node itself changed")
	}
}

// Nodes on their way are those that exist and are young, and those that were asked for.
func TestUpcoming(t *testing.T) {
	a := zoneGroup("a", 0, 5, 4)
	coming, late := unready(nodeIn(a, "a1"), time.Minute), unready(nodeIn(a, "a2"), time.Hour)
	other := unready(nodeIn(zoneGroup("b", 0, 1, 1), "b1"), time.Minute)
	in := Input{Now: start, Config: Defaults(), Groups: []Group{a}, Nodes: []Node{coming, late, other, nodeIn(a, "a3")}}
	var names []string
	for _, n := range Upcoming(in) {
		if hasTaint(n, v1.TaintNodeNotReady) {
			t.Errorf("%s is not ready", n.Name)
		}
		names = append(names, n.Name)
	}
	if diff := cmp.Diff([]string{"a1", "b1", "zone-a-awaited-0"}, names); diff != "" {
		t.Errorf("nodes on their way (-want +got):\n%s", diff)
	}
	in.History.MissingSince = map[string][]time.Time{a.Name: {start.Add(-time.Hour)}}
	if last := Upcoming(in); len(last) != 2 {
		t.Errorf("%d nodes are on their way, want none that a group owes for an hour", len(last))
	}
}
