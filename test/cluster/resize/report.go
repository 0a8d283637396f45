// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/kubelet/status"
	kubetypes "k8s.io/kubernetes/pkg/kubelet/types"
)

// restart is one of a container: the count from then on, and when it was.
type restart struct {
	count int32
	at    metav1.Time
}

// report is the pod with the status that the kubelet gives it; nil if it has that.
// Before it runs, and once it is to stop, its status is kwok's.
func (k *kubelet) report(pod *corev1.Pod) *corev1.Pod {
	r := k.running[pod.UID]
	if r == nil || pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
		return nil
	}
	allocated, _ := k.rooms.UpdatePodFromAllocation(pod)
	next := pod.DeepCopy()
	sizes := sizesOf(allocated)
	restarted := false
	for _, cs := range statuses(next) {
		size, ok := sizes[cs.Name]
		if !ok {
			continue
		}
		cs.AllocatedResources = size.Requests
		cs.Resources = new(r.actual[cs.Name])
		restarted = r.restart(cs) || restarted
	}
	next.Status.ObservedGeneration = pod.Generation
	k.condition(next, restarted)
	if apiequality.Semantic.DeepEqual(pod.Status, next.Status) {
		return nil
	}
	return next
}

// restart makes the status that of a container that was restarted, if it is not yet.
func (r *running) restart(cs *corev1.ContainerStatus) bool {
	last, ok := r.restarts[cs.Name]
	if !ok || cs.RestartCount >= last.count {
		return false
	}
	end := corev1.ContainerStateTerminated{Reason: "Completed", FinishedAt: last.at}
	if cs.State.Running != nil {
		end.StartedAt = cs.State.Running.StartedAt
	}
	cs.LastTerminationState = corev1.ContainerState{Terminated: &end}
	cs.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: last.at}}
	cs.RestartCount = last.count
	cs.Ready = false // until kwok says otherwise
	return true
}

// condition sets the conditions of resizes, and those of readiness if a container was restarted.
func (k *kubelet) condition(pod *corev1.Pod, restarted bool) {
	now := k.conditions.GetPodResizeConditions(pod.UID)
	for _, kind := range []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress} {
		i := slices.IndexFunc(now, func(c *corev1.PodCondition) bool { return c.Type == kind })
		if i < 0 {
			pod.Status.Conditions = slices.DeleteFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
		} else {
			put(pod, *now[i])
		}
	}
	if restarted {
		var all []corev1.ContainerStatus
		for _, cs := range statuses(pod) {
			all = append(all, *cs)
		}
		s := &pod.Status
		put(pod, status.GenerateContainersReadyCondition(pod, s, all, s.Phase))
		put(pod, status.GeneratePodReadyCondition(pod, s, s.Conditions, all, s.Phase))
	}
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if kubetypes.PodConditionByKubelet(c.Type) && c.Type != corev1.PodResizePending && c.Type != corev1.PodResizeInProgress {
			c.ObservedGeneration = pod.Generation
		}
	}
}

// put sets a condition. One that says what it said before is left as it is: when somebody
// looked last is no news.
func put(pod *corev1.Pod, c corev1.PodCondition) {
	i := slices.IndexFunc(pod.Status.Conditions, func(old corev1.PodCondition) bool { return old.Type == c.Type })
	if i < 0 {
		if c.LastTransitionTime.IsZero() {
			c.LastTransitionTime = metav1.Now()
		}
		pod.Status.Conditions = append(pod.Status.Conditions, c)
		return
	}
	old := &pod.Status.Conditions[i]
	if old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message && old.ObservedGeneration == c.ObservedGeneration {
		return
	}
	if c.LastTransitionTime.IsZero() {
		if c.LastTransitionTime = old.LastTransitionTime; old.Status != c.Status {
			c.LastTransitionTime = metav1.Now()
		}
	}
	*old = c
}
