// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package pinnedtopologyspread

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

func TestRule(t *testing.T) {
	type constraints = []v1.TopologySpreadConstraint
	relaxed := func(key string) v1.TopologySpreadConstraint { return spread(key, v1.DoNotSchedule, math.MaxInt32) }
	a := map[string]string{zone: "a"}
	tests := map[string]struct {
		given      constraints
		action     v1.UnsatisfiableConstraintAction
		domains    map[string]string
		wantPinned map[string]string
		wantLeft   int
		want       constraints // relaxed or dropped, by action
	}{
		"none":                {nil, v1.DoNotSchedule, a, nil, 0, nil},
		"nothing pinned":      {constraints{hard(zone), soft(host)}, v1.DoNotSchedule, nil, nil, 1, constraints{hard(zone), soft(host)}},
		"hard one pinned":     {constraints{hard(zone), hard(host), soft(zone)}, v1.DoNotSchedule, a, a, 1, constraints{relaxed(zone), hard(host), soft(zone)}},
		"all hard pinned":     {constraints{hard(zone), soft(host)}, v1.DoNotSchedule, a, a, 0, constraints{relaxed(zone), soft(host)}},
		"soft one pinned":     {constraints{hard(zone), soft(host), soft(zone)}, v1.ScheduleAnyway, a, a, 1, constraints{hard(zone), soft(host)}},
		"all soft pinned":     {constraints{hard(zone), soft(zone)}, v1.ScheduleAnyway, a, a, 0, constraints{hard(zone)}},
		"pinned in more keys": {constraints{hard(zone)}, v1.DoNotSchedule, map[string]string{zone: "a", host: "n"}, a, 0, constraints{relaxed(zone)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := append(constraints(nil), tt.given...)
			pinned, left := pinnedKeys(tt.given, tt.action, (&pins{domains: tt.domains}).domainOf)
			if diff := cmp.Diff(tt.wantPinned, pinned); diff != "" || left != tt.wantLeft {
				t.Errorf("%d left, want %d; pinned (-want +got):\n%s", left, tt.wantLeft, diff)
			}
			free := map[v1.UnsatisfiableConstraintAction]func(constraints, map[string]string) constraints{v1.DoNotSchedule: relax, v1.ScheduleAnyway: drop}
			if diff := cmp.Diff(tt.want, free[tt.action](tt.given, pinned)); diff != "" {
				t.Errorf("freed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tt.given); diff != "" {
				t.Errorf("the pod's own were changed (-before +after):\n%s", diff)
			}
		})
	}
}
