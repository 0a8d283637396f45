// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

// webPods are running pods of a ReplicaSet, on a node.
func webPods(node, cpu string, names ...string) []*v1.Pod {
	var pods []*v1.Pod
	for _, name := range names {
		pods = append(pods, runs(podOf(name, cpu), node))
	}
	return pods
}

// runs is a ready pod of the ReplicaSet web.
func runs(pod *st.PodWrapper, node string) *v1.Pod {
	p := pod.Node(node).UID("uid-"+pod.Obj().Name).OwnerReference("web", metav1.SchemeGroupVersion.WithKind("ReplicaSet")).
		Condition(v1.PodReady, v1.ConditionTrue, "").Obj()
	p.OwnerReferences[0].APIVersion, p.OwnerReferences[0].UID = "apps/v1", "web"
	return p
}

// slotOf is a running slot of a set.
func slotOf(name, node string) *v1.Pod { return runs(podOf(name, "1"), node) }

// leaves is the pod while it is being deleted.
func leaves(pod *v1.Pod) *v1.Pod {
	pod = pod.DeepCopy()
	pod.DeletionTimestamp = &metav1.Time{Time: start.Add(time.Minute)}
	return pod
}

// marked is the node with Berth's taint.
func marked(n Node) Node {
	n.Object = n.Object.DeepCopy()
	n.Object.Spec.Taints = append(n.Object.Spec.Taints, drain.Mark(start.Add(-time.Minute)))
	n.Draining = true
	return n
}

func webWorld(sets ...drain.Set) drain.World {
	return drain.World{Controllers: map[types.UID]drain.Controller{"web": {Replicas: 3}}, Sets: sets}
}

// removed tells the story of a decision about removals in short lines.
func removed(d Decision) []string {
	var lines []string
	for _, r := range d.Removals {
		line := r.Node + " goes:"
		for _, m := range r.Moves {
			line += fmt.Sprintf(" %s→%s", m.Pod.Name, m.To)
		}
		lines = append(lines, line)
	}
	for _, k := range d.Kept {
		lines = append(lines, fmt.Sprintf("%s stays, %s: %s", k.Node, k.Rule, k.Reason))
	}
	for _, r := range d.Recalls {
		lines = append(lines, fmt.Sprintf("%s is called back: %s", r.Node, r.Reason))
	}
	return lines
}

