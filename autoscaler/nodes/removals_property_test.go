// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/disruption"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

// quietInput is a cluster of under-used nodes with sets, budgets and nodes on their way out.
func quietInput(r *rand.Rand) Input {
	in := Input{Now: start, Config: Defaults()}
	in.World.Controllers = map[types.UID]drain.Controller{"web": {Replicas: 3}}
	in.World.Sets = []drain.Set{{Name: "prod/db", Quorum: r.Intn(3)}, {Name: "prod/kv", Quorum: r.Intn(2)}}
	var web []*v1.Pod
	for _, zone := range []string{"a", "b"} {
		g := zoneGroup(zone, r.Intn(3), 10, 0)
		for i := range 1 + r.Intn(6) {
			name := fmt.Sprintf("%s%d", zone, i)
			n := nodeIn(g, name)
			for range r.Intn(3) {
				var pod *v1.Pod
				switch s := r.Intn(4); s {
				case 0, 1:
					set := &in.World.Sets[s]
					pod = runs(podOf(fmt.Sprintf("%s-%d", strings.TrimPrefix(set.Name, "prod/"), len(set.Slots)), "500m"), name)
					set.Slots = append(set.Slots, drain.Slot{Ordinal: len(set.Slots), Pod: pod})
					set.Wanted++
				default:
					pod = runs(podOf(fmt.Sprintf("web-%d", len(web)), []string{"500m", "1", "2"}[r.Intn(3)]).Label("app", "web"), name)
					web = append(web, pod)
				}
				if r.Intn(10) == 0 {
					pod.Status.Conditions = nil
				}
				n.Pods = append(n.Pods, pod)
			}
			if r.Intn(5) == 0 {
				n = marked(n)
			}
			in.Nodes = append(in.Nodes, n)
			g.Target++
		}
		in.Groups = append(in.Groups, g)
	}
	least := int32(r.Intn(len(web) + 1))
	in.World.Budgets = []disruption.Budget{{Pods: web, Object: &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		Status:     policyv1.PodDisruptionBudgetStatus{DesiredHealthy: least, DisruptionsAllowed: int32(len(web)) - least},
	}}}
	in.History = emptyFor(in.Config.UnneededTime, in.Nodes...)
	in.Pending, in.Reserve = podsOf(r.Intn(3), "new", "1"), podsOf(r.Intn(3), "soon", "2")
	return in
}

func TestRemovalProperties(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	gone, moved, kept, recalled := 0, 0, map[string]int{}, 0
	for range 5000 {
		in := quietInput(r)
		sim := &remembers{toy: newToy(in)}
		d := Decide(in, sim)
		recalled += len(d.Recalls)
		for _, k := range d.Kept {
			kept[k.Rule]++
		}
		for _, removal := range d.Removals {
			gone, moved = gone+1, moved+len(removal.Moves)
		}
		checkMoves(t, in, d, sim.fullest)
		checkDisruptions(t, in, d)
		checkFloors(t, in, d)
		shuffled := in
		shuffled.Nodes = shuffle(r, in.Nodes)
		for i := range shuffled.Nodes {
			shuffled.Nodes[i].Pods = shuffle(r, shuffled.Nodes[i].Pods)
		}
		if diff := cmp.Diff(d, Decide(shuffled, newToy(in))); diff != "" {
			t.Fatalf("another order of the input gives another decision (-first +second):\n%s", diff)
		}
	}
	if gone < 100 || moved < 100 || recalled < 30 || kept["Pods"] < 100 || kept["NoPlace"] < 100 || kept["Needed"] < 100 {
		t.Errorf("%d nodes go, %d pods move, kept %v, %d called back: the stories prove little", gone, moved, kept, recalled)
	}
}

// remembers is a toy that remembers how it was with every place given.
type remembers struct {
	*toy
	fullest toyState
}

func (s *remembers) Revert() {
	if len(s.placed) >= len(s.fullest.placed) {
		s.fullest = s.copied()
	}
	s.toy.Revert()
}

