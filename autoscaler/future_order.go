// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// decideInOrder asks the engine, and once more without those slots that come after one that nobody can help: they would
// have nodes, and no pod on them. The next forecast leaves them out by itself.
func (c *Conductor) decideInOrder(in nodes.Input, simulation Simulation, future, again []*corev1.Pod) nodes.Decision {
	in.Forecast = slices.Concat(future, again)
	d := nodes.Decide(in, simulation)
	if sooner := c.withoutThoseBehind(future, d.Unhelped); len(d.Adds) > 0 && len(sooner) < len(future) {
		in.Forecast = slices.Concat(sooner, again)
		d = nodes.Decide(in, simulation)
	}
	c.history.futures.unhelped = map[types.NamespacedName]string{}
	for _, u := range d.Unhelped {
		reasons := slices.Concat(u.Present, u.Groups)
		c.history.futures.unhelped[u.Pod] = "no node and no group has room for it"
		if len(reasons) > 0 {
			c.history.futures.unhelped[u.Pod] += ": " + reasons[len(reasons)-1]
		}
	}
	return d
}

// withoutThoseBehind leaves out the future slots of sets that are filled in order, above one without help.
func (c *Conductor) withoutThoseBehind(future []*corev1.Pod, unhelped []nodes.Unhelped) []*corev1.Pod {
	named := map[types.NamespacedName]bool{}
	for _, u := range unhelped {
		named[u.Pod] = true
	}
	slots := map[*corev1.Pod]statefulset.Slot{}
	first := map[statefulset.SetKey]int{} // without help
	for _, pod := range slices.Concat(future, c.reader.UnscheduledPods()) {
		slot, ok := statefulset.SlotOf(pod)
		if !ok {
			continue
		}
		slots[pod] = slot
		if lowest, known := first[slot.Set]; named[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] && (!known || slot.Ordinal < lowest) {
			first[slot.Set] = slot.Ordinal
		}
	}
	maps.DeleteFunc(first, func(key statefulset.SetKey, _ int) bool {
		set := c.reader.StatefulSet(key.Namespace, key.Name)
		return set == nil || set.Spec.PodManagementPolicy == appsv1.ParallelPodManagement
	})
	return slices.DeleteFunc(slices.Clone(future), func(pod *corev1.Pod) bool {
		slot, ok := slots[pod]
		lowest, known := first[slot.Set]
		return ok && known && slot.Ordinal > lowest
	})
}

// tellForecast says which pods are not planned for and why, when that changes.
func (c *Conductor) tellForecast(ctx context.Context, d forecast.Decision) {
	held, pods := map[forecast.Key]string{}, 0
	for _, h := range d.Held {
		key := forecast.Key{Kind: h.Kind, Namespace: h.Namespace, Name: h.Name}
		held[key] = h.Reason
		pods += h.Pods
		if c.history.futures.held[key] != h.Reason {
			klog.FromContext(ctx).Info("Pods that will come are not planned for", "kind", h.Kind, "namespace", h.Namespace, "name", h.Name, "pods", h.Pods, "reason", h.Reason)
		}
	}
	c.history.futures.held = held
	c.telemetry.Foreseen(len(d.Pods), len(d.Reserve), pods)
}
