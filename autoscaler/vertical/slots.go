// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// Slot is the recommendation for a container in one slot, and the numbers behind it.
type Slot struct {
	Slot string
	// Samples counts cpu samples of this slot, taken between First and Last.
	Samples     int
	First, Last time.Time
	// Confidence is as that of Container.
	Confidence float64
	// Differs is whether anything is recommended that is not recommended for the set.
	Differs bool
	// Resources are cpu, then memory, where they are recommended.
	Resources []SlotResource
}

// SlotResource is one resource of a slot's recommendation.
type SlotResource struct {
	Name corev1.ResourceName
	// Own is what the slot's history asks for, Set what all histories together do. Neither
	// is held by the policy.
	Own, Set Estimate
	// Weight is what Own counts for the target, Set counts for the rest.
	Weight float64
	// Estimate is between the two, and held by the policy.
	Estimate
	// Cap is what holds the target.
	Cap Cap
}

// weight is how much of its own estimate a slot gets: the more of its history is there,
//
//	weight = 1 - 2^(-confidence)
//	slot   = weight * own + (1 - weight) * set
//
// A sample loses half of its weight in a day, so in an endless history the last n days
// make up 1 - 2^(-n) of the weight. Confidence is that n. What is missing of the slot's
// history is taken from the set's: half of the estimate after a day, under 1 % after a
// week. The form is that of credibility estimates (Bühlmann, Experience rating and
// credibility, ASTIN Bulletin 4, 1967), where the factor grows with the experience; his is
// worked out from the variance between the risks, of which a set of three has too few.
func weight(confidence float64) float64 { return 1 - math.Exp2(-max(confidence, 0)) }

// trust is the weight of a slot's estimate where it is at odds with the set's. More memory
// than the set's is believed at once: cpu that is short is slow, memory that is short is a
// kill, and an OOM of one slot would be averaged away.
func trust(name corev1.ResourceName, own, set int64, weight float64) float64 {
	if name == corev1.ResourceMemory && own > set {
		return 1
	}
	return weight
}

func between(own, set int64, weight float64) int64 {
	return set + int64(math.Round(float64(own-set)*weight))
}

// shrink brings a slot's own estimate towards the set's, and gives the weight that the target
// had. An upper bound is wide because the history is short: that is no evidence to trust.
func shrink(name corev1.ResourceName, own, set Estimate, weight float64) (Estimate, float64) {
	trusted := trust(name, own.Target, set.Target, weight)
	e := Estimate{
		Target:     between(own.Target, set.Target, trusted),
		LowerBound: between(own.LowerBound, set.LowerBound, trust(name, own.LowerBound, set.LowerBound, weight)),
		UpperBound: between(own.UpperBound, set.UpperBound, weight),
	}
	e.UpperBound = max(e.UpperBound, e.Target)
	return e, trusted
}

// merits are what all slots of a container are judged by.
type merits struct {
	set        estimates
	bounds     [2]bounds
	controlled [2]bool
	containers int
}

// recommend decides for one slot.
func (r *record) recommend(of merits, m *scratch) (Slot, bool) {
	u := r.own(m)
	s := Slot{Slot: r.slot, Samples: u.samples, First: u.first.time(), Last: u.last.time(), Confidence: u.confidence()}
	measured := false
	for i, own := range u.estimate(m.scales, of.containers) {
		measured = measured || own != nil
		set, confidence := of.set[i], s.Confidence
		switch {
		case !of.controlled[i] || own == nil && set == nil:
			continue
		case own == nil:
			// Of this resource the slot has no history, as after a restart on its first day: it gets what the set gets.
			own, confidence = set, 0
		case set == nil:
			set = own // nobody else has been measured
		}
		if s.Resources == nil {
			s.Resources = make([]SlotResource, 0, len(of.set))
		}
		x := SlotResource{Name: resourceNames()[i], Own: *own, Set: *set}
		e, trusted := shrink(x.Name, *own, *set, weight(confidence))
		x.Weight, x.Estimate = trusted, of.bounds[i].hold(e)
		_, x.Cap = of.bounds[i].cap(amount(e.Target))
		s.Differs = s.Differs || x.Estimate != of.bounds[i].hold(*set)
		s.Resources = append(s.Resources, x)
	}
	return s, measured && len(s.Resources) > 0
}

// Recommended is what the slot's container should have, in the form of a VPA's status.
func (s Slot) Recommended(container string) vpav1.RecommendedContainerResources {
	out := vpav1.RecommendedContainerResources{
		ContainerName: container,
		Target:        corev1.ResourceList{}, LowerBound: corev1.ResourceList{}, UpperBound: corev1.ResourceList{},
		UncappedTarget: corev1.ResourceList{},
	}
	for _, r := range s.Resources {
		out.Target[r.Name] = quantity(amount(r.Target), r.Name)
		out.LowerBound[r.Name] = quantity(amount(r.LowerBound), r.Name)
		out.UpperBound[r.Name] = quantity(amount(r.UpperBound), r.Name)
		out.UncappedTarget[r.Name] = quantity(amount(between(r.Own.Target, r.Set.Target, r.Weight)), r.Name)
	}
	return out
}
