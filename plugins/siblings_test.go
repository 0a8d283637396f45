// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// The reason of a slot that finds no node of its own names those who have them:
// one that runs by its pod, one that does not by its volume.
func TestSiblingsAreNamed(t *testing.T) {
	all := nodes("a1", "b1", "c1", "c2", "c3", "c4", "c5")
	var running []*v1.Pod
	for ordinal, node := range []string{0: "a1", 3: "c1", 4: "c2", 5: "c3", 6: "c4"} {
		if node != "" {
			running = append(running, slotPod("db", ordinal, "data").Node(node).Obj())
		}
	}
	placed := objects(all, set("db", 7, "data"), policy(t, `{separateNodes: Required}`), bound("data-db-2", host, "host-b1"), asking("data-db-1", "slow", "1Gi"))
	for _, pod := range running {
		placed = append(placed, pod)
	}
	c := newCluster(t, nil, placed...)
	pod, state := slotPod("db", 1, "data").Obj(), framework.NewCycleState()
	if _, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	refusals := framework.NewDefaultNodeToStatus()
	for _, name := range c.nodes {
		node, err := c.framework.SnapshotSharedLister().NodeInfos().Get(name)
		if err != nil {
			t.Fatal(err)
		}
		if status := c.framework.RunFilterPlugins(t.Context(), state, pod, node); !status.IsSuccess() {
			refusals.Set(name, status)
		}
	}
	_, status := c.framework.RunPostFilterPlugins(t.Context(), state, pod, refusals)
	want := `node "a1" has ordinal 0, node "b1" has the volume of ordinal 2, node "c1" has ordinal 3, node "c2" has ordinal 4, and 2 more`
	if diff := cmp.Diff(want, status.Message()); diff != "" {
		t.Errorf("PostFilter (-want +got):\n%s", diff)
	}
}
