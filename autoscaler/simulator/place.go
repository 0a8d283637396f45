// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
)

// enoughToScore is the number of fitting present nodes among which the best is
// chosen. The scheduler too stops looking at a hundred and more.
const enoughToScore = 100

// Place finds a node for the pod as the scheduler would, among the named ones
// if any are named, and puts it there. Where none fits it returns no node and
// the reasons with the number of nodes that gave them. An error says that
// there is no answer: the context has ended, or a plugin failed.
func (s *Session) Place(pod *v1.Pod, among ...string) (node string, reasons []string, err error) {
	if err := context.Cause(s.ctx); err != nil {
		return "", nil, fmt.Errorf("simulation of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	c := &cycle{
		Session:   s,
		framework: s.simulator.of(pod.Spec.SchedulerName),
		pod:       identified(pod),
		refused:   map[string]int{},
	}
	c.recall(pod)
	present, added := c.candidates(among)
	if !c.refusedBefore(present, added) {
		if node, err = c.run(present, added); err != nil {
			return "", nil, fmt.Errorf("simulation of pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	if node == "" {
		reasons = c.reasons(present, added)
	}
	return node, reasons, nil
}

// cycle is one scheduling cycle.
type cycle struct {
	*Session
	framework framework.Framework
	state     fwk.CycleState
	pod       *v1.Pod
	// record holds who refused the pod, also in cycles of its equals where it is
	// shared; names are those that it is told instead of theirs. A pod with a place
	// of its own is told in words of its own why there is none.
	record      *record
	names       []string
	shared, own bool

	refused map[string]int // nodes by reason, where no record holds it
	whole   string         // the reason for all nodes
}

// candidates returns where the nodes in question are in the snapshot: present
// ones and added ones.
func (c *cycle) candidates(among []string) (present, added []int) {
	snapshot := c.simulator.snapshot
	if len(among) == 0 {
		for len(c.order) < len(snapshot.nodes) {
			c.order = append(c.order, len(c.order))
		}
		return c.order[:snapshot.present], c.order[snapshot.present:len(snapshot.nodes)]
	}
	for _, name := range among {
		switch i, ok := snapshot.at[name]; {
		case !ok:
			c.refused["node(s) unknown"]++
		case i < snapshot.present:
			present = append(present, i)
		default:
			added = append(added, i)
		}
	}
	return present, added
}

// refusedBefore tells whether it is known already that no node takes the pod.
func (c *cycle) refusedBefore(present, added []int) bool {
	if c.record.whole != "" && c.record.nodes == len(c.simulator.snapshot.nodes) {
		c.whole = c.record.whole
		return true
	}
	open := func(i int) bool { return c.record.refusals[i] == unknown }
	return len(present)+len(added) > 0 && !slices.ContainsFunc(present, open) && !slices.ContainsFunc(added, open)
}

func (c *cycle) run(present, added []int) (string, error) {
	c.state = framework.NewCycleState()
	narrowed, status, rejecting := c.framework.RunPreFilterPlugins(c.ctx, c.state, c.pod)
	if !status.IsSuccess() {
		if err := failure(status); err != nil {
			return "", err
		}
		c.whole = status.Message()
		if c.shared && !c.own { // what is said of its claims, or its slot, is its own
			c.record.whole, c.record.nodes = c.whole, len(c.simulator.snapshot.nodes)
			c.learn(c.record, -1)
		}
		return "", nil
	}
	if node, err := c.nominated(present); node != "" || err != nil {
		return node, err
	}
	if !narrowed.AllNodes() {
		c.narrow(present, narrowed.NodeNames, strings.Join(slices.Sorted(maps.Keys(rejecting)), ", "))
	}
	fitting, err := c.filter(present, enoughToScore)
	if err != nil {
		return "", err
	}
	ranked, err := c.rank(fitting)
	if err != nil {
		return "", err
	}
	for _, name := range ranked {
		if node, err := c.reserve(name); node != "" || err != nil {
			return node, err
		}
	}
	return c.takeFirst(added)
}

// nominated takes the node that preemption made room on, if it fits: the
// scheduler looks at no other then.
func (c *cycle) nominated(present []int) (string, error) {
	if c.pod.Status.NominatedNodeName == "" {
		return "", nil
	}
	i, ok := c.simulator.snapshot.at[c.pod.Status.NominatedNodeName]
	if !ok || !slices.Contains(present, i) {
		return "", nil
	}
	return c.takeFirst([]int{i})
}

// takeFirst puts the pod on the first of the nodes where it fits. It asks one by
// one: most are never asked.
func (c *cycle) takeFirst(nodes []int) (string, error) {
	for {
		fitting, err := c.filter(nodes, 1)
		if err != nil || len(fitting) == 0 {
			return "", err
		}
		name := fitting[0].Node().Name
		if node, err := c.reserve(name); node != "" || err != nil {
			return node, err
		}
		nodes = nodes[slices.Index(nodes, c.simulator.snapshot.at[name])+1:]
	}
}

// failure is the error of a status that is more than a refusal.
func failure(status *fwk.Status) error {
	if status.IsSuccess() || status.IsRejected() {
		return nil
	}
	return status.AsError()
}

// rank returns the names of the nodes, the best first.
func (c *cycle) rank(nodes []fwk.NodeInfo) ([]string, error) {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Node().Name
	}
	if len(nodes) < 2 || !c.framework.HasScorePlugins() {
		return names, nil
	}
	if status := c.framework.RunPreScorePlugins(c.ctx, c.state, c.pod, nodes); !status.IsSuccess() {
		return nil, status.AsError()
	}
	scores, status := c.framework.RunScorePlugins(c.ctx, c.state, c.pod, nodes)
	if !status.IsSuccess() {
		return nil, status.AsError()
	}
	slices.SortStableFunc(scores, func(a, b fwk.NodePluginScores) int { return cmp.Compare(b.TotalScore, a.TotalScore) })
	for i, score := range scores {
		names[i] = score.Name
	}
	return names, nil
}

// largeStates are what plugins write for the filters and scores of one pod, by
// the node, and do not need to take the pod back. A session has as many states as
// it has placed pods.
var largeStates = []fwk.StateKey{
	"PreFilter" + names.InterPodAffinity, "PreScore" + names.InterPodAffinity,
	"PreFilter" + names.PodTopologySpread, "PreScore" + names.PodTopologySpread,
}

// reserve puts the pod on the node, unless a plugin refuses at the last moment.
func (c *cycle) reserve(node string) (string, error) {
	frees := c.frees(node)
	placed := *c.pod
	pod := &placed
	pod.Spec.NodeName = node
	unreserve := func() {
		c.framework.RunReservePluginsUnreserve(context.WithoutCancel(c.ctx), c.state, pod, node)
	}
	if status := c.framework.RunReservePluginsReserve(c.ctx, c.state, pod, node); !status.IsSuccess() {
		unreserve()
		for _, reason := range status.Reasons() {
			c.refused[reason]++
		}
		return "", failure(status)
	}
	c.done(unreserve)
	for _, large := range largeStates {
		c.state.Delete(large)
	}
	undo, err := c.simulator.snapshot.addPod(c.logger, pod)
	if err != nil {
		return "", err
	}
	c.done(undo)
	if pod.Status.NominatedNodeName != "" {
		c.done(c.simulator.nominated.remove(pod))
	}
	if err := c.lay(pod); err != nil {
		return "", err
	}
	if frees {
		c.forget()
	}
	return node, nil
}

// frees tells whether room gets free elsewhere when the pod goes to a node.
func (c *cycle) frees(node string) bool {
	nominated := c.pod.Status.NominatedNodeName
	return nominated != "" && nominated != node || c.simulator.standing(c.pod).Kept
}
