// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

// remove decides which nodes go: nodes that never became ready, then nodes that stayed under-used, the
// emptiest first. One that goes counts as gone for the next.
func (p *planner) remove() {
	if p.decision.Incomplete != "" {
		return
	}
	for _, n := range p.nodes {
		g := p.byName[n.Group]
		if g == nil || n.state != neverReady || !n.empty() {
			continue
		}
		p.take(n, g, Removal{Failed: true, Reason: p.tooLate(n)})
	}
	r := &remover{planner: p, reserved: map[string][]*v1.Pod{}, takes: map[string]bool{}, forks: 1}
	p.sim.Fork()
	defer r.revert()
	if !p.answered(r.begin()) {
		return
	}
	for _, c := range r.candidates() {
		if !p.answered(r.consider(c)) {
			return
		}
	}
}

// remover is the removing half of one decision.
type remover struct {
	*planner
	judge *drain.Judge
	// reserved are the reserve pods by the node that they have in the simulation.
	reserved map[string][]*v1.Pod
	// takes are the nodes that pods of others go to.
	takes map[string]bool
	// drains and empties count the nodes on their way out, simulated the questions that were asked.
	drains, empties, simulated int
	room                       capacity
	forks                      int
}

func (r *remover) revert() {
	for range r.forks {
		r.sim.Revert()
	}
}

// begin gives those their place who come before: the pods of nodes on their way out, then the reserve.
func (r *remover) begin() error {
	world := r.in.World
	world.Now, world.Config, world.Nodes = r.in.Now, r.in.Config.Drain, nil
	for _, n := range r.nodes {
		if n.state == ready && !n.gone {
			world.Nodes = append(world.Nodes, n.Object)
			r.room = r.room.plus(r.free(n))
		}
	}
	r.judge = drain.NewJudge(world)
	for _, n := range r.nodes {
		if n.state != leaving {
			continue
		}
		if err := r.settle(n); err != nil {
			return err
		}
	}
	for _, pod := range r.in.Reserve {
		node, _, err := r.sim.Place(pod)
		if err != nil {
			return err
		}
		if node != "" {
			r.reserved[node] = append(r.reserved[node], pod)
		}
	}
	return nil
}

// settle finds places for the pods of a node on its way out. One whose pods have none any more is to stay.
func (r *remover) settle(n *node) error {
	pods, _ := r.movable(n)
	if n.Draining {
		if len(pods) > 0 {
			r.drains++
		} else {
			r.empties++
		}
	}
	r.judge.Take(pods...)
	_, why, err := r.moveAway(n, pods)
	if err == nil && why != "" && n.Draining {
		r.decision.Recalls = append(r.decision.Recalls, Recall{n.Object.Name, n.Object.UID, why})
	}
	return err
}

// movable returns the pods of a node that have to go elsewhere, by name, and the first obstacle.
func (r *remover) movable(n *node) (pods []*v1.Pod, obstacle drain.Verdict) {
	for _, pod := range slices.SortedFunc(slices.Values(n.Pods), podsByName) {
		v := r.judge.Pod(pod)
		switch v.Fate {
		case drain.Ends, drain.Leaves:
			continue
		case drain.Moves:
			if r.in.Replaced[pod.UID] && obstacle.Fate == "" {
				obstacle = drain.Verdict{Fate: drain.Waits, Rule: "Replaced", Reason: fmt.Sprintf("pod %s/%s waits for room for its new size", pod.Namespace, pod.Name)}
			}
		default:
			if obstacle.Fate == "" {
				obstacle = v
				obstacle.Reason = fmt.Sprintf("pod %s/%s: %s", pod.Namespace, pod.Name, v.Reason)
			}
		}
		pods = append(pods, pod)
	}
	return pods, obstacle
}

func podsByName(a, b *v1.Pod) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// returning are the slots on a node that are being deleted and come back: their room goes with the node. Those of the
// forecast have their place.
func (r *remover) returning(n *node) (pods []*v1.Pod) {
	for _, pod := range n.Pods {
		if r.judge.Returns(pod) && !r.in.Replaced[pod.UID] && !r.expendable(pod) {
			pods = append(pods, pod)
		}
	}
	return pods
}

