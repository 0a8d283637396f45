// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/nodes"
)

// willing is a simulation that puts each pod where it is wanted, and nowhere where that is nowhere.
type willing struct {
	Simulation
}

func (willing) Fork()   {}
func (willing) Revert() {}
func (willing) Place(_ *corev1.Pod, among ...string) (string, []string, error) {
	if len(among) == 0 {
		return "", []string{"no node takes it"}, nil
	}
	return among[0], nil, nil
}

// What was tried and taken back is no place; what stood at the end is, though the engine takes all of it back.
func TestNotebook(t *testing.T) {
	group := func(name string) nodes.Group { return nodes.Group{Name: name, Max: 9, Template: &corev1.Node{}} }
	owing := group("a")
	owing.Target = 1
	n := newNotebook(nodes.Input{Config: nodes.Defaults(), Groups: []nodes.Group{owing, group("a-new")},
		Nodes: []nodes.Node{{Object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}, Group: "b"}}})
	n.Simulation = willing{}
	place := func(pod string, among ...string) {
		if _, _, err := n.Place(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: pod}}, among...); err != nil {
			t.Fatal(err)
		}
	}
	n.Fork()
	place("there", "n1")
	n.Fork()
	place("tried", "n1")
	place("there", "a-new-7")
	n.Revert()
	place("refused")
	place("second", "a-new-12")
	place("first", "a-new-2")
	place("coming", "a-awaited-0")
	place("other", "a-new-new-0")
	n.Revert()

	type where struct {
		Node, Group   string
		Upcoming, New bool
		Nth           int
	}
	got := map[string]where{}
	for pod, node := range n.final {
		if pod.Namespace != "prod" {
			t.Errorf("pod %s", pod)
		}
		var w where
		w.Node, w.Group, w.Upcoming, w.New = n.describe(node)
		w.Nth = n.nth(node)
		got[pod.Name] = w
	}
	want := map[string]where{
		"there":  {Node: "n1", Group: "b"},
		"first":  {Group: "a", New: true, Nth: 1},
		"second": {Group: "a", New: true, Nth: 2},
		"coming": {Group: "a", Upcoming: true, Nth: 1},
		"other":  {Group: "a-new", New: true, Nth: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
}

func TestSlotsBehindOneThatWaits(t *testing.T) {
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, OwnerReferences: dbPod(0).OwnerReferences}}
	}
	unhelped := []nodes.Unhelped{{Pod: types.NamespacedName{Namespace: "prod", Name: "db-3"}}, {Pod: types.NamespacedName{Namespace: "prod", Name: "db-1"}}, {Pod: types.NamespacedName{Namespace: "test", Name: "db-0"}}}
	for name, want := range map[string]string{
		"db-2": "its set makes it once db-1 is ready, which waits itself (podManagementPolicy OrderedReady)",
		"db-0": "", "db-1": "", "web-x": "",
	} {
		if got := (&Conductor{}).behind(pod(name), unhelped); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
