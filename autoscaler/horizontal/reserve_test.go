// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal_test

import (
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/horizontal"
)

func TestReserve(t *testing.T) {
	recommended := func(replicas int32, ago time.Duration) func(*horizontal.Input) {
		return func(in *horizontal.Input) {
			in.History.Recommendations = []horizontal.Recommendation{{Replicas: replicas, Time: noon.Add(-ago)}}
		}
	}
	behaving := func(up, down int32, then func(*horizontal.Input)) func(*horizontal.Input) {
		return func(in *horizontal.Input) {
			in.HPA.Spec.Behavior = behave(
				&autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &up, Policies: policy(autoscalingv2.PodsScalingPolicy, 2, 60)},
				&autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &down, Policies: policy(autoscalingv2.PodsScalingPolicy, 100, 60)})
			then(in)
		}
	}
	for name, tc := range map[string]struct {
		usage            []int64
		edit             func(*horizontal.Input)
		desired, reserve int32
	}{
		"what rates keep back":          {[]int64{5000}, settled, 4, 10},
		"not above the maximum":         {[]int64{90000}, settled, 4, 20},
		"what is decided":               {[]int64{500, 500}, settled, 2, 2},
		"what the window holds":         {[]int64{100, 100, 100, 100}, recommended(4, time.Minute), 4, 4},
		"a peak that rates cut":         {[]int64{500, 500}, recommended(9, time.Minute), 4, 9},
		"a peak long ago":               {[]int64{500, 500}, recommended(9, 6*time.Minute), 2, 2},
		"a peak in the window upwards":  {[]int64{500, 500}, behaving(600, 0, recommended(9, 8*time.Minute)), 2, 9},
		"no window":                     {[]int64{500, 500}, behaving(0, 0, recommended(9, time.Second)), 2, 2},
		"more than policies let come":   {[]int64{2000, 2000}, behaving(0, 300, settled), 4, 8},
		"above a maximum that came low": {[]int64{500, 500, 500}, func(in *horizontal.Input) { in.HPA.Spec.MaxReplicas = 2; recommended(9, time.Second)(in) }, 2, 2},
		"refused":                       {[]int64{5000}, func(in *horizontal.Input) { in.Refused = "a VPA has it" }, 1, 0},
		"not there":                     {[]int64{5000}, func(in *horizontal.Input) { in.Scale.Absent = "not found" }, 0, 0},
		"switched off":                  {nil, func(in *horizontal.Input) { in.HPA.Spec.MinReplicas = ptr.To[int32](1) }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			in := web(tc.usage...)
			tc.edit(&in)
			d := horizontal.Decide(in)
			if got := d.Reserve(in); d.DesiredReplicas != tc.desired || got != tc.reserve {
				t.Errorf("%d desired and %d in reserve, want %d and %d (%+v)", d.DesiredReplicas, got, tc.desired, tc.reserve, d.Explanation)
			}
		})
	}
}
