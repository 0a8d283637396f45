// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Node is a node that is to go.
type Node struct {
	Object *v1.Node
	Pods   []*v1.Pod
	// Wanted says why it is to stay after all; empty if nothing does.
	Wanted string
	// Failed is why it could not be deleted when that was tried; empty if it was not.
	Failed string
	// Homeless names a pod that was evicted from it and has no node yet; empty if there is none.
	Homeless string
	// Progress is what the step before left; the zero value where nobody remembers it.
	Progress Progress
}

// Progress is how far a drain has come, and when it came there.
type Progress struct {
	At time.Time
	// Left is how many pods were still there, and Going how many of them had still to be evicted.
	Left, Going int
}

// Kind is what is done with a node.
type Kind string

const (
	// Tainting: it gets the taint.
	Tainting Kind = "Taint"
	// Waiting: nothing is done, before Until at the latest.
	Waiting Kind = "Wait"
	// Evicting: these pods are evicted.
	Evicting Kind = "Evict"
	// Deleting: nothing is left on it that moves.
	Deleting Kind = "Delete"
	// Undoing: it stays, and the taint goes.
	Undoing Kind = "Undo"
)

// Step is what is done next with a node, and why.
type Step struct {
	Kind   Kind
	Reason string
	// Until is when to look again, whatever happens.
	Until time.Time
	Pods  []*v1.Pod
}

// Next is the next step with a node. What it evicts counts for the nodes that are asked about after it.
func (j *Judge) Next(n Node) (Step, Progress) {
	if n.Object.DeletionTimestamp != nil {
		return Step{Kind: Waiting, Reason: "it is being deleted", Until: j.world.Now.Add(j.world.Config.MaxPodEvictionTime)}, n.Progress
	}
	if why := j.stays(n); why != "" {
		return Step{Kind: Undoing, Reason: why}, n.Progress
	}
	if !Marked(n.Object) {
		return Step{Kind: Tainting, Reason: "pods are to come here no more"}, Progress{}
	}
	since, err := Since(n.Object)
	if err != nil {
		return Step{Kind: Undoing, Reason: err.Error()}, n.Progress
	}
	if settled := since.Add(j.world.Config.AfterTaint); j.world.Now.Before(settled) {
		return Step{Kind: Waiting, Reason: "whoever places pods is to see the taint first", Until: settled}, n.Progress
	}
	return j.empty(n)
}

// stays says why a node is not to go; empty if nothing does.
func (j *Judge) stays(n Node) string {
	if n.Wanted != "" {
		return n.Wanted
	}
	if n.Object.Annotations[ScaleDownDisabled] == "true" {
		return "annotation " + ScaleDownDisabled
	}
	if !Marked(n.Object) && slices.ContainsFunc(n.Object.Spec.Taints, func(t v1.Taint) bool { return t.Key == Taint }) {
		return "it has a taint " + Taint + " that is not Berth's"
	}
	late := time.Time{}
	if since, err := Since(n.Object); err == nil {
		late = since.Add(j.world.Config.AfterTaint)
	}
	for _, pod := range n.Pods {
		switch v := j.Pod(pod); {
		case v.Fate == Stays:
			return fmt.Sprintf("pod %s/%s: %s", pod.Namespace, pod.Name, v.Reason)
		case v.Fate != Ends && !late.IsZero() && boundAt(pod).After(late):
			return fmt.Sprintf("pod %s/%s came after the taint", pod.Namespace, pod.Name)
		}
	}
	return ""
}

// boundAt is when a node was found for the pod; zero where that is not known.
func boundAt(pod *v1.Pod) time.Time {
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodScheduled && c.Status == v1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// empty is the next step with a node that no pod comes to any more.
func (j *Judge) empty(n Node) (Step, Progress) {
	config, now := j.world.Config, j.world.Now
	var evicted []*v1.Pod
	var waits []string
	next := Progress{}
	ends := time.Time{} // when the last pod that is being deleted is taken for gone
	for _, pod := range j.fromTheTop(n.Pods) {
		v := j.Pod(pod)
		switch v.Fate {
		case Ends:
			continue
		case Leaves:
			if end := j.end(pod); end.After(ends) {
				ends = end
			}
			v.Reason = fmt.Sprintf("pod %s/%s is being deleted", pod.Namespace, pod.Name)
		case Moves:
			j.Take(pod)
			evicted = append(evicted, pod)
			fallthrough
		default:
			next.Going++
		}
		next.Left++
		if v.Fate != Moves {
			waits = append(waits, v.Reason)
		}
	}
	next.At = n.Progress.At
	if next.At.IsZero() || next.Left < n.Progress.Left || next.Going < n.Progress.Going {
		next.At = now
	}
	deadline := next.At.Add(config.MaxPodEvictionTime)
	over := !now.Before(deadline) && ends.IsZero()
	switch {
	case next.Left == 0 && over && n.Failed != "":
		return Step{Kind: Undoing, Reason: fmt.Sprintf("it could not be deleted for %s: %s", now.Sub(next.At), n.Failed)}, next
	case next.Left == 0 && !over && n.Homeless != "":
		return Step{Kind: Waiting, Reason: fmt.Sprintf("pod %s, which was evicted here, has no node yet and may need this one", n.Homeless), Until: deadline}, next
	case next.Left == 0:
		return Step{Kind: Deleting, Reason: "nothing is left on it that moves"}, next
	case over:
		why := "evictions are refused"
		if len(waits) > 0 {
			why = waits[0]
		}
		return Step{Kind: Undoing, Reason: fmt.Sprintf("%d pods are left, and none has gone for %s: %s", next.Left, now.Sub(next.At), why)}, next
	case len(evicted) > 0:
		return Step{Kind: Evicting, Reason: fmt.Sprintf("%d of %d pods may go now", len(evicted), next.Left), Until: deadline, Pods: evicted}, next
	case ends.After(deadline):
		deadline = ends
	}
	return Step{Kind: Waiting, Reason: waits[0], Until: deadline}, next
}

// fromTheTop are the pods, the highest ordinals first, then by name.
func (j *Judge) fromTheTop(pods []*v1.Pod) []*v1.Pod {
	return slices.SortedFunc(slices.Values(pods), func(a, b *v1.Pod) int {
		return cmp.Or(cmp.Compare(j.Ordinal(b), j.Ordinal(a)), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
