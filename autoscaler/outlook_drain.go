// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

// ErrUnknownNode tells that there is no such node.
var ErrUnknownNode = errors.New("there is no such node")

// Drain tells what would become of the pods of a node that is cordoned and emptied. The node stays a node of its group.
func (o *Outlook) Drain(ctx context.Context, name string) (Prospect, error) {
	c := o.conductor
	present, pods := c.reader.Nodes(), c.reader.Pods()
	in, _, err := c.observeNodes(ctx, present, pods)
	if err != nil {
		return Prospect{}, err
	}
	at := slices.IndexFunc(in.Nodes, func(n nodes.Node) bool { return n.Object.Name == name })
	if at < 0 {
		return Prospect{}, ErrUnknownNode
	}
	node := in.Nodes[at]
	verdicts := c.fates(in, node)
	future := forecast.Decide(c.futureInput(expectations{}, pods))
	moving, resized := map[types.UID]bool{}, c.resized(node.Pods, c.tables())
	for _, v := range verdicts {
		if v.moves() {
			moving[v.pod.UID] = true
			future.Pods = append(future.Pods, nodes.Successor(cmp.Or(resized[v.pod.UID], v.pod)))
		}
	}
	cordoned := node.Object.DeepCopy()
	cordoned.Spec.Unschedulable = true
	o.prepare = func(s Simulation) error {
		for _, v := range verdicts {
			if v.moves() && !c.expendable(v.pod) {
				if err := s.RemovePod(v.pod); err != nil {
					return fmt.Errorf("taking pod %s/%s away: %w", v.pod.Namespace, v.pod.Name, err)
				}
			}
		}
		return s.AddNode(cordoned)
	}
	remaining := slices.DeleteFunc(slices.Clone(pods), func(pod *corev1.Pod) bool { return moving[pod.UID] })
	d, err := o.decide(ctx, present, pods, remaining, func(in *nodes.Input) {
		in.Nodes[slices.IndexFunc(in.Nodes, func(n nodes.Node) bool { return n.Object.Name == name })].Object = cordoned
	}, future)
	if err != nil {
		return Prospect{}, err
	}
	p := Prospect{Decision: d}
	for _, v := range verdicts {
		place := Place{Pod: v.pod, Exists: true}
		if v.moves() {
			place = o.place(v.pod, true, d)
		}
		place.Fate, place.Why, place.Later = v.Fate, v.Reason, v.later
		p.Pods = append(p.Pods, place)
	}
	p.Kept = keeps(in, node, p.Pods)
	return p, nil
}

// fate is what becomes of a pod when its node goes.
type fate struct {
	pod *corev1.Pod
	drain.Verdict
	// later tells that the pod could move now, and waits for others of the node that do.
	later bool
}

// moves tells that the pod needs a place elsewhere, now or later.
func (f fate) moves() bool {
	return f.Fate == drain.Moves || f.Fate == drain.Waits || f.Fate == drain.Stays
}

// fates are those of the pods of a node, by name. What moves counts for those behind it.
func (c *Conductor) fates(in nodes.Input, node nodes.Node) []fate {
	judge, alone := c.judge(in), c.judge(in)
	var all []fate
	byName := slices.SortedFunc(slices.Values(node.Pods), func(a, b *corev1.Pod) int {
		// From the top, as a drain does.
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(len(b.Name), len(a.Name)), cmp.Compare(b.Name, a.Name))
	})
	for _, pod := range byName {
		if ended(pod) {
			continue
		}
		verdict := judge.Pod(pod)
		if verdict.Fate == drain.Moves {
			judge.Take(pod)
		}
		all = append(all, fate{pod, verdict, verdict.Fate == drain.Waits && alone.Pod(pod).Fate == drain.Moves})
	}
	slices.Reverse(all)
	return all
}

// keeps says why Berth would not remove the node by itself; empty where it would, in time.
func keeps(in nodes.Input, node nodes.Node, pods []Place) (reasons []string) {
	say := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	at := slices.IndexFunc(in.Groups, func(g nodes.Group) bool { return g.Name == node.Group })
	if at < 0 {
		say("it is of no node group that Berth scales")
		return reasons
	}
	if g := in.Groups[at]; g.Target <= g.Min {
		say("group %s is at its minimum %d", g.Name, g.Min)
	}
	if node.Object.Annotations[drain.ScaleDownDisabled] == "true" {
		say("annotation %s", drain.ScaleDownDisabled)
	}
	threshold := cmp.Or(in.Groups[at].Options.UtilizationThreshold, in.Config.UtilizationThreshold)
	if share, of := mostAsked(node, in.Config.IgnoreDaemonSets, pods); share >= threshold && share > 0 {
		say("its pods ask for %.0f%% of its %s (threshold %.0f%%)", 100*share, of, 100*threshold)
	}
	for _, p := range pods {
		switch name := p.Pod.Namespace + "/" + p.Pod.Name; {
		case p.Fate == drain.Stays:
			say("pod %s: %s", name, p.Why)
		case (fate{Verdict: drain.Verdict{Fate: p.Fate}}).moves() && (p.Node == "" || p.New || p.Upcoming):
			say("pod %s has no place on a node that is there", name)
		}
	}
	return reasons
}

// mostAsked is the share of the node that its pods request, of its cpu or its memory, whichever is more.
func mostAsked(node nodes.Node, ignoreDaemons bool, pods []Place) (share float64, of corev1.ResourceName) {
	var cpu, memory int64
	for _, p := range pods {
		if ignoreDaemons && p.Fate == drain.Ends {
			continue
		}
		requests := resourcehelper.PodRequests(p.Pod, resourcehelper.PodResourcesOptions{})
		cpu, memory = cpu+requests.Cpu().MilliValue(), memory+requests.Memory().Value()
	}
	part := func(asked, has int64) float64 {
		if has == 0 {
			return 0
		}
		return float64(asked) / float64(has)
	}
	ofCPU, ofMemory := part(cpu, node.Object.Status.Allocatable.Cpu().MilliValue()), part(memory, node.Object.Status.Allocatable.Memory().Value())
	if ofMemory > ofCPU {
		return ofMemory, corev1.ResourceMemory
	}
	return ofCPU, corev1.ResourceCPU
}
