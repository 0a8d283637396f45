// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// A cycle of our plugins alone over 5,000 nodes in three zones: PreFilter, and
// Filter on every node that was handed on.
func BenchmarkCycle(b *testing.B) {
	var many []runtime.Object
	for i := range 5000 {
		many = append(many, node(fmt.Sprintf("n%d", i), string(rune('a'+i%3))))
	}
	cases := map[string]struct {
		objects []runtime.Object
		pod     *v1.Pod
	}{
		"no slot, no claim": {nil, claiming()},
		"slot, plan cached": {objects(set("db", 3)), slotPod("db", 1).Obj()},
		"zonal volume":      {bound("data", zone, "a"), claiming("data")},
		"local volume":      {bound("data", host, "host-n4999"), claiming("data")},
		"slot back home to its zonal volume": {
			objects(set("db", 3, "data"), noted(bound("data-db-1", zone, "a"), "n2001")), slotPod("db", 1, "data").Obj(),
		},
		"slot with its zonal volume": {
			objects(set("db", 3, "data"), bound("data-db-1", zone, "a")), slotPod("db", 1, "data").Obj(),
		},
	}
	for name, tt := range cases {
		b.Run(name, func(b *testing.B) {
			c := newCluster(b, nil, objects(many, tt.objects)...)
			all, err := c.framework.SnapshotSharedLister().NodeInfos().List()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				state := framework.NewCycleState()
				result, status, _ := c.framework.RunPreFilterPlugins(b.Context(), state, tt.pod)
				if !status.IsSuccess() {
					b.Fatal(status)
				}
				for _, nodeInfo := range handedOn(b, c, all, result) {
					c.framework.RunFilterPlugins(b.Context(), state, tt.pod, nodeInfo)
				}
			}
		})
	}
}

func handedOn(b *testing.B, c *cluster, all []fwk.NodeInfo, result *fwk.PreFilterResult) []fwk.NodeInfo {
	if result.AllNodes() {
		return all
	}
	var few []fwk.NodeInfo
	for name := range result.NodeNames {
		nodeInfo, err := c.framework.SnapshotSharedLister().NodeInfos().Get(name)
		if err != nil {
			b.Fatal(err)
		}
		few = append(few, nodeInfo)
	}
	return few
}
