// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// answers answers what the resize engine asks in one tick, all of it from one simulation that begins with the first
// question. Until they are closed no other simulation can begin.
//
// Each question is answered for itself. That the answers to several hold together is seen to by the engine, which gives
// a node to one pod at a time.
type answers struct {
	*Conductor
	tick context.Context

	ctx        context.Context // that of the simulation, nil before it is begun
	end        context.CancelFunc
	simulation Simulation
	err        error         // why there is none
	pods       []*corev1.Pod // that it was begun with

	given   int
	settled *settled // nil where nobody is placed

	began  time.Time
	coming *[]*corev1.Node // nodes on their way, nil before they are looked for
}

func (c *Conductor) newAnswers(ctx context.Context) *answers {
	now := c.now()
	maps.DeleteFunc(c.history.created, func(_ string, old creation) bool { return now.Sub(old.at) >= c.config.SyncPeriod.Duration })
	return &answers{Conductor: c, tick: ctx, end: func() {}, began: now}
}

// of answers questions, in their order, as long as there is time. One is answered in any case.
func (a *answers) of(questions []resize.Question) []resize.Answer {
	var all []resize.Answer
	for _, q := range questions {
		if a.given > 0 && a.now().Sub(a.began) >= a.patience() {
			break
		}
		if q.Move {
			all = append(all, a.move(q))
		} else {
			all = append(all, a.stay(q))
		}
		a.given++
	}
	return all
}

// patience is how long questions may take of a tick, which has nodes to decide on, too, and has to end before the next.
func (a *answers) patience() time.Duration {
	return min(a.config.SyncPeriod.Duration, a.config.Nodes.SimulationTimeout.Duration) / 2
}

func (a *answers) close() {
	if a.simulation != nil {
		a.simulation.Close()
	}
	a.end()
}

// begin begins the simulation, once.
func (a *answers) begin() error {
	if a.ctx == nil {
		a.ctx, a.end = context.WithTimeout(a.tick, a.config.Nodes.SimulationTimeout.Duration)
		a.pods = a.reader.Pods()
		simulation, err := a.simulate(a.ctx, a.reader.Nodes(), a.pods)
		if a.err = err; err == nil {
			a.simulation = simulation
		}
	}
	return a.err
}

// stay answers whether a pod's own node has room for it. Without a simulation the sums are all there is to go by.
func (a *answers) stay(q resize.Question) resize.Answer {
	answer := resize.Answer{Pod: q.Pod.UID, Sizes: q.Sizes}
	grown := sizedAs(q.Pod, q.Sizes)
	var reasons []string
	if a.simulate == nil {
		reasons = lacking(a.reader.Node(q.Pod.Spec.NodeName), a.reader.PodsOn(q.Pod.Spec.NodeName), grown)
		answer.Fits = len(reasons) == 0
	} else {
		err := a.begin()
		if err == nil {
			a.unsettle()
			answer.Fits, reasons, err = a.simulation.Grow(grown)
		}
		if err != nil {
			answer.Unknown, answer.Reason = true, unanswered(err)
			return answer
		}
	}
	if !answer.Fits {
		answer.Reason = fmt.Sprintf("node %s has no room for it: %s", q.Pod.Spec.NodeName, strings.Join(reasons, ", "))
	}
	return answer
}

func unanswered(err error) string { return "there is no answer from the simulation: " + err.Error() }

// lacking returns what a pod lacks on its node, where the others stay as they are.
func lacking(node *corev1.Node, there []*corev1.Pod, pod *corev1.Pod) (lacks []string) {
	if node == nil {
		return []string{"it is not there"}
	}
	needs := requestsOf(pod)
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		free := node.Status.Allocatable[name].DeepCopy()
		for _, other := range there {
			if other.UID != pod.UID && !ended(other) {
				free.Sub(requestsOf(other)[name])
			}
		}
		if need := needs[name]; need.Sign() > 0 && need.Cmp(free) > 0 {
			lacks = append(lacks, "Insufficient "+string(name))
		}
	}
	return lacks
}

// requestsOf is what the scheduler counts for a pod: of a container that is being resized the most of what it asks
// for, was given and has.
func requestsOf(pod *corev1.Pod) corev1.ResourceList {
	return resource.PodRequests(pod, resource.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true})
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// sizedAs is a copy of a pod that asks for other sizes. Of its conditions none is left: they are about a resize
// before this one.
func sizedAs(pod *corev1.Pod, sizes resize.Sizes) *corev1.Pod {
	sized := pod.DeepCopy()
	sized.Status.Conditions = nil
	for i := range sized.Spec.Containers {
		of := &sized.Spec.Containers[i].Resources
		if to, ok := sizes[sized.Spec.Containers[i].Name]; ok {
			of.Requests, of.Limits = with(of.Requests, to.Requests), with(of.Limits, to.Limits)
		}
	}
	return sized
}

func with(list, over corev1.ResourceList) corev1.ResourceList {
	for name, quantity := range over {
		if list == nil {
			list = corev1.ResourceList{}
		}
		list[name] = quantity
	}
	return list
}
