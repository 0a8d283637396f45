// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

func TestCaps(t *testing.T) {
	busy := minutely("p", "a", 24*60, 1000, 1<<30) // 1168m 1238659775
	tests := map[string]struct {
		policy *vpav1.PodResourcePolicy
		global corev1.ResourceList
		want   string
		caps   map[corev1.ResourceName]Cap
	}{
		"none":           {want: "1168m 1238659775"},
		"global":         {global: resources("1", "9Gi"), want: "1 1238659775", caps: map[corev1.ResourceName]Cap{"cpu": GlobalMaxAllowed}},
		"zero is no cap": {global: resources("0", "0"), want: "1168m 1238659775"},
		"the VPA's goes before the global one": {
			policy: policies(vpav1.ContainerResourcePolicy{ContainerName: "*", MaxAllowed: corev1.ResourceList{"cpu": resource.MustParse("1100m")}}),
			global: resources("1", "1Gi"), want: "1100m 1Gi", caps: map[corev1.ResourceName]Cap{"cpu": MaxAllowed, "memory": GlobalMaxAllowed}},
		"a VPA's that is none, too": {
			policy: policies(vpav1.ContainerResourcePolicy{ContainerName: "*", MaxAllowed: resources("0", "0")}), global: resources("1", "1Gi"), want: "1168m 1238659775"},
		"minimum": {
			policy: policies(vpav1.ContainerResourcePolicy{ContainerName: "a", MinAllowed: resources("2", "1Gi")}),
			want:   "2 1238659775", caps: map[corev1.ResourceName]Cap{"cpu": MinAllowed}},
		"the maximum goes before the minimum": {
			policy: policies(vpav1.ContainerResourcePolicy{ContainerName: "a", MinAllowed: resources("3", "3Gi"), MaxAllowed: resources("2", "2Gi")}),
			want:   "2 2Gi", caps: map[corev1.ResourceName]Cap{"cpu": MaxAllowed, "memory": MaxAllowed}},
		"less than a unit": {
			policy: policies(vpav1.ContainerResourcePolicy{ContainerName: "a", MaxAllowed: resources("1000500u", "1500m")}),
			want:   "1000500u 1500m", caps: map[corev1.ResourceName]Cap{"cpu": MaxAllowed, "memory": MaxAllowed}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			slot := Pod{UID: "p", Slot: "0", Containers: []string{"a"}}
			d := Decide(Input{Now: epoch.Add(24 * time.Hour), VPAs: []VPA{vpa(tc.policy, slot)}, Samples: busy, MaxAllowed: tc.global})
			c := d.Recommendations[db].Containers[0]
			if diff := cmp.Diff(tc.want, text(c.Target)); diff != "" {
				t.Errorf("target (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.caps, c.Caps, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("caps (-want +got):\n%s", diff)
			}
			for _, r := range c.Slots[0].Resources {
				if q := c.Target[r.Name]; r.Cap != tc.caps[r.Name] || quantityOver(r, q) {
					t.Errorf("the only slot's %s is %d by %q", r.Name, r.Target, r.Cap)
				}
			}
		})
	}
}

// quantityOver is whether the slot's target is more than the set's, which no unit of its own
// can write.
func quantityOver(r SlotResource, set resource.Quantity) bool {
	q := quantity(amount(r.Target), r.Name)
	return q.Cmp(set) > 0
}

func TestRules(t *testing.T) {
	quantity := func(s string) *resource.Quantity { q := resource.MustParse(s); return &q }
	of := func(seconds int32, count int64, ratio, bump string) *vpav1.ContainerResourcePolicy {
		return &vpav1.ContainerResourcePolicy{ContainerName: "a", MemoryAggregationIntervalSeconds: &seconds, MemoryAggregationIntervalCount: &count,
			OOMBumpUpRatio: quantity(ratio), OOMMinBumpUp: quantity(bump)}
	}
	usual := rules{bumpRatio: 1.2, leastBump: 100 << 20, interval: 24 * time.Hour, intervals: 8}
	tests := map[string]struct {
		policy *vpav1.ContainerResourcePolicy
		want   rules
		window time.Duration
		said   int
	}{
		"no policy":        {policy: nil, want: usual, window: 8 * 24 * time.Hour},
		"an empty policy":  {policy: &vpav1.ContainerResourcePolicy{}, want: usual, window: 8 * 24 * time.Hour},
		"all of them":      {policy: of(60, 30, "1.5", "1Gi"), want: rules{1.5, 1 << 30, time.Minute, 30}, window: 30 * time.Minute},
		"nothing to add":   {policy: of(60, 30, "1", "0"), want: rules{1, 0, time.Minute, 30}, window: 30 * time.Minute},
		"what is refused":  {policy: of(0, 0, "0.999", "-1"), want: usual, window: 8 * 24 * time.Hour, said: 4},
		"what is too long": {policy: of(1<<31-1, 1<<62, "2", "1"), want: rules{2, 1, (1<<31 - 1) * time.Second, 1 << 62}, window: maxWindow},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := rulesOf(tc.policy)
			if got != tc.want || got.window() != tc.window {
				t.Errorf("%+v of %v, want %+v of %v", got, got.window(), tc.want, tc.window)
			}
			if tc.policy == nil {
				return
			}
			if said := Ignored(vpav1.VerticalPodAutoscalerSpec{ResourcePolicy: policies(*tc.policy)}); len(said) != tc.said {
				t.Errorf("ignored: %q", said)
			}
		})
	}
}

func TestIgnored(t *testing.T) {
	spec := vpav1.VerticalPodAutoscalerSpec{
		StartupBoost: &vpav1.StartupBoost{},
		ResourcePolicy: policies(vpav1.ContainerResourcePolicy{
			ContainerName: "a", StartupBoost: &vpav1.StartupBoost{}, ControlledResources: &[]corev1.ResourceName{"memory", "gpu"}}),
	}
	want := []string{
		"spec.startupBoost is not supported: containers start with their recommendation",
		`startupBoost of container "a" is not supported: it starts with its recommendation`,
		`resource "gpu" of container "a" is neither cpu nor memory`,
	}
	if diff := cmp.Diff(want, Ignored(spec)); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
}

func TestUnmatched(t *testing.T) {
	policy := func(names ...string) *vpav1.PodResourcePolicy {
		p := &vpav1.PodResourcePolicy{}
		for _, name := range names {
			p.ContainerPolicies = append(p.ContainerPolicies, vpav1.ContainerResourcePolicy{ContainerName: name})
		}
		return p
	}
	for name, tc := range map[string]struct {
		policy     *vpav1.PodResourcePolicy
		containers []string
		want       []string
	}{
		"a typo":          {policy("bd", "*", "log"), []string{"db", "log"}, []string{`the policy of container "bd" is for nobody: the pods have db, log`}},
		"all are there":   {policy("db", "*"), []string{"db"}, nil},
		"no policy":       {nil, []string{"db"}, nil},
		"no pods to know": {policy("bd"), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Unmatched(tc.policy, tc.containers)); diff != "" {
				t.Errorf("unmatched (-want +got):\n%s", diff)
			}
		})
	}
}
