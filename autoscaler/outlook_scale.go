// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// Scalable names what replicas are set on.
type Scalable struct {
	Namespace string
	Ref       autoscalingv2.CrossVersionObjectReference
}

// Scale tells what would become of a workload with so many replicas. The error is that of the API where its scale cannot be read.
func (o *Outlook) Scale(ctx context.Context, of Scalable, replicas int) (Prospect, error) {
	c := o.conductor
	target, err := c.scalable(ctx, of, replicas)
	if err != nil {
		return Prospect{}, err
	}
	present, pods := c.reader.Nodes(), c.reader.Pods()
	own, going, fewer := c.ending(target, replicas, pods)
	future := forecast.Decide(c.futureInput(target.expected, pods))
	gone := uidsOf(going)
	remaining := slices.DeleteFunc(slices.Clone(pods), func(pod *corev1.Pod) bool { return gone[pod.UID] })
	o.prepare = func(s Simulation) error {
		for _, pod := range going {
			if c.expendable(pod) {
				continue
			}
			if err := s.RemovePod(pod); err != nil {
				return fmt.Errorf("taking pod %s/%s away: %w", pod.Namespace, pod.Name, err)
			}
		}
		return nil
	}
	d, err := o.decide(ctx, present, pods, remaining, nil, future)
	if err != nil {
		return Prospect{}, err
	}
	p := Prospect{Replicas: target.replicas, Going: going, Fewer: fewer, Decision: d}
	for _, pod := range remaining {
		if own[pod.UID] && pod.Spec.NodeName == "" && nodes.Waits(pod, *c.config.Nodes.ExpendablePriority) {
			p.Pods = append(p.Pods, o.place(pod, true, d))
		}
	}
	for _, pod := range future.Pods {
		if target.has(pod) {
			p.Pods = append(p.Pods, o.place(pod, false, d))
		}
	}
	for _, held := range future.Held {
		if target.name == (scaled{held.Kind, held.Namespace, held.Name}) {
			p.Held = append(p.Held, held)
		}
	}
	return p, nil
}

// behind says which lower slot a set that is filled in order waits for; empty where it waits for none.
func (c *Conductor) behind(pod *corev1.Pod, unhelped []nodes.Unhelped) string {
	slot, ok := statefulset.SlotOf(pod)
	if !ok {
		return ""
	}
	waits := make(map[string]bool, len(unhelped))
	for _, u := range unhelped {
		waits[u.Pod.Name] = waits[u.Pod.Name] || u.Pod.Namespace == slot.Set.Namespace
	}
	for ordinal := range slot.Ordinal {
		if lower := (statefulset.Slot{Set: slot.Set, Ordinal: ordinal}).PodName(); waits[lower] {
			return fmt.Sprintf("its set makes it once %s is ready, which waits itself (podManagementPolicy OrderedReady)", lower)
		}
	}
	return ""
}

// scaling is a workload that is to be scaled.
type scaling struct {
	// name is that of the workload whose pods come, which is another one where the target makes it.
	name     scaled
	expected expectations
	// replicas is how many it asks for now.
	replicas int
	// has tells its pods, those that are to come, too.
	has func(*corev1.Pod) bool
}

// scalable finds out whose pods would come.
func (c *Conductor) scalable(ctx context.Context, of Scalable, replicas int) (scaling, error) {
	scale, err := c.reader.Scale(ctx, of.Namespace, of.Ref)
	if err != nil {
		return scaling{}, err
	}
	s := scaling{name: scaled{of.Ref.Kind, of.Namespace, of.Ref.Name}, replicas: int(scale.SpecReplicas), expected: expectations{desired: map[scaled]int{}, reserve: map[scaled]int{}}}
	if observed(of.Ref) {
		s.expected.desired[s.name] = replicas
		s.has = func(pod *corev1.Pod) bool { return c.of(pod, s.name) }
		return s, nil
	}
	selector, err := labels.Parse(scale.Selector)
	if err != nil || selector.Empty() {
		return scaling{}, fmt.Errorf("which pods %s/%s has is not known: its scale names none", of.Ref.Kind, of.Ref.Name)
	}
	s.has = func(pod *corev1.Pod) bool {
		return pod.Namespace == of.Namespace && selector.Matches(labels.Set(pod.Labels))
	}
	e := expectation{target: targetOf(of.Namespace, of.Ref), foreign: true, selector: selector, current: s.replicas, desired: replicas}
	if s.name = c.within(e); s.name != (scaled{}) {
		s.expected.desired[s.name] = replicas
	} else {
		s.name, s.expected.foreign = e.target, []expectation{e}
	}
	return s, nil
}

// ending are the pods of a workload, and of them those that end, with the number of those that nobody knows yet.
func (c *Conductor) ending(target scaling, replicas int, pods []*corev1.Pod) (own map[types.UID]bool, going []*corev1.Pod, fewer int) {
	var all []*corev1.Pod
	for _, pod := range pods {
		if target.has(pod) && !ended(pod) {
			all = append(all, pod)
		}
	}
	set := c.reader.StatefulSet(target.name.namespace, target.name.name)
	if target.name.kind != "StatefulSet" || set == nil {
		return uidsOf(all), nil, max(0, alive(all)-replicas)
	}
	wanted := ordinals(set, replicas)
	for _, pod := range all {
		if slot, ok := statefulset.SlotOf(pod); ok && !slices.Contains(wanted, slot.Ordinal) {
			going = append(going, pod)
		}
	}
	slices.SortFunc(going, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return uidsOf(all), going, 0
}

// of tells whether a pod is one of a workload.
func (c *Conductor) of(pod *corev1.Pod, name scaled) bool {
	if pod.Namespace != name.namespace {
		return false
	}
	if top := c.reader.Scaled(pod); top.Kind == name.kind && top.Name == name.name {
		return true
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == name.kind && owner.Name == name.name
}

func uidsOf(pods []*corev1.Pod) map[types.UID]bool {
	uids := make(map[types.UID]bool, len(pods))
	for _, pod := range pods {
		uids[pod.UID] = true
	}
	return uids
}
