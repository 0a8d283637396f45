// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"math"
	"slices"

	v1 "k8s.io/api/core/v1"
)

// Groups of one machine type in several zones differ a little in what the
// kubelet reports: Cluster Autoscaler's users know these bounds.
const (
	similarAllocatable    = 0.05
	similarMemoryCapacity = 0.015
)

// similar tells that two groups differ only in their place, and in what follows from it.
func similar(a, b *group) bool {
	return alikeLabels(a, b) &&
		slices.EqualFunc(a.Template.Spec.Taints, b.Template.Spec.Taints, func(s, t v1.Taint) bool {
			return s.Key == t.Key && s.Value == t.Value && s.Effect == t.Effect
		}) &&
		alikeResources(a.Template.Status.Capacity, b.Template.Status.Capacity, func(name v1.ResourceName) float64 {
			if name == v1.ResourceMemory {
				return similarMemoryCapacity
			}
			return 0
		}) &&
		alikeResources(a.Template.Status.Allocatable, b.Template.Status.Allocatable, func(v1.ResourceName) float64 { return similarAllocatable })
}

func alikeLabels(a, b *group) bool {
	one, other := ownLabels(a), ownLabels(b)
	for key, value := range one {
		// The group's own label has its name for a value.
		if also, ok := other[key]; !ok || also != value && (value != a.Name || also != b.Name) {
			return false
		}
	}
	return len(one) == len(other)
}

// ownLabels are the labels of the template that are not about its place.
func ownLabels(g *group) map[string]string {
	own := map[string]string{}
	for key, value := range g.Template.Labels {
		switch key {
		case v1.LabelHostname, v1.LabelTopologyZone, v1.LabelTopologyRegion, v1.LabelFailureDomainBetaZone, v1.LabelFailureDomainBetaRegion,
			"topology.ebs.csi.aws.com/zone", "topology.gke.io/zone", "topology.disk.csi.azure.com/zone":
		default:
			own[key] = value
		}
	}
	return own
}

func alikeResources(a, b v1.ResourceList, tolerance func(v1.ResourceName) float64) bool {
	if len(a) != len(b) {
		return false
	}
	for name, quantity := range a {
		other, ok := b[name]
		if !ok {
			return false
		}
		x, y := quantity.AsApproximateFloat64(), other.AsApproximateFloat64()
		if math.Abs(x-y) > tolerance(name)*max(x, y) {
			return false
		}
	}
	return true
}
