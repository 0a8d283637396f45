// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// Resizable is a VPA with the workload that it sizes, as one look at the cluster shows them.
type Resizable struct {
	VPA            *vpav1.VerticalPodAutoscaler
	Recommendation vertical.Recommendation
	// Set or Deployment owns the pods, or neither does. Replicas are asked for where neither does.
	Set        *appsv1.StatefulSet
	Deployment *appsv1.Deployment
	Replicas   int
	// Pods are those of the workload, those that have ended included.
	Pods        []*corev1.Pod
	LimitRanges []*corev1.LimitRange
	Quorum      statefulset.Quorum
	// SlotOf tells which slot a pod fills.
	SlotOf func(*corev1.Pod) (statefulset.Slot, bool)
	// Node returns a node, or nil where there is none of that name.
	Node func(name string) *corev1.Node
	// Usage is the memory that the containers of a pod use, nil where that is not known.
	Usage func(*corev1.Pod) map[string]resize.Bytes
	// StaticCPU and StaticMemory select nodes whose kubelet has the static cpu or memory manager policy.
	StaticCPU, StaticMemory labels.Selector
	// Hold says why nothing is written; empty if nothing holds it.
	Hold string
}

// Target is what the resize engine takes.
func (r Resizable) Target() resize.Target {
	t := resize.Target{
		Key:       resize.Key{Namespace: r.VPA.Namespace, Name: r.VPA.Name},
		Update:    r.VPA.Spec.UpdatePolicy,
		Resources: r.VPA.Spec.ResourcePolicy, LimitRanges: r.LimitRanges, Hold: r.Hold,
	}
	for _, pod := range r.Pods {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		t.Pods = append(t.Pods, r.pod(pod))
	}
	t.Workload = r.workload(t.Pods)
	return t
}

func (r Resizable) pod(pod *corev1.Pod) resize.Pod {
	p := resize.Pod{Object: pod, Containers: r.recommended(""), Node: r.node(pod.Spec.NodeName)}
	if slot, ok := r.SlotOf(pod); ok {
		p.Ordinal = slot.Ordinal
		p.Containers = r.recommended(strconv.Itoa(slot.Ordinal))
	}
	if r.Usage != nil {
		p.Usage = r.Usage(pod)
	}
	return p
}

// recommended are the requests of a slot's containers, those of any pod where the slot has no history.
func (r Resizable) recommended(slot string) []resize.Recommendation {
	var all []resize.Recommendation
	for _, c := range r.Recommendation.Containers {
		one := ofSlot(c, slot)
		all = append(all, resize.Recommendation{Container: c.ContainerName, Target: one.Target, Lower: one.LowerBound, Upper: one.UpperBound})
	}
	return all
}

func ofSlot(c vertical.Container, slot string) vpav1.RecommendedContainerResources {
	if i := slices.IndexFunc(c.Slots, func(s vertical.Slot) bool { return s.Slot == slot }); i >= 0 {
		return c.Slots[i].Recommended(c.ContainerName)
	}
	return c.RecommendedContainerResources
}

func (r Resizable) node(name string) resize.Node {
	node := r.Node(name)
	if node == nil {
		return resize.Node{Name: name}
	}
	has := func(selector labels.Selector) bool {
		return selector != nil && selector.Matches(labels.Set(node.Labels))
	}
	info := node.Status.NodeInfo
	return resize.Node{
		Name: name, Allocatable: node.Status.Allocatable,
		Windows:   info.OperatingSystem == "windows",
		StaticCPU: has(r.StaticCPU), StaticMemory: has(r.StaticMemory),
		// Whether the kubelet lets containers use its swap is in its configuration only.
		Swap: info.Swap != nil && info.Swap.Capacity != nil && *info.Swap.Capacity > 0,
	}
}

