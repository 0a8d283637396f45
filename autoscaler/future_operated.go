// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// operatedSet is a set whose pods an operator makes.
type operatedSet struct {
	claims map[int][]string
	pods   map[int]*corev1.Pod
}

// operated are the sets that PlacementPolicies make of an operator's pods. They have no number of replicas: a slot is
// wanted while its claim is there, and missing while its pod is not.
func (c *Conductor) operated(pods []*corev1.Pod) []forecast.Workload {
	if !c.policies.MakesSlots("") {
		return nil
	}
	sets := map[statefulset.SetKey]*operatedSet{}
	of := func(key statefulset.SetKey) *operatedSet {
		if sets[key] == nil {
			sets[key] = &operatedSet{claims: map[int][]string{}, pods: map[int]*corev1.Pod{}}
		}
		return sets[key]
	}
	for _, claim := range c.reader.Claims() {
		if claim.DeletionTimestamp != nil || !c.policies.MakesSlots(claim.Namespace) || c.claimOfSet(claim) {
			continue
		}
		if slot, ok := c.policies.SlotOfClaim(claim); ok {
			set := of(slot.Set)
			set.claims[slot.Ordinal] = append(set.claims[slot.Ordinal], claim.Name)
		}
	}
	for _, pod := range pods {
		if slot, ok := c.policies.SlotOf(pod); ok && !ended(pod) {
			of(slot.Set).pods[slot.Ordinal] = pod
		}
	}
	var all []forecast.Workload
	for key, set := range sets {
		all = append(all, c.operatedBy(key, set)...)
	}
	return all
}

// claimOfSet tells whether a StatefulSet made the claim.
func (c *Conductor) claimOfSet(claim *corev1.PersistentVolumeClaim) bool {
	return len(statefulset.SlotsOfClaim(claim.Namespace, claim.Name, func(key statefulset.SetKey) []string {
		if set := c.reader.StatefulSet(key.Namespace, key.Name); set != nil {
			return statefulset.Templates(set)
		}
		return nil
	})) > 0
}

// operatedBy are the missing slots of a set that can be made from one that is there, and the others.
func (c *Conductor) operatedBy(key statefulset.SetKey, set *operatedSet) []forecast.Workload {
	made := forecast.Workload{Kind: "PlacementPolicy", Namespace: key.Namespace, Name: key.Name}
	// What is only held may bear the same name: it leaves nothing for the next forecast.
	held := made
	from, sibling := set.sibling()
	for _, pod := range set.pods {
		made.Pods = append(made.Pods, pod)
	}
	for ordinal, claims := range set.claims {
		if set.pods[ordinal] != nil {
			continue
		}
		slot := statefulset.Slot{Set: key, Ordinal: ordinal}
		pod, why := c.twin(sibling, from, slot, set.claims[from], claims)
		if pod == nil {
			held.Desired++
			if held.Refused == "" || why < held.Refused {
				held.Refused = why
			}
			continue
		}
		made.Shaped = append(made.Shaped, pod)
	}
	slices.SortFunc(made.Shaped, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	var all []forecast.Workload
	if len(made.Shaped) > 0 {
		all = append(all, made)
	}
	if held.Desired > 0 {
		all = append(all, held)
	}
	return all
}

// sibling is the pod of a set to copy: one that has a node, the newest.
func (s *operatedSet) sibling() (ordinal int, pod *corev1.Pod) {
	for at, other := range s.pods {
		if other.DeletionTimestamp != nil {
			continue
		}
		if pod == nil || cmp.Or(cmp.Compare(bound(other), bound(pod)), other.CreationTimestamp.Compare(pod.CreationTimestamp.Time), cmp.Compare(ordinal, at)) > 0 {
			ordinal, pod = at, other
		}
	}
	return ordinal, pod
}

func bound(pod *corev1.Pod) int {
	if pod.Spec.NodeName != "" {
		return 1
	}
	return 0
}

// twin is the missing pod of a slot, or why it is not known.
func (c *Conductor) twin(sibling *corev1.Pod, from int, slot statefulset.Slot, own, claims []string) (*corev1.Pod, string) {
	if sibling == nil {
		return nil, "the set has no live pod to copy"
	}
	pod, why := forecast.Twin(sibling, from, slot.Ordinal, own, claims)
	if pod == nil {
		return nil, why
	}
	if fills, ok := c.policies.SlotOf(pod); !ok || fills != slot {
		return nil, "what a pod of " + slot.String() + " is called is known to its operator alone"
	}
	return pod, ""
}
