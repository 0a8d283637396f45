// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Room is what a node has left for pods beside those that it has, daemons and
// simulated ones among them; nothing for a node that is not there. What plugins keep free is not taken off.
func (s *Session) Room(node string) v1.ResourceList {
	info := s.simulator.snapshot.node(node)
	if info == nil {
		return nil
	}
	all, taken := info.GetAllocatable(), info.GetRequested()
	room := v1.ResourceList{
		v1.ResourceCPU:              *resource.NewMilliQuantity(all.GetMilliCPU()-taken.GetMilliCPU(), resource.DecimalSI),
		v1.ResourceMemory:           *resource.NewQuantity(all.GetMemory()-taken.GetMemory(), resource.BinarySI),
		v1.ResourceEphemeralStorage: *resource.NewQuantity(all.GetEphemeralStorage()-taken.GetEphemeralStorage(), resource.BinarySI),
		v1.ResourcePods:             *resource.NewQuantity(int64(all.GetAllowedPodNumber()-len(info.GetPods())), resource.DecimalSI),
	}
	for name, quantity := range all.GetScalarResources() {
		room[name] = *resource.NewQuantity(quantity-taken.GetScalarResources()[name], resource.DecimalSI)
	}
	return room
}
