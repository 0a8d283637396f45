// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package pinnedtopologyspread

import (
	"fmt"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread"
)

// PreFilter over 5,000 nodes and 50,000 pods, Filter, PreScore and Score of the
// 500 nodes that a scheduler looks at in such a cluster, upstream's plugin and
// ours in turn in one run.
func BenchmarkAgainstUpstream(b *testing.B) {
	var many []runtime.Object
	for i := range 5000 {
		name := fmt.Sprintf("n%d", i)
		many = append(many, in(string(rune('a'+i%3)), name))
		for j := range 10 {
			w := member(fmt.Sprintf("web-%d-%d", i, j)).Node(name)
			if j > 0 {
				w.Label("app", "web")
			}
			many = append(many, w.Obj())
		}
	}
	filled := snapshotOf(many...)
	a := map[string]string{zone: "a"}
	cases := map[string]struct {
		pins pins
		own  []v1.TopologySpreadConstraint
	}{
		"planned slot":                 {pins{domains: a, planned: true}, nil},
		"no volume, system defaults":   {pins{}, nil},
		"pinned, hard zone":            {pins{domains: a}, []v1.TopologySpreadConstraint{spread(zone, v1.DoNotSchedule, 1000)}},
		"pinned, hard zone, soft host": {pins{domains: a}, []v1.TopologySpreadConstraint{spread(zone, v1.DoNotSchedule, 1000), soft(host)}},
	}
	for name, tt := range cases {
		b.Run(name, func(b *testing.B) {
			stock, ours := build(b, podtopologyspread.Name, "", nil, set()), build(b, Name, "", &tt.pins, set())
			stock.snapshot.SharedLister, ours.snapshot.SharedLister = filled, filled
			pod := spreading(member("db-0").Obj(), tt.own...)
			visited := ours.nodes(b)[:500]
			var upstreams, own time.Duration
			for b.Loop() {
				start := time.Now()
				stock.cycle(b, pod, visited)
				middle := time.Now()
				ours.cycle(b, pod, visited)
				upstreams, own = upstreams+middle.Sub(start), own+time.Since(middle)
			}
			b.ReportMetric(float64(upstreams.Microseconds())/float64(b.N), "upstream-µs/pod")
			b.ReportMetric(float64(own.Microseconds())/float64(b.N), "ours-µs/pod")
			b.ReportMetric(float64(upstreams)/float64(own), "upstream/ours")
		})
	}
}

func (p *profile) cycle(b *testing.B, pod *v1.Pod, nodes []fwk.NodeInfo) {
	state := framework.NewCycleState()
	if _, status, _ := p.RunPreFilterPlugins(b.Context(), state, pod); !status.IsSuccess() {
		b.Fatal(status)
	}
	for _, nodeInfo := range nodes {
		if status := p.RunFilterPlugins(b.Context(), state, pod, nodeInfo); !status.IsSuccess() {
			b.Fatal(status)
		}
	}
	if status := p.RunPreScorePlugins(b.Context(), state, pod, nodes); !status.IsSuccess() {
		b.Fatal(status)
	}
	if _, status := p.RunScorePlugins(b.Context(), state, pod, nodes); !status.IsSuccess() {
		b.Fatal(status)
	}
}
