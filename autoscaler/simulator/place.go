// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
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
	if known, ok := s.refusals.find(pod, among); ok {
		return "", known, nil
	}
	c := &cycle{
		Session:   s,
		framework: s.simulator.of(pod.Spec.SchedulerName),
		state:     framework.NewCycleState(),
		pod:       identified(pod),
		refused:   map[string]int{},
	}
	if node, err = c.run(among); err != nil {
		return "", nil, fmt.Errorf("simulation of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if node == "" {
		reasons = c.reasons()
		s.refusals.add(pod, among, reasons)
	}
	return node, reasons, nil
}

// cycle is one scheduling cycle.
type cycle struct {
	*Session
	framework framework.Framework
	state     fwk.CycleState
	pod       *v1.Pod
	narrowed  *fwk.PreFilterResult
	refused   map[string]int // nodes by reason
	whole     string         // the reason for all nodes
}

func (c *cycle) run(among []string) (string, error) {
	narrowed, status, rejecting := c.framework.RunPreFilterPlugins(c.ctx, c.state, c.pod)
	if !status.IsSuccess() {
		c.whole = status.Message()
		return "", failure(status)
	}
	c.narrowed = narrowed
	present, added := c.candidates(among)
	if !narrowed.AllNodes() {
		present = c.narrow(present, strings.Join(slices.Sorted(setKeys(rejecting)), ", "))
	}
	fitting, err := c.filter(present)
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
	// One by one: the first that fits is taken, and most are never asked.
	for i := range added {
		fitting, err := c.filter(added[i : i+1])
		if err != nil {
			return "", err
		}
		if len(fitting) == 0 {
			continue
		}
		if node, err := c.reserve(fitting[0].Node().Name); node != "" || err != nil {
			return node, err
		}
	}
	return "", nil
}

// failure is the error of a status that is more than a refusal.
func failure(status *fwk.Status) error {
	if status.IsSuccess() || status.IsRejected() {
		return nil
	}
	return status.AsError()
}

// candidates returns the nodes in question: present ones and added ones.
func (c *cycle) candidates(among []string) (present, added []fwk.NodeInfo) {
	snapshot := c.simulator.snapshot
	if len(among) == 0 {
		return snapshot.nodes[:snapshot.present], snapshot.nodes[snapshot.present:]
	}
	for _, name := range among {
		switch i := slices.IndexFunc(snapshot.nodes, func(n fwk.NodeInfo) bool { return n.Node().Name == name }); {
		case i < 0:
			c.refused["node(s) unknown"]++
		case i < snapshot.present:
			present = append(present, snapshot.nodes[i])
		default:
			added = append(added, snapshot.nodes[i])
		}
	}
	return present, added
}

// narrow leaves the nodes that PreFilter named. Added nodes are not narrowed:
// PreFilter finds names in indexes of what exists, and whatever it restricts
// Filter restricts too.
func (c *cycle) narrow(nodes []fwk.NodeInfo, plugins string) []fwk.NodeInfo {
	kept := make([]fwk.NodeInfo, 0, len(c.narrowed.NodeNames))
	for _, n := range nodes {
		if c.narrowed.NodeNames.Has(n.Node().Name) {
			kept = append(kept, n)
		}
	}
	if dropped := len(nodes) - len(kept); dropped > 0 {
		c.refused[fmt.Sprintf("node(s) didn't satisfy plugin(s) [%s]", plugins)] += dropped
	}
	return kept
}

// filter returns the nodes that fit, or the first enoughToScore of them. It
// asks about as many nodes at a time, in parallel, and keeps their order.
func (c *cycle) filter(nodes []fwk.NodeInfo) ([]fwk.NodeInfo, error) {
	var fitting []fwk.NodeInfo
	for batch := range slices.Chunk(nodes, enoughToScore) {
		verdicts := make([]*fwk.Status, len(batch))
		ask := func(i int) {
			verdicts[i] = c.framework.RunFilterPluginsWithNominatedPods(c.ctx, c.state, c.pod, batch[i])
		}
		if len(batch) == 1 {
			ask(0)
		} else {
			c.framework.Parallelizer().Until(c.ctx, len(batch), ask, "simulation")
		}
		if err := context.Cause(c.ctx); err != nil {
			return nil, err
		}
		for i, status := range verdicts {
			if err := failure(status); err != nil {
				return nil, err
			}
			if status.IsSuccess() {
				fitting = append(fitting, batch[i])
				continue
			}
			for _, reason := range status.Reasons() {
				c.refused[reason]++
			}
		}
		if len(fitting) >= enoughToScore {
			break
		}
	}
	return fitting, nil
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

// reserve puts the pod on the node, unless a plugin refuses at the last moment.
func (c *cycle) reserve(node string) (string, error) {
	pod := c.pod.DeepCopy()
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
	undo, err := c.simulator.snapshot.addPod(c.logger, pod)
	if err != nil {
		return "", err
	}
	c.done(undo)
	undo, err = c.simulator.overlay.put(pod)
	if err != nil {
		return "", err
	}
	c.done(undo)
	return node, nil
}

func (c *cycle) reasons() []string {
	if c.whole != "" {
		return []string{c.whole}
	}
	reasons := make([]string, 0, len(c.refused))
	for reason, count := range c.refused {
		reasons = append(reasons, fmt.Sprintf("%d %s", count, reason))
	}
	slices.Sort(reasons)
	return reasons
}
