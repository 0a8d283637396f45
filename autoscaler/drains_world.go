// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/disruption"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// judge judges pods as the engine does.
func (c *Conductor) judge(in nodes.Input) *drain.Judge {
	world := in.World
	world.Now, world.Config = in.Now, in.Config.Drain
	for _, n := range in.Nodes {
		if n.Object.DeletionTimestamp == nil && !drain.Marked(n.Object) {
			world.Nodes = append(world.Nodes, n.Object)
		}
	}
	return drain.NewJudge(world)
}

// drainWorld is what keeps pods where they are.
func (c *Conductor) drainWorld(pods []*corev1.Pod) drain.World {
	w := drain.World{Controllers: map[types.UID]drain.Controller{}, Volumes: map[types.UID][]drain.Volume{}}
	for _, set := range c.reader.ReplicaSets() {
		w.Controllers[set.UID] = drain.Controller{Replicas: replicasOf(set.Spec.Replicas, nil, scaled{})}
	}
	for _, set := range c.reader.StatefulSets() {
		w.Controllers[set.UID] = drain.Controller{Replicas: replicasOf(set.Spec.Replicas, nil, scaled{})}
	}
	w.Sets = append(c.slotSets(pods), c.selectedSets(pods)...)
	inNamespace := map[string][]*corev1.Pod{}
	for _, pod := range pods {
		if ended(pod) {
			continue
		}
		inNamespace[pod.Namespace] = append(inNamespace[pod.Namespace], pod)
		if volumes := c.reachOf(pod); len(volumes) > 0 {
			w.Volumes[pod.UID] = volumes
		}
	}
	for _, budget := range c.reader.Budgets(metav1.NamespaceAll) {
		b := disruption.Budget{Object: budget}
		if selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector); err == nil {
			for _, pod := range inNamespace[budget.Namespace] {
				if selector.Matches(labels.Set(pod.Labels)) {
					b.Pods = append(b.Pods, pod)
				}
			}
		}
		w.Budgets = append(w.Budgets, b)
	}
	return w
}

// slotSets are the StatefulSets. One that is being deleted takes its pods along.
func (c *Conductor) slotSets(pods []*corev1.Pod) []drain.Set {
	var all []drain.Set
	owned := byController(pods)
	for _, set := range c.reader.StatefulSets() {
		if set.DeletionTimestamp != nil {
			continue
		}
		wanted := replicasOf(set.Spec.Replicas, nil, scaled{})
		s := drain.Set{
			Name: set.Namespace + "/" + set.Name, Wanted: wanted, MinReady: time.Duration(set.Spec.MinReadySeconds) * time.Second,
		}
		if policy := c.policies.OfSet(set); policy != nil {
			s.Quorum = policy.Quorum.Of(wanted)
		}
		s.Slots = slotsIn(owned[set.UID], statefulset.SlotOf)
		own := ordinals(set, wanted)
		for i := range s.Slots {
			_, there := slices.BinarySearch(own, s.Slots[i].Ordinal)
			s.Slots[i].Extra = !there
		}
		s.Absent = absent(set, wanted, func(ordinal int) bool {
			return slices.ContainsFunc(s.Slots, func(slot drain.Slot) bool { return slot.Ordinal == ordinal })
		})
		all = append(all, s)
	}
	return all
}

// selectedSets are what an operator makes slots of. They may be sparse: nobody knows which are absent.
func (c *Conductor) selectedSets(pods []*corev1.Pod) []drain.Set {
	members := map[statefulset.SetKey][]*corev1.Pod{}
	for _, pod := range pods {
		if slot, ok := c.policies.SlotOf(pod); ok && slot.Set.Selected {
			members[slot.Set] = append(members[slot.Set], pod)
		}
	}
	var all []drain.Set
	for key, of := range members {
		s := drain.Set{Name: key.String(), Slots: slotsIn(of, c.policies.SlotOf)}
		s.Wanted = len(s.Slots)
		if policy := c.policies.OfSelected(key); policy != nil {
			s.Quorum = policy.Quorum.Of(s.Wanted)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b drain.Set) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func slotsIn(pods []*corev1.Pod, slotOf func(*corev1.Pod) (statefulset.Slot, bool)) []drain.Slot {
	var slots []drain.Slot
	for _, pod := range pods {
		if slot, ok := slotOf(pod); ok && !ended(pod) {
			slots = append(slots, drain.Slot{Ordinal: slot.Ordinal, Pod: pod})
		}
	}
	slices.SortFunc(slots, func(a, b drain.Slot) int {
		return cmp.Or(cmp.Compare(a.Ordinal, b.Ordinal), cmp.Compare(a.Pod.Name, b.Pod.Name))
	})
	return slots
}

// absent are the ordinals of a set of so many replicas that have no pod.
func absent(set *appsv1.StatefulSet, replicas int, present func(ordinal int) bool) []int {
	return slices.DeleteFunc(ordinals(set, replicas), present)
}

// reachOf are the volumes of a pod that not every node reaches.
func (c *Conductor) reachOf(pod *corev1.Pod) []drain.Volume {
	var volumes []drain.Volume
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim == nil || pod.Spec.NodeName == "" {
			continue
		}
		claim := c.reader.Claim(pod.Namespace, v.PersistentVolumeClaim.ClaimName)
		if claim == nil || claim.Spec.VolumeName == "" {
			continue
		}
		volume := c.reader.Volume(claim.Spec.VolumeName)
		if volume != nil && volume.Spec.NodeAffinity != nil && volume.Spec.NodeAffinity.Required != nil {
			volumes = append(volumes, drain.Volume{Name: volume.Name, Affinity: volume.Spec.NodeAffinity.Required})
		}
	}
	return volumes
}