// moveAway takes the node and its pods away and finds places for them, on ready nodes that stay. It
// leaves them there, or everything as it was and says why.
func (r *remover) moveAway(n *node, pods []*v1.Pod) (moves []Move, why string, err error) {
	r.sim.Fork()
	r.forks++
	defer func() {
		if why != "" || err != nil {
			r.sim.Revert()
			r.forks--
		}
	}()
	name := n.Object.Name
	reserve := r.reserved[name]
	for _, pod := range pods {
		if r.expendable(pod) || r.in.Replaced[pod.UID] {
			continue
		}
		if err := r.sim.RemovePod(pod); err != nil {
			return nil, "", err
		}
	}
	if err := r.sim.RemoveNode(name); err != nil {
		return nil, "", err
	}
	for _, pod := range inOrder(pods, r.largest) {
		switch {
		case r.expendable(pod):
			moves = append(moves, Move{Pod: nameOf(pod)})
			continue
		case r.in.Replaced[pod.UID]:
			continue
		}
		to, why, err := r.placeStaying(r.successor(pod))
		if why != "" || err != nil {
			return nil, fmt.Sprintf("pod %s/%s has no place elsewhere: %s", pod.Namespace, pod.Name, why), err
		}
		moves = append(moves, Move{nameOf(pod), to})
	}
	var back []string
	for _, pod := range inOrder(r.returning(n), r.largest) {
		to, why, err := r.placeStaying(successor(pod))
		if why != "" || err != nil {
			return nil, fmt.Sprintf("pod %s/%s, which comes back, would have no place: %s", pod.Namespace, pod.Name, why), err
		}
		back = append(back, to)
	}
	placed := make([]string, len(reserve))
	for i, pod := range reserve {
		if placed[i], why, err = r.placeStaying(pod); why != "" || err != nil {
			return nil, fmt.Sprintf("pod %s/%s, which may come soon, would have no place: %s", pod.Namespace, pod.Name, why), err
		}
	}
	for _, move := range moves {
		r.takes[move.To] = true
	}
	for _, to := range back {
		r.takes[to] = true
	}
	delete(r.reserved, name)
	for i, pod := range reserve {
		r.reserved[placed[i]] = append(r.reserved[placed[i]], pod)
	}
	return moves, "", nil
}

// placeStaying places a pod on a present node that is ready, or says why there is none.
func (r *remover) placeStaying(pod *v1.Pod) (node, why string, err error) {
	node, reasons, err := r.sim.Place(pod)
	if err != nil {
		return "", "", err
	}
	if node == "" {
		return "", cmp.Or(strings.Join(reasons, ", "), "no node takes it"), nil
	}
	for _, n := range r.nodes {
		if n.Object.Name == node && n.state == ready && !n.gone {
			return node, "", nil
		}
	}
	return "", fmt.Sprintf("there is only node %s, which is not ready yet", node), nil
}

// successor is the pod that comes in the place of one, as large as it will be.
func (r *remover) successor(pod *v1.Pod) *v1.Pod {
	if larger := r.in.Resized[pod.UID]; larger != nil {
		pod = larger
	}
	return successor(pod)
}

// successor is the pod that comes in the place of one. Volumes that are made for a pod alone are taken for those
// that it has, as if the next pod would get them.
func successor(pod *v1.Pod) *v1.Pod {
	next := *pod
	next.Spec.NodeName, next.DeletionTimestamp, next.DeletionGracePeriodSeconds = "", nil, nil
	next.Status = v1.PodStatus{Phase: v1.PodPending}
	if !slices.ContainsFunc(pod.Spec.Volumes, func(v v1.Volume) bool { return v.Ephemeral != nil }) {
		next.UID = types.UID("moved/" + string(pod.UID))
	}
	return &next
}

// inOrder are the pods as they are placed: by priority, then the largest first, then by name.
func inOrder(pods []*v1.Pod, largest capacity) []*v1.Pod {
	return slices.SortedFunc(slices.Values(pods), func(a, b *v1.Pod) int {
		return cmp.Or(
			cmp.Compare(priority(b), priority(a)),
			cmp.Compare(needsOf(b).of(largest), needsOf(a).of(largest)),
			podsByName(a, b),
		)
	})
}

func nameOf(pod *v1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

func (p *planner) take(n *node, g *group, why Removal) {
	n.gone = true
	g.removed++
	why.Node, why.UID, why.Group = n.Object.Name, n.Object.UID, g.Name
	p.decision.Removals = append(p.decision.Removals, why)
}

// unneeded tells whether a node is one to think about: nothing of this decision is placed on it, and
// its pods request little.
func (p *planner) unneeded(n *node) bool {
	if (n.state != ready && n.state != unreadyNow) || n.gone || p.byName[n.Group] == nil || p.used[n.Object.Name] {
		return false
	}
	return n.empty() || p.utilization(n).most() < p.own(p.byName[n.Group]).UtilizationThreshold
}

// rememberRemovals notes since when nodes are under-used, and which could not go.
func (p *planner) rememberRemovals(next *History) {
	next.UnneededSince, next.Unremovable = map[types.UID]time.Time{}, map[types.UID]Unremovable{}
	for _, n := range p.nodes {
		uid := n.Object.UID
		if p.unneeded(n) {
			next.UnneededSince[uid] = earlier(p.in.History.UnneededSince, uid, p.in.Now)
		}
		known, ok := p.unremovable[uid]
		if !ok {
			known, ok = p.in.History.Unremovable[uid]
		}
		if ok && p.in.Now.Sub(known.At) < p.in.Config.Recheck {
			next.Unremovable[uid] = known
		}
	}
}