func TestRemovals(t *testing.T) {
	g := zoneGroup("a", 0, 10, 0)
	node := func(name string, pods ...*v1.Pod) Node { return nodeIn(g, name, pods...) }
	full := func(name string) Node { return node(name, webPods(name, "3", "full-"+name)...) }
	db := func(slots ...*v1.Pod) drain.Set {
		set := drain.Set{Name: "prod/db", Wanted: len(slots)}
		for i, pod := range slots {
			set.Slots = append(set.Slots, drain.Slot{Ordinal: i, Pod: pod})
		}
		return set
	}
	db0, db1, db2 := slotOf("db-0", "n0"), slotOf("db-1", "n1"), slotOf("db-2", "n2")
	old := func(n Node) Node {
		n.Object = n.Object.DeepCopy()
		n.Object.Status.Conditions[0].Status = v1.ConditionFalse
		return n
	}
	tests := map[string]struct {
		nodes  []Node
		change func(*Input)
		want   []string
		asked  int // at most, where it is not 0
	}{
		"an under-used node goes": {
			nodes: []Node{node("n0", webPods("n0", "1", "w0")...), full("n1")},
			want:  []string{"n0 goes: w0→n1"},
		},
		"one at the threshold stays": {
			nodes: []Node{node("n0", webPods("n0", "2", "w0")...), full("n1")},
		},
		"by memory, too": {
			nodes: []Node{node("n0", runs(st.MakePod().Namespace("prod").Name("w0").Req(map[v1.ResourceName]string{v1.ResourceCPU: "1", v1.ResourceMemory: "9Gi"}), "n0")), full("n1")},
		},
		"pods of DaemonSets count": {
			nodes: []Node{node("n0", podOf("agent", "2").Node("n0").OwnerReference("agent", metav1.SchemeGroupVersion.WithKind("DaemonSet")).Obj(), webPods("n0", "1", "w0")[0]), full("n1")},
		},
		"unless they are ignored": {
			nodes:  []Node{node("n0", podOf("agent", "1").Node("n0").OwnerReference("agent", metav1.SchemeGroupVersion.WithKind("DaemonSet")).Obj(), webPods("n0", "1", "w0")[0]), full("n1")},
			change: func(in *Input) { in.Config.IgnoreDaemonSets = true },
			want:   []string{"n0 goes: w0→n1"},
		},
		"not before its time": {
			nodes:  []Node{node("n0", webPods("n0", "1", "w0")...), full("n1")},
			change: func(in *Input) { in.Config.UnneededTime = 2 * time.Hour },
		},
		"a pod that comes back larger has room for that": {
			nodes: []Node{node("n0", webPods("n0", "1", "w0")...), full("n1")},
			change: func(in *Input) {
				in.Resized = map[types.UID]*v1.Pod{"uid-w0": webPods("n0", "2", "w0")[0]}
			},
			want: []string{"n0 stays, NoPlace: pod prod/w0 has no place elsewhere: 1 Insufficient cpu"},
		},
		"all that go together have their places together": {
			nodes: []Node{node("n0", webPods("n0", "1", "w0")...), node("n1", webPods("n1", "1", "w1")...), full("n2")},
			want:  []string{"n0 goes: w0→n1", "n1 stays, Needed: pods of nodes that go have their place here"},
		},
		"a pod without a place keeps its node": {
			nodes: []Node{node("n0", webPods("n0", "1", "w0", "w1")...), full("n1")},
		},
		"nothing moves to nodes on their way": {
			nodes: []Node{node("n0", webPods("n0", "1", "w0")...)},
			change: func(in *Input) {
				in.Groups[0].Target = 2
				in.History.MissingSince = map[string][]time.Time{"zone-a": {start}}
			},
			want: []string{"n0 stays, NoPlace: pod prod/w0 has no place elsewhere: there is only node zone-a-awaited-0, which is not ready yet"},
		},
		"an unready node has more time": {
			nodes: []Node{old(node("n0", webPods("n0", "1", "w0")...)), full("n1")},
			change: func(in *Input) {
				in.Config.UnreadyTime = 2 * time.Hour
				in.History.WasReady = map[types.UID]bool{"uid-n0": true}
			},
		},
		"and goes then": {
			nodes:  []Node{old(node("n0", webPods("n0", "1", "w0")...)), full("n1")},
			change: func(in *Input) { in.History.WasReady = map[types.UID]bool{"uid-n0": true} },
			want:   []string{"n0 goes: w0→n1"},
		},
		"an obstacle names the pod": {
			nodes: []Node{node("n0", podOf("alone", "1").Node("n0").Obj()), full("n1")},
			want:  []string{"n0 stays, Pods: pod prod/alone: it has no controller that would re-create it"},
		},
		"what may come soon keeps its room": {
			nodes:  []Node{node("n0", webPods("n0", "1", "w0")...), full("n1")},
			change: func(in *Input) { in.Reserve = podsOf(1, "soon", "3") },
			want:   []string{"n0 stays, NoPlace: pod prod/soon-0, which may come soon, would have no place: 1 Insufficient cpu"},
		},
		"where there is room for it elsewhere, too, the node goes": {
			nodes:  []Node{node("n0", webPods("n0", "1", "w0")...), full("n1"), full("n2")},
			change: func(in *Input) { in.Reserve = podsOf(1, "soon", "1") },
			want:   []string{"n0 goes: w0→n1"},
		},
		"expendable pods keep nothing": {
			nodes: []Node{node("n0", runs(podOf("w0", "1").Priority(-11), "n0")), node("n1", webPods("n1", "4", "w1")...)},
			want:  []string{"n0 goes: w0→"},
		},
		"however much they ask for": {
			nodes: []Node{node("n0", runs(podOf("w0", "3").Priority(-11), "n0"), webPods("n0", "1", "w1")[0]), full("n1")},
			want:  []string{"n0 goes: w1→n1 w0→"},
		},
		"and what moves may take their room": {
			nodes: []Node{node("n0", webPods("n0", "1", "w0")...), node("n1", webPods("n1", "3", "w1")[0], runs(podOf("w2", "1").Priority(-11), "n1"))},
			want:  []string{"n0 goes: w0→n1"},
		},
		"slots of one set go one after another, from the top": {
			nodes:  []Node{node("n0", db0), node("n1", db1), full("n2"), full("n3")},
			change: func(in *Input) { in.World = webWorld(db(db0, db1)) },
			want:   []string{"n1 goes: db-1→n0", "n0 stays, Pods: pod prod/db-0: ordinal 1 of prod/db is on its way"},
		},
		"a slot on a node on its way out counts": {
			nodes:  []Node{node("n0", db0), node("n1", webPods("n1", "1", "w0")...), marked(node("n2", db2)), full("n3"), full("n4"), full("n5")},
			change: func(in *Input) { in.World = webWorld(db(db0, db1, db2)) },
			want:   []string{"n1 goes: w0→n0", "n0 stays, Pods: pod prod/db-0: ordinal 2 of prod/db is on its way"},
		},
		"a slot that is being deleted keeps its room elsewhere": {
			nodes:  []Node{node("n0", webPods("n0", "1", "w0")...), marked(node("n1", leaves(db1))), full("n2")},
			change: func(in *Input) { in.World = webWorld(db(db0, leaves(db1))) },
			want:   []string{"n0 stays, Needed: pods of nodes that go have their place here"},
		},
		"unless its set is to have no such slot": {
			nodes: []Node{node("n0", webPods("n0", "1", "w0")...), marked(node("n1", leaves(db1))), full("n2")},
			change: func(in *Input) {
				in.World = webWorld(db(db0, leaves(db1)))
				in.World.Sets[0].Slots[1].Extra = true
			},
			want: []string{"n0 goes: w0→n2"},
		},
		"a node stays that a slot comes back to": {
			nodes:  []Node{node("n0", leaves(db0)), node("n1", webPods("n1", "4", "w1")...)},
			change: func(in *Input) { in.World = webWorld(db(leaves(db0))) },
			want:   []string{"n0 stays, NoPlace: pod prod/db-0, which comes back, would have no place: 1 Insufficient cpu"},
		},
		"never below quorum": {
			nodes: []Node{node("n0", db0), full("n1")},
			change: func(in *Input) {
				in.World = webWorld(db(db0))
				in.World.Sets[0].Quorum = 1
			},
			want: []string{"n0 stays, Pods: pod prod/db-0: 1 of 1 slots of prod/db are available, and the quorum is 1"},
		},
		"a node on its way out is called back when its pods have no place any more": {
			nodes: []Node{marked(node("n0", webPods("n0", "1", "w0", "w1")...)), full("n1")},
			want:  []string{"n0 is called back: pod prod/w1 has no place elsewhere: 1 Insufficient cpu"},
		},
		"a node on its way out is called back for a pod that would need a new one": {
			nodes:  []Node{marked(node("n0")), full("n1")},
			change: func(in *Input) { in.Pending = podsOf(1, "big", "4") },
			want:   []string{"n0 is called back: pod prod/big-0 fits on no other node"},
		},
		"pods of a node on its way out need room": {
			nodes: []Node{node("n0", webPods("n0", "1", "w0")...), marked(node("n1", webPods("n1", "1", "w1")...)), full("n2")},
			want:  []string{"n0 stays, Needed: pods of nodes that go have their place here"},
		},
		"so many drains at a time": {
			nodes:  []Node{full("n3"), node("n0", webPods("n0", "500m", "w0")...), node("n1", webPods("n1", "500m", "w1")...), marked(node("n2", webPods("n2", "100m", "w2")...))},
			change: func(in *Input) { in.Config.MaxDrains = 2 },
			want:   []string{"n0 goes: w0→n3", "n1 stays, Enough: 2 nodes are drained already, at most 2 at a time"},
		},
		"so many empty nodes at a time": {
			nodes:  []Node{node("n0"), node("n1"), marked(node("n2")), full("n3")},
			change: func(in *Input) { in.Config.MaxEmptyRemovals = 2 },
			want:   []string{"n0 goes:", "n1 stays, Enough: 2 empty nodes go already, at most 2 at a time"},
		},
		"what is left has to be so much": {
			nodes:  []Node{node("n0"), node("n1")},
			change: func(in *Input) { in.Config.MinCores = 4 },
			want:   []string{"n0 goes:", "n1 stays, TotalMinimum: 0 cores would be left, minimum 4"},
		},
		"nodes on their way out count for the minimum of their group no more": {
			nodes:  []Node{node("n0"), marked(node("n1"))},
			change: func(in *Input) { in.Groups[0].Min = 1 },
			want:   []string{"n0 stays, GroupMinimum: group zone-a is at its minimum 1"},
		},
		"a node that could not go is not asked about at once": {
			nodes: []Node{node("n0", webPods("n0", "1", "w0")...), node("n1", webPods("n1", "4", "w1")...)},
			change: func(in *Input) {
				in.History = Decide(*in, newToy(*in)).History
				in.Now = in.Now.Add(time.Minute)
			},
			want:  []string{"n0 stays, NoPlace: pod prod/w0 has no place elsewhere: 1 Insufficient cpu"},
			asked: -1,
		},
		"but when there is more room": {
			nodes: []Node{node("n0", webPods("n0", "1", "w0")...), node("n1", webPods("n1", "4", "w1")...)},
			change: func(in *Input) {
				in.History = Decide(*in, newToy(*in)).History
				in.Now = in.Now.Add(time.Minute)
				in.Nodes[1] = full("n1")
			},
			want: []string{"n0 goes: w0→n1"},
		},
		"a node that was left after all is left for a while": {
			nodes:  []Node{node("n0", webPods("n0", "1", "w0")...), full("n1")},
			change: func(in *Input) { in.History = in.History.Undone("uid-n0", "no progress", start) },
			want:   []string{"n0 stays, Undone: left alone for another 5m0s: its removal was undone: no progress"},
		},
		"one decision simulates so many": {
			nodes:  []Node{full("n2"), full("n3"), node("n0", webPods("n0", "1", "w0")...), node("n1", webPods("n1", "1500m", "w1")...)},
			change: func(in *Input) { in.Config.MaxCandidates = 1 },
			want:   []string{"n0 goes: w0→n2"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			in := Input{Now: start, Config: Defaults(), Groups: []Group{g}, World: webWorld(), History: emptyFor(time.Hour, tc.nodes...)}
			in.Nodes = append(in.Nodes, tc.nodes...)
			in.Groups[0].Target = len(tc.nodes)
			if tc.change != nil {
				tc.change(&in)
			}
			sim := newToy(in)
			got := Decide(in, sim)
			if diff := cmp.Diff(tc.want, removed(got)); diff != "" {
				t.Errorf("removals (-want +got):\n%s", diff)
			}
			if tc.asked < 0 && sim.asked > 0 {
				t.Errorf("%d questions, want none", sim.asked)
			}
			if len(sim.saved) != 0 || len(got.Adds) != 0 {
				t.Errorf("%d forks are left, added %v", len(sim.saved), got.Adds)
			}
		})
	}
}
