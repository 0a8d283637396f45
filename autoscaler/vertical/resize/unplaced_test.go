// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// A pod that was given more than any node has is helped as soon as less is recommended, within its bounds or not.
func TestLessForAPodWithoutNode(t *testing.T) {
	wide := func(cpu, memory string) resize.Recommendation {
		return resize.Recommendation{Container: "db", Target: list(cpu, memory), Lower: list("1m", "1"), Upper: list("1000", "1000Gi")}
	}
	for name, tc := range map[string]struct {
		node, reason string
		advice       resize.Recommendation
		patched      bool
	}{
		"less is recommended":           {"", v1.PodReasonUnschedulable, wide("2", "2Gi"), true},
		"as much is recommended":        {"", v1.PodReasonUnschedulable, wide("4", "60Gi"), false},
		"more is recommended":           {"", v1.PodReasonUnschedulable, wide("4", "80Gi"), false},
		"it is in the queue still":      {"", v1.PodReasonSchedulingGated, wide("2", "2Gi"), false},
		"it has a node, and starts now": {"node-a", v1.PodReasonUnschedulable, wide("2", "2Gi"), false},
	} {
		t.Run(name, func(t *testing.T) {
			all := pods(3, list("4", "60Gi"), nil)
			pending := all[2]
			pending.Spec.NodeName, pending.CreationTimestamp = tc.node, metav1.NewTime(noon.Add(-time.Minute))
			pending.Status = v1.PodStatus{Phase: v1.PodPending, Conditions: []v1.PodCondition{{Type: v1.PodScheduled, Status: v1.ConditionFalse, Reason: tc.reason}}}
			out := resize.Decide(resize.Input{Now: noon, Config: resize.DefaultConfig(), Targets: []resize.Target{set(vpav1.UpdateModeInPlaceOrRecreate, []resize.Recommendation{tc.advice}, all...)}})
			patched := len(out.Actions) == 1 && out.Actions[0].Kind == resize.Patch && out.Actions[0].Pod.Name == "db-2"
			if patched != tc.patched {
				t.Errorf("actions %+v, want a patch of db-2: %t", out.Actions, tc.patched)
			}
		})
	}
}