func (r Resizable) workload(pods []resize.Pod) resize.Workload {
	switch {
	case r.Set != nil:
		return r.ofSet(pods)
	case r.Deployment != nil:
		return resize.Workload{
			Kind: "Deployment", Name: r.Deployment.Name, Replicas: replicasOf(r.Deployment.Spec.Replicas, nil, scaled{}),
			Rolling: rolling(r.Deployment),
		}
	}
	w := resize.Workload{Kind: r.VPA.Spec.TargetRef.Kind, Name: r.VPA.Spec.TargetRef.Name, Replicas: r.Replicas}
	// Slots of an operator may be sparse: nobody knows which are absent.
	w.Ordered = len(pods) > 0 && !slices.ContainsFunc(pods, func(p resize.Pod) bool { _, ok := r.SlotOf(p.Object); return !ok })
	if w.Ordered {
		w.MaxUnavailable, w.Quorum = 1, r.Quorum.Of(max(r.Replicas, len(pods)))
	}
	return w
}

// rolling tells whether pods of an older template are left, or of the newest are missing. One that is down says
// nothing about that: it may be the one that needs its size.
func rolling(d *appsv1.Deployment) bool {
	status := d.Status
	return d.Generation > status.ObservedGeneration || status.Replicas > status.UpdatedReplicas ||
		int(status.UpdatedReplicas) < replicasOf(d.Spec.Replicas, nil, scaled{})
}

func (r Resizable) ofSet(pods []resize.Pod) resize.Workload {
	spec := r.Set.Spec
	replicas := replicasOf(spec.Replicas, nil, scaled{})
	w := resize.Workload{
		Kind: "StatefulSet", Name: r.Set.Name, Ordered: true, Replicas: replicas, MaxUnavailable: 1,
		MinReady: time.Duration(spec.MinReadySeconds) * time.Second, Quorum: r.Quorum.Of(replicas),
		Revision: r.Set.Status.UpdateRevision, OnDelete: spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType,
	}
	present := map[int]bool{}
	for _, pod := range pods {
		present[pod.Ordinal] = true
	}
	w.Absent = absent(r.Set, replicas, func(ordinal int) bool { return present[ordinal] })
	if rolling := spec.UpdateStrategy.RollingUpdate; rolling != nil && !w.OnDelete {
		if rolling.Partition != nil {
			w.Partition = int(*rolling.Partition)
		}
		if rolling.MaxUnavailable != nil {
			// Rounded down, as the StatefulSet controller does; what can not be read is the default.
			if n, err := intstr.GetScaledValueFromIntOrPercent(rolling.MaxUnavailable, replicas, false); err == nil {
				w.MaxUnavailable = max(1, n)
			}
		}
	}
	return w
}

// Sizes is what pods get when they are created: the sizes of all slots, fitted to the template.
// There are none while the template is not known, and none that a LimitRange would refuse.
func (r Resizable) Sizes() sizes.Table {
	table := sizes.Table{VPA: r.VPA.UID}
	template := r.template()
	if template == nil {
		return table
	}
	slots := []string{sizes.AnySlot}
	for _, c := range r.Recommendation.Containers {
		for _, s := range c.Slots {
			if s.Differs && r.found(s.Slot) && !slices.Contains(slots, s.Slot) {
				slots = append(slots, s.Slot)
			}
		}
	}
	for _, slot := range slots {
		created := resize.Created(*template, r.recommended(slot), r.VPA.Spec.ResourcePolicy, r.LimitRanges)
		for container, size := range created {
			table.Sizes = append(table.Sizes, sizes.Size{Slot: slot, Container: container, Requests: size.Requests, Limits: size.Limits})
		}
	}
	return table
}

// template is what the next pod is made from; of another kind than these, what the newest pod was.
func (r Resizable) template() *corev1.PodSpec {
	switch {
	case r.Set != nil:
		return &r.Set.Spec.Template.Spec
	case r.Deployment != nil:
		return &r.Deployment.Spec.Template.Spec
	case len(r.Pods) == 0:
		return nil
	}
	newest := slices.MaxFunc(r.Pods, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return &newest.Spec
}
