// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
)

// History is what one decision leaves for the next. The zero value is a start
// without a past: everything is foreseen for the whole time again.
type History struct {
	// Waits are the workloads with pods that are foreseen, or were for too long.
	Waits map[Key]Wait
}

// Wait is since when pods are foreseen and nothing has come of it.
type Wait struct {
	Since time.Time
	State State
}

// State is what has to change for a wait to begin anew.
type State struct {
	Desired    int
	Generation int64
	Revision   string
	// Present counts the existing pods, Ready those of a set that is filled in order.
	Present, Ready int
}

// await holds back pods that have been foreseen for too long. The time runs
// while the controller could create a pod: not while a lower slot waits for its
// node, but while it does not become ready.
func (l *line) await(in Input) {
	l.wait = Wait{in.Now, l.state()}
	last, known := in.History.Waits[l.Key()]
	if !known || last.State != l.wait.State || l.nodeIsAwaited() {
		return
	}
	l.wait.Since = last.Since
	if in.Timeout > 0 && in.Now.Sub(last.Since) >= in.Timeout && len(l.decided.indices) > 0 {
		l.expired = true
		l.decided, l.reserve = queue{}, queue{}
		l.reason = fmt.Sprintf("they have not come within %s, though no node is in their way", in.Timeout)
	}
}

func (w Workload) state() State {
	s := State{Desired: w.Desired + len(w.Shaped), Generation: w.Generation, Revision: w.Revision}
	for _, pod := range w.Pods {
		if over(pod) || w.Slots != nil && !w.wants(pod) {
			continue
		}
		s.Present++
		if w.Slots != nil && w.Slots.Ordered && ready(pod) {
			s.Ready++
		}
	}
	return s
}

// nodeIsAwaited tells that the next slot comes after one that waits for its node.
func (w Workload) nodeIsAwaited() bool {
	return w.Slots != nil && w.Slots.Ordered && slices.ContainsFunc(w.Pods, func(pod *v1.Pod) bool {
		return w.wants(pod) && !over(pod) && pod.Spec.NodeName == ""
	})
}

func ready(pod *v1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c v1.PodCondition) bool {
		return c.Type == v1.PodReady && c.Status == v1.ConditionTrue
	})
}
