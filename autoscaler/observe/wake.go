// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Wake calls wake after each change that a node, guard or vertical decision
// should not wait a whole period for: a pod that found no node or has to wait for
// its turn, a node that came, went or changed its readiness, an HPA that was made,
// edited or deleted, a canary that was answered; a pod with the annotation resized, which is noted
// on those that got another size, when its size or readiness has changed. While nodes are marked to go, as
// marked tells, also a pod that left one of them, and one that became ready, which others wait for.
// Wake must not block.
func Wake(factory informers.SharedInformerFactory, resized string, marked func(*corev1.Node) bool, wake func()) error {
	leaving := going{marked: marked, names: map[string]bool{}}
	pods := cache.ResourceEventHandlerFuncs{
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok && leaving.has(pod.Spec.NodeName) {
				wake()
			}
		},
		UpdateFunc: func(old, new any) {
			was, ok := old.(*corev1.Pod)
			is, ok2 := new.(*corev1.Pod)
			if ok && ok2 && (waits(is) && !waits(was) || is.Annotations[resized] != "" && sizedAnew(was, is) || leaving.any() && readied(was, is)) {
				wake()
			}
		},
	}
	nodes := cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if node, ok := obj.(*corev1.Node); ok {
				leaving.see(node)
			}
			wake()
		},
		UpdateFunc: func(old, new any) {
			was, ok := old.(*corev1.Node)
			is, ok2 := new.(*corev1.Node)
			if ok && ok2 && (leaving.see(is) || ready(was) != ready(is)) {
				wake()
			}
		},
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			if node, ok := obj.(*corev1.Node); ok {
				leaving.forget(node.Name)
			}
			wake()
		},
	}
	hpas := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { wake() },
		UpdateFunc: func(old, new any) {
			was, ok := old.(*autoscalingv2.HorizontalPodAutoscaler)
			is, ok2 := new.(*autoscalingv2.HorizontalPodAutoscaler)
			// An HPA has no generation.
			if ok && ok2 && (!equality.Semantic.DeepEqual(was.Spec, is.Spec) || isCanary(is) && Answered(was) != Answered(is)) {
				wake()
			}
		},
		DeleteFunc: func(any) { wake() },
	}
	if _, err := factory.Core().V1().Pods().Informer().AddEventHandler(pods); err != nil {
		return err
	}
	if _, err := factory.Core().V1().Nodes().Informer().AddEventHandler(nodes); err != nil {
		return err
	}
	_, err := factory.Autoscaling().V2().HorizontalPodAutoscalers().Informer().AddEventHandler(hpas)
	return err
}

// waits tells that the scheduler found no node for the pod, or has not looked
// for one because the pod is to come after others.
func waits(pod *corev1.Pod) bool {
	if pod.Spec.NodeName != "" || len(pod.Spec.SchedulingGates) > 0 {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c.Status == corev1.ConditionFalse && (c.Reason == corev1.PodReasonUnschedulable || c.Reason == corev1.PodReasonSchedulingGated)
		}
	}
	return false
}

// sizedAnew tells that the kubelet has gone on with a resize, or that the pod became ready or ceased to be.
func sizedAnew(was, is *corev1.Pod) bool {
	if !equality.Semantic.DeepEqual(conditionsOf(was), conditionsOf(is)) {
		return true
	}
	return !slices.EqualFunc(was.Status.ContainerStatuses, is.Status.ContainerStatuses, func(a, b corev1.ContainerStatus) bool {
		return equality.Semantic.DeepEqual(a.Resources, b.Resources) && equality.Semantic.DeepEqual(a.AllocatedResources, b.AllocatedResources)
	})
}

// conditionsOf are the reasons of those that are true and tell of readiness or of a resize.
func conditionsOf(pod *corev1.Pod) map[corev1.PodConditionType]string {
	reasons := map[corev1.PodConditionType]string{}
	for _, c := range pod.Status.Conditions {
		switch c.Type {
		case corev1.PodReady, corev1.PodResizePending, corev1.PodResizeInProgress:
			if c.Status == corev1.ConditionTrue {
				reasons[c.Type] = c.Reason
			}
		}
	}
	return reasons
}

func ready(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