// checkMoves: everything on a node that goes has a place on a node that stays, and all of them have it together.
func checkMoves(t *testing.T, in Input, d Decision, placed toyState) {
	t.Helper()
	there, free := map[string]bool{}, map[string]capacity{}
	for _, n := range in.Nodes {
		there[n.Object.Name] = !n.Draining
		free[n.Object.Name] = (&planner{in: in}).free(&node{Node: n})
	}
	for _, recall := range d.Recalls {
		there[recall.Node] = there[recall.Node] || strings.Contains(recall.Reason, "fits on no other node")
	}
	for _, removal := range d.Removals {
		there[removal.Node] = false
	}
	for _, pod := range in.Pending {
		if to, ok := placed.placed[pod.Name]; ok && there[to] {
			free[to] = free[to].minus(needsOf(pod))
		}
	}
	for _, removal := range d.Removals {
		to := map[string]string{}
		for _, move := range removal.Moves {
			to[move.Pod.Name] = move.To
		}
		for _, n := range in.Nodes {
			if n.Object.Name != removal.Node {
				continue
			}
			for _, pod := range n.Pods {
				if !there[to[pod.Name]] {
					t.Fatalf("node %s goes, and pod %s of it moves to %q", removal.Node, pod.Name, to[pod.Name])
				}
				free[to[pod.Name]] = free[to[pod.Name]].minus(needsOf(pod))
			}
		}
	}
	for name, left := range free {
		if left.cpu < 0 {
			t.Fatalf("node %s has %d cpu left\n%+v", name, left.cpu, d)
		}
	}
}

// checkDisruptions: nodes that go share no set and no more of a budget than it has, also with those on their way out.
func checkDisruptions(t *testing.T, in Input, d Decision) {
	t.Helper()
	going := map[string]bool{}
	for _, removal := range d.Removals {
		going[removal.Node] = true
	}
	drained := map[string]bool{}
	for _, n := range in.Nodes {
		drained[n.Object.Name] = n.Draining
	}
	for _, set := range in.World.Sets {
		on, goes, up := map[string]bool{}, 0, 0
		for _, slot := range set.Slots {
			up += map[bool]int{true: 1}[disruption.Ready(slot.Pod)]
			if name := slot.Pod.Spec.NodeName; going[name] {
				on[name] = true
				goes += map[bool]int{true: 1}[disruption.Ready(slot.Pod)]
			} else if drained[name] {
				on[name] = true
			}
		}
		if goes > 0 && len(on) > 1 && anyGoing(on, going) {
			t.Fatalf("slots of %s move from %v at once", set.Name, on)
		}
		if goes > 0 && up-1 < set.Quorum {
			t.Fatalf("a slot of %s moves, %d are up and the quorum is %d", set.Name, up, set.Quorum)
		}
	}
	budget, from := in.World.Budgets[0], map[string]bool{}
	up := 0
	for _, pod := range budget.Pods {
		if disruption.Ready(pod) {
			up++
			if going[pod.Spec.NodeName] {
				from[pod.Spec.NodeName] = true
			}
		}
	}
	if room := up - int(budget.Object.Status.DesiredHealthy); len(from) > max(0, room) {
		t.Fatalf("%d nodes take pods from a budget with room for %d", len(from), room)
	}
}

func anyGoing(on, going map[string]bool) bool {
	for name := range on {
		if going[name] {
			return true
		}
	}
	return false
}

func checkFloors(t *testing.T, in Input, d Decision) {
	t.Helper()
	left := map[string]int{}
	for _, n := range in.Nodes {
		if !n.Draining {
			left[n.Group]++
		}
	}
	for _, removal := range d.Removals {
		left[removal.Group]--
	}
	for _, g := range in.Groups {
		going := 0
		for _, removal := range d.Removals {
			if removal.Group == g.Name {
				going++
			}
		}
		if going > 0 && left[g.Name]+len(d.Recalls) < g.Min {
			t.Fatalf("group %s is left with %d nodes, minimum %d", g.Name, left[g.Name], g.Min)
		}
	}
}
