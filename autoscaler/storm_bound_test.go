// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// stormBound is a number of nodes that no packing can go below: what is asked of the nodes of one zone, at least, and
// the most of that and of what is asked of all zones together. For a zone it is the most of
//   - what the pods request that only its nodes may run, by their volume or by the plan of their set, over the size of a node;
//   - the slots there of one set that has one per node;
//   - the nodes that local volumes of wanted slots are on;
//   - the floor of the node group.
//
// The group batch is a zone by itself: its pods run nowhere else, and no others there.
func stormBound(sets []*stormSet, size corev1.ResourceList, floors map[string]int) int {
	demands := map[string]*stormDemand{"batch": {}, "": {}} // what is of no zone is of the sum of zones alone
	for _, zone := range stormZones() {
		demands[zone] = &stormDemand{}
	}
	for _, s := range sets {
		if s.batch {
			demands["batch"].add(s, s.wanted)
			continue
		}
		demands[""].add(s, s.wanted)
		inZone, homes := map[string]int{}, map[string]map[string]bool{}
		for ordinal := range s.wanted {
			if !s.slots {
				break
			}
			zone := s.zone(ordinal)
			inZone[zone]++
			if s.local {
				if homes[zone] == nil {
					homes[zone] = map[string]bool{}
				}
				homes[zone][s.homes[ordinal]] = true
			}
		}
		for zone, n := range inZone {
			demands[zone].add(s, n)
			demands[zone].pin(homes[zone])
		}
	}
	zones := 0
	for _, zone := range stormZones() {
		zones += max(demands[zone].nodes(size), floors[zone])
	}
	return max(zones, demands[""].nodes(size)) + max(demands["batch"].nodes(size), floors["batch"])
}

// stormDemand is what is asked of nodes.
type stormDemand struct {
	cpu, memory, pods, separate int64
	homes                       map[string]bool
}

func (d *stormDemand) add(s *stormSet, n int) {
	d.cpu, d.memory, d.pods = d.cpu+int64(n)*s.cpu, d.memory+int64(n)*512<<20, d.pods+int64(n)
	if s.separate {
		d.separate = max(d.separate, int64(n))
	}
}

func (d *stormDemand) pin(homes map[string]bool) {
	if d.homes == nil {
		d.homes = map[string]bool{}
	}
	maps.Copy(d.homes, homes)
}

// nodes is how many of them that takes at least.
func (d *stormDemand) nodes(size corev1.ResourceList) int {
	up := func(amount, whole int64) int64 { return (amount + whole - 1) / whole }
	return int(max(
		up(d.cpu, size.Cpu().MilliValue()), up(d.memory, size.Memory().Value()), up(d.pods, size.Pods().Value()),
		d.separate, int64(len(d.homes)),
	))
}

func TestStormBound(t *testing.T) {
	size := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("20")}
	for name, tc := range map[string]struct {
		sets   []*stormSet
		floors map[string]int
		want   int
	}{
		"what is requested, together":          {sets: []*stormSet{{stormKind: stormKind{cpu: 1000}, wanted: 17}, {stormKind: stormKind{cpu: 500}, wanted: 10}}, want: 3},
		"the number of pods":                   {sets: []*stormSet{{stormKind: stormKind{cpu: 100}, wanted: 41}}, want: 3},
		"what is requested of zones":           {sets: []*stormSet{{stormKind: stormKind{cpu: 1000, slots: true}, wanted: 9}}, want: 3},
		"zones with room for others":           {sets: []*stormSet{{stormKind: stormKind{cpu: 1000, slots: true}, wanted: 9}, {stormKind: stormKind{cpu: 1000}, wanted: 15}}, want: 3},
		"one for each slot of a zone":          {sets: []*stormSet{{stormKind: stormKind{cpu: 100, slots: true, separate: true}, wanted: 7}}, want: 7},
		"one for each of a set that shares it": {sets: []*stormSet{{stormKind: stormKind{cpu: 100, separate: true}, wanted: 7}, {stormKind: stormKind{cpu: 100, separate: true}, wanted: 5}}, want: 7},
		"homes":                                {sets: []*stormSet{{stormKind: stormKind{cpu: 100, slots: true, local: true}, wanted: 4, homes: []string{"a0", "b0", "c0", "a1"}}}, want: 4},
		"homes that are shared":                {sets: []*stormSet{{stormKind: stormKind{cpu: 100, slots: true, local: true}, wanted: 4, homes: []string{"a0", "b0", "c0", "a0"}}}, want: 3},
		"floors":                               {sets: []*stormSet{{stormKind: stormKind{cpu: 1000}, wanted: 17}}, floors: map[string]int{"a": 4, "batch": 2}, want: 6},
		"batch by itself":                      {sets: []*stormSet{{stormKind: stormKind{cpu: 1000}, wanted: 4}, {stormKind: stormKind{cpu: 1000, batch: true}, wanted: 4}}, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := stormBound(tc.sets, size, tc.floors); got != tc.want {
				t.Errorf("%d nodes, want %d", got, tc.want)
			}
		})
	}
}
