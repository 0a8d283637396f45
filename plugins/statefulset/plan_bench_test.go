// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"
	"testing"
)

// BenchmarkPlan plans a set of 1,000 slots from scratch.
func BenchmarkPlan(b *testing.B) {
	abc := []string{"zone-a", "zone-b", "zone-c"}
	var racks []string
	for i := range 20 {
		racks = append(racks, fmt.Sprintf("rack-%02d", i))
	}
	homes := map[int]*Home{}
	for ordinal := range 1000 {
		homes[ordinal] = at(abc[ordinal%3])
	}
	benchmarks := map[string]asked{
		"interleaved":     {allowed: abc},
		"homes":           {allowed: abc, homes: homes},
		"shards and caps": {allowed: abc, spread: Spread{ShardSize: 3, MaxPerDomain: 334}},
		"contiguous":      {allowed: abc, spread: Spread{BlockSize: 4}},
		"rules":           {allowed: abc, rules: []ruled{{"0-99", abc[:1]}, {"500-", abc[1:]}}},
		"20 domains":      {allowed: racks},
		// The higher half may be in one domain only, which has room for no other:
		// every lower slot likes it best and must leave it.
		"exact": {allowed: abc, spread: Spread{MaxPerDomain: 500}, rules: []ruled{{"500-", abc[:1]}}},
		// Every domain is full in the end.
		"exact, full": {
			allowed: racks, spread: Spread{ShardSize: 4, MaxPerDomain: 50},
			rules: []ruled{{"400-599", racks[:7]}, {"600-", racks[5:]}},
		},
	}
	for name, bb := range benchmarks {
		b.Run(name, func(b *testing.B) {
			bb.n = 1000
			in := bb.input(b)
			for i := range in.Slots {
				if in.Slots[i].Home == nil {
					in.Slots[i].Home = &Home{}
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				in.Plan()
			}
		})
	}
}

// BenchmarkPlanOf asks for the last slot of a plan.
func BenchmarkPlanOf(b *testing.B) {
	abc := []string{"zone-a", "zone-b", "zone-c"}
	benchmarks := map[string]Spread{
		"plain":     {},
		"explained": {ShardSize: 3},
		"fallback":  {Preferred: true},
	}
	for name, spread := range benchmarks {
		b.Run(name, func(b *testing.B) {
			plan := asked{spread: spread, n: 999, allowed: abc}.input(b).Plan()
			b.ReportAllocs()
			for b.Loop() {
				plan.Of(998)
			}
		})
	}
}
