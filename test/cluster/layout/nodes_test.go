// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestNodes(t *testing.T) {
	o := DefaultOptions()
	o.Nodes, o.Zones, o.NodeCPU = 5, 2, "8"
	got := map[string]string{}
	for _, node := range Nodes(o) {
		got[node.Name] = node.Labels[corev1.LabelTopologyZone]
		if host := node.Labels[corev1.LabelHostname]; host == "" || host == node.Name {
			t.Errorf("%s: the hostname label is %q, want one that is not the name", node.Name, host)
		}
		if cpu := node.Status.Allocatable.Cpu().Value(); cpu != 8 {
			t.Errorf("%s: %d cpu, want 8", node.Name, cpu)
		}
		if node.Annotations[AnnotationBootSeconds] != "0" {
			t.Errorf("%s: a node that is there from the start boots at once", node.Name)
		}
	}
	want := map[string]string{
		"node-a-0": "zone-a", "node-a-1": "zone-a", "node-a-2": "zone-a",
		"node-b-0": "zone-b", "node-b-1": "zone-b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes by zone (-want +got):\n%s", diff)
	}
}
