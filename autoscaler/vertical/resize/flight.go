// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
)

// flight is how far the resize of a pod is.
type flight struct {
	underway bool
	// revert says why it is to be taken back; empty while it is not.
	revert Failure
	// reason is for people.
	reason string
}

// flightOf reads spec, status, conditions and record of a pod. The kubelet sets
// PodResizePending until it has allocated a resize and PodResizeInProgress until it has
// actuated it (pkg/kubelet/allocation/allocation_manager.go: handlePodResourcesResize,
// pkg/kubelet/kubelet.go: SyncPod); a condition of an older generation is about
// another resize.
func (d *decider) flightOf(pod *v1.Pod, rec Record) flight {
	if !underway(pod) {
		return flight{}
	}
	pending, progress := condition(pod, v1.PodResizePending), condition(pod, v1.PodResizeInProgress)
	spec := sizesOf(pod.Spec.Containers)
	asked := len(rec.Asked) > 0 && rec.Asked.in(spec)
	switch {
	case rec.Failed != "" && !asked && rec.Asked.backTo(rec.Before).in(spec):
		return flight{underway: true, reason: fmt.Sprintf("its resize is taken back since %s (%s)", rec.At.Format(time.RFC3339), rec.Failed)}
	case !asked:
		return flight{underway: true, reason: "a resize is under way that is not Berth's"}
	case rec.Failed != "":
		return flight{underway: true, revert: rec.Failed, reason: fmt.Sprintf("its resize is to be taken back (%s)", rec.Failed)}
	}
	return d.progress(pod, rec, pending, progress)
}

// progress judges a resize that Berth asked for.
func (d *decider) progress(pod *v1.Pod, rec Record, pending, progress *v1.PodCondition) flight {
	of, since := "in progress", rec.At
	failure, patience := TimedOut, d.Config.InProgress
	message := ""
	switch {
	case pending != nil && current(pod, pending):
		of, since, message = pending.Reason, later(since, pending), pending.Message
		if failure, patience = Deferred, d.Config.Deferred; pending.Reason == v1.PodReasonInfeasible {
			failure, patience = Infeasible, 0
		}
	case progress != nil && current(pod, progress) && progress.Reason == v1.PodReasonError:
		of, since, message = progress.Reason, later(since, progress), progress.Message
		failure, patience = Erred, d.Config.Deferred
	}
	f := flight{underway: true}
	took := d.Now.Sub(since)
	f.reason = fmt.Sprintf("resize %s for %s", of, took.Round(time.Second))
	if message != "" {
		f.reason += ": " + message
	}
	if took >= patience {
		f.revert = failure
	}
	return f
}

func later(t time.Time, c *v1.PodCondition) time.Time {
	if c.LastTransitionTime.After(t) {
		return c.LastTransitionTime.Time
	}
	return t
}

// current tells whether a condition is about the spec as it is. Only a kubelet before
// 1.34 leaves the generation out.
func current(pod *v1.Pod, c *v1.PodCondition) bool {
	return c.ObservedGeneration == 0 || c.ObservedGeneration >= pod.Generation
}

func condition(pod *v1.Pod, kind v1.PodConditionType) *v1.PodCondition {
	for i, c := range pod.Status.Conditions {
		if c.Type == kind && c.Status == v1.ConditionTrue {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// underway tells whether the pod does not have yet what its spec asks for.
func underway(pod *v1.Pod) bool {
	return condition(pod, v1.PodResizePending) != nil || condition(pod, v1.PodResizeInProgress) != nil || !acknowledged(pod)
}

// acknowledged tells whether every container has what the spec asks for. A kubelet
// that has seen this generation, allocated it and left no condition is believed where
// a runtime rounds what it reports.
func acknowledged(pod *v1.Pod) bool {
	seen := pod.Generation > 0 && pod.Status.ObservedGeneration >= pod.Generation
	for _, c := range pod.Spec.Containers {
		for _, cs := range pod.Status.ContainerStatuses {
			if cs.Name != c.Name || cs.Resources == nil {
				continue // not started, or by a kubelet that does not resize
			}
			allocated := cs.AllocatedResources == nil || same(cs.AllocatedResources, c.Resources.Requests)
			if !allocated || (!seen && !sameSize(*cs.Resources, c.Resources)) {
				return false
			}
		}
	}
	return true
}

// ready tells whether the pod is available to its application.
func ready(pod *v1.Pod) bool {
	c := condition(pod, v1.PodReady)
	return c != nil && pod.DeletionTimestamp == nil
}

// restarting tells whether a resize is under way on a pod of which one may restart a
// container: that may happen at any moment, whoever asked for it.
func restarting(pod *v1.Pod) bool {
	if !underway(pod) {
		return false
	}
	for _, c := range pod.Spec.Containers {
		for _, r := range resizable() {
			if policyOf(c, r) == v1.RestartContainer {
				return true
			}
		}
	}
	return false
}
