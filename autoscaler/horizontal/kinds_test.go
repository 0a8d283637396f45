// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal_test

import (
	"encoding/json"
	"math"
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/horizontal"
)

func milli(value int64) *resource.Quantity {
	return resource.NewMilliQuantity(value, resource.DecimalSI)
}

func valueOf(value int64) autoscalingv2.MetricTarget {
	return autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: milli(value)}
}

func averageOf(value int64) autoscalingv2.MetricTarget {
	return autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: milli(value)}
}

func podsMetric(target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType,
		Pods: &autoscalingv2.PodsMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "rps"}, Target: target}}
}

func objectMetric(target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: "depth"}, Target: target,
		DescribedObject: autoscalingv2.CrossVersionObjectReference{Kind: "Ingress", Name: "main"}}}
}

func externalMetric(target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: "queue", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"q": "a"}}}, Target: target}}
}

// asked is web with another metric than cpu and its answer, three pods and no window behind it.
func asked(spec autoscalingv2.MetricSpec, reading horizontal.Reading) horizontal.Input {
	in := web(0, 0, 0)
	settled(&in)
	in.HPA.Spec.Metrics = []autoscalingv2.MetricSpec{spec}
	in.Readings = []horizontal.Reading{reading}
	return in
}

func TestKinds(t *testing.T) {
	rates := func(values ...int64) horizontal.Reading {
		r := horizontal.Reading{Pods: map[string]int64{}}
		for i, name := range []string{"web-0", "web-1", "web-2", "gone-0"}[:len(values)] {
			if values[i] >= 0 {
				r.Pods[name] = values[i]
			}
		}
		return r
	}
	unready := func(in *horizontal.Input) { in.Pods[0].Status.Conditions[0].Status = v1.ConditionFalse }
	type explained = horizontal.MetricExplanation
	const average, value = autoscalingv2.AverageValueMetricType, autoscalingv2.ValueMetricType
	const queue = "external metric queue(&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},})"
	tests := map[string]struct {
		spec    autoscalingv2.MetricSpec
		reading horizontal.Reading
		given   func(*horizontal.Input)
		want    explained
	}{
		"pods": {spec: podsMetric(averageOf(1000)), reading: rates(1500, 1500, 2000), want: explained{
			Name: "pods metric rps", TargetType: average, Value: 1666, Target: 1000, Ratio: 1.666, AssumedRatio: 1.666, Ready: 3, Proposal: 5}},
		"pods: readiness is for cpu": {spec: podsMetric(averageOf(1000)), reading: rates(2000, 2000, 2000), given: unready, want: explained{
			Name: "pods metric rps", TargetType: average, Value: 2000, Target: 1000, Ratio: 2, AssumedRatio: 2, Ready: 3, Proposal: 6}},
		"pods: one is missing": {spec: podsMetric(averageOf(1000)), reading: rates(500, 500), want: explained{
			Name: "pods metric rps", TargetType: average, Value: 500, Target: 1000, Ratio: 0.5, AssumedRatio: 0.666, Ready: 2, Missing: 1, Proposal: 2}},
		"pods: the missing ones could turn it": {spec: podsMetric(averageOf(1000)), reading: rates(1200), want: explained{
			Name: "pods metric rps", TargetType: average, Value: 1200, Target: 1000, Ratio: 1.2, AssumedRatio: 0.4, Ready: 1, Missing: 2, Proposal: 3, Kept: horizontal.InDoubt}},
		"pods: one is gone": {spec: podsMetric(averageOf(1000)), reading: rates(1000, 1000, 1000, 5000), want: explained{
			Name: "pods metric rps", TargetType: average, Value: 2000, Target: 1000, Ratio: 2, AssumedRatio: 2, Ready: 3, Unlisted: 1, Proposal: 6}},
		"object": {spec: objectMetric(valueOf(1000)), reading: horizontal.Reading{Object: 1500}, want: explained{
			Name: "Ingress metric depth", TargetType: value, Value: 1500, Target: 1000, Ratio: 1.5, AssumedRatio: 1.5, Ready: 3, Proposal: 5}},
		"object: only ready pods share it": {spec: objectMetric(valueOf(1000)), reading: horizontal.Reading{Object: 1500}, given: unready, want: explained{
			Name: "Ingress metric depth", TargetType: value, Value: 1500, Target: 1000, Ratio: 1.5, AssumedRatio: 1.5, Ready: 2, Proposal: 3}},
		"object: within tolerance": {spec: objectMetric(valueOf(1000)), reading: horizontal.Reading{Object: 1100}, want: explained{
			Name: "Ingress metric depth", TargetType: value, Value: 1100, Target: 1000, Ratio: 1.1, AssumedRatio: 1.1, Proposal: 3, Kept: horizontal.WithinTolerance}},
		"object: per pod": {spec: objectMetric(averageOf(1000)), reading: horizontal.Reading{Object: 4500}, want: explained{
			Name: "external metric depth(nil)", TargetType: average, Value: 4500, Target: 1000, Ratio: 1.5, AssumedRatio: 1.5, Proposal: 5}},
		"object: per reported replica": {spec: objectMetric(averageOf(1000)), reading: horizontal.Reading{Object: 4500}, given: func(in *horizontal.Input) { in.Scale.StatusReplicas = 4 },
			want: explained{Name: "external metric depth(nil)", TargetType: average, Value: 4500, Target: 1000, Ratio: 1.125, AssumedRatio: 1.125, Proposal: 5}},
		"external": {spec: externalMetric(valueOf(1000)), reading: horizontal.Reading{Series: []int64{700, 800}}, want: explained{
			Name: queue, TargetType: value, Value: 1500, Target: 1000, Ratio: 1.5, AssumedRatio: 1.5, Ready: 3, Proposal: 5}},
		"external: per pod": {spec: externalMetric(averageOf(1000)), reading: horizontal.Reading{Series: []int64{4000, 2001}}, want: explained{
			Name: queue, TargetType: average, Value: 6001, Target: 1000, Ratio: 6001.0 / 3000, AssumedRatio: 6001.0 / 3000, Proposal: 7}},
		"external: per pod, no replicas": {spec: externalMetric(averageOf(1000)), reading: horizontal.Reading{Series: []int64{500}},
			given: func(in *horizontal.Input) { in.Scale.StatusReplicas = 0 },
			want:  explained{Name: queue, TargetType: average, Value: 500, Target: 1000, Proposal: 1}},
		"external: none": {spec: externalMetric(averageOf(1000)), want: explained{Name: queue,
			Failure: "unable to get external metric prod/queue/&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}: no metrics returned from external metrics API"}},
		"object: down": {spec: objectMetric(valueOf(1000)), reading: horizontal.Reading{Absent: "not now"}, want: explained{Name: "Ingress metric depth",
			Failure: "unable to get metric depth: Ingress on prod main/unable to fetch metrics from custom metrics API: not now"}},
		"pods: down": {spec: podsMetric(averageOf(1000)), reading: horizontal.Reading{Absent: "not now"}, want: explained{Name: "pods metric rps", TargetType: average, Target: 1000,
			Failure: "unable to get metric rps: unable to fetch metrics from custom metrics API: not now"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := asked(tt.spec, tt.reading)
			if tt.given != nil {
				tt.given(&in)
			}
			if diff := cmp.Diff([]explained{tt.want}, horizontal.Decide(in).Explanation.Metrics); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever the kind, a value beyond all numbers scales up: a plain conversion would make it the smallest.
func TestHugeValuesScaleUp(t *testing.T) {
	huge := horizontal.Reading{Object: math.MaxInt64, Series: []int64{math.MaxInt64, math.MaxInt64},
		Pods: map[string]int64{"web-0": math.MaxInt64 / 4, "web-1": math.MaxInt64 / 4, "web-2": math.MaxInt64 / 4}}
	for name, spec := range map[string]autoscalingv2.MetricSpec{
		"pods": podsMetric(averageOf(1)), "object": objectMetric(valueOf(1)), "object per pod": objectMetric(averageOf(1)),
		"external": externalMetric(valueOf(1)), "external per pod": externalMetric(averageOf(1)),
	} {
		t.Run(name, func(t *testing.T) {
			for _, replicas := range []int32{0, 3} {
				in := asked(spec, huge)
				in.Config.ScaleToZero, in.Scale.SpecReplicas = true, replicas
				in.HPA.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScaledToZero, Status: v1.ConditionTrue}}
				if d := horizontal.Decide(in); d.DesiredReplicas != max(4, 2*replicas) {
					t.Errorf("%d → %d\n%+v", replicas, d.DesiredReplicas, d.Explanation)
				}
			}
		})
	}
}

func TestScaleToZero(t *testing.T) {
	const zeroed = autoscalingv2.ScaledToZero
	word := func(status v1.ConditionStatus) []autoscalingv2.HorizontalPodAutoscalerCondition {
		return []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: zeroed, Status: status}}
	}
	idle, busy := horizontal.Reading{Series: []int64{0}}, horizontal.Reading{Series: []int64{2500}}
	queue := externalMetric(averageOf(1000))
	tests := map[string]struct {
		reading horizontal.Reading
		from    int32
		given   func(*horizontal.Input)
		want    int32
		reason  string
		says    string
		active  string
	}{
		"down to zero":       {reading: idle, from: 3, want: 0, reason: "All metrics below target", says: "True ScaledToZero"},
		"and up again":       {reading: busy, given: func(in *horizontal.Input) { in.HPA.Status.Conditions = word(v1.ConditionTrue) }, want: 3, reason: "above target", says: "False NotScaledToZero"},
		"not while idle":     {reading: idle, given: func(in *horizontal.Input) { in.HPA.Status.Conditions = word(v1.ConditionTrue) }, says: "True "},
		"not after a person": {reading: busy, given: func(in *horizontal.Input) { in.HPA.Status.Conditions = word(v1.ConditionFalse) }, says: "False "},
		"not of a new HPA":   {reading: busy},
		"not without the gate": {reading: busy, given: func(in *horizontal.Input) {
			in.HPA.Status.Conditions = word(v1.ConditionTrue)
			in.Config.ScaleToZero = false
		}},
		"not by what has no value without pods": {given: func(in *horizontal.Input) {
			in.HPA.Status.Conditions, in.HPA.Spec.Metrics = word(v1.ConditionTrue), []autoscalingv2.MetricSpec{cpuAt(50)}
		}, says: "True ", active: "False ScalingDisabled"},
		"up to a minimum that was raised": {reading: idle, given: func(in *horizontal.Input) {
			in.HPA.Status.Conditions, in.HPA.Spec.MinReplicas = word(v1.ConditionTrue), ptr.To[int32](2)
		}, want: 2, says: "False NotScaledToZero"}, // upstream gives no reason either
		"the same with a behavior": {reading: idle, given: func(in *horizontal.Input) {
			in.HPA.Status.Conditions, in.HPA.Spec.MinReplicas = word(v1.ConditionTrue), ptr.To[int32](2)
			in.HPA.Spec.Behavior = behave(&autoscalingv2.HPAScalingRules{}, &autoscalingv2.HPAScalingRules{})
		}, want: 2, reason: "Current number of replicas below Spec.MinReplicas", says: "False NotScaledToZero"},
		"even if policies forbid to scale up": {reading: busy, given: func(in *horizontal.Input) {
			in.HPA.Status.Conditions, in.HPA.Spec.MinReplicas = word(v1.ConditionTrue), ptr.To[int32](2)
			in.HPA.Spec.Behavior = behave(&autoscalingv2.HPAScalingRules{}, &autoscalingv2.HPAScalingRules{})
			in.HPA.Spec.Behavior.ScaleUp.SelectPolicy = ptr.To(autoscalingv2.DisabledPolicySelect)
		}, want: 2, reason: "above target", says: "False NotScaledToZero"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := asked(queue, tt.reading)
			in.Config.ScaleToZero, in.HPA.Spec.MinReplicas = true, ptr.To[int32](0)
			in.Scale.SpecReplicas, in.Scale.StatusReplicas = tt.from, tt.from
			if tt.given != nil {
				tt.given(&in)
			}
			d := horizontal.Decide(in)
			outcome := d.Outcome
			if d.Rescale {
				outcome = horizontal.Confirm(in, d, nil)
			}
			if tt.reason == "above target" {
				tt.reason = d.Explanation.Metrics[0].Name + " above target"
			}
			if d.DesiredReplicas != tt.want || d.Reason != tt.reason {
				t.Errorf("got %d because %q, want %d because %q", d.DesiredReplicas, d.Reason, tt.want, tt.reason)
			}
			if got := conditionOf(outcome.Status.Conditions, zeroed); got != tt.says {
				t.Errorf("condition: got %q, want %q", got, tt.says)
			}
			if got := conditionOf(outcome.Status.Conditions, autoscalingv2.ScalingActive); tt.active != "" && got != tt.active {
				t.Errorf("active: got %q, want %q", got, tt.active)
			}
		})
	}
}

// What limits a decision is named with its numbers.
func TestExplanationOfLimits(t *testing.T) {
	fast := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 2, PeriodSeconds: 60}
	slow := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 1, PeriodSeconds: 60}
	both := func() *autoscalingv2.HPAScalingRules {
		return &autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{slow, fast}}
	}
	earlier := horizontal.Recommendation{Replicas: 7, Time: noon.Add(-4 * time.Minute)}
	tests := map[string]struct {
		in         horizontal.Input
		given      func(*horizontal.Input)
		stabilized horizontal.Recommendation
		limit      string
		policy     autoscalingv2.HPAScalingPolicy
	}{
		"window":    {in: web(1, 1, 1), given: func(in *horizontal.Input) { in.History.Recommendations = []horizontal.Recommendation{earlier} }, stabilized: earlier, limit: "ScaleUpLimit"},
		"rate up":   {in: web(9000), given: func(in *horizontal.Input) { in.HPA.Spec.Behavior = behave(both(), both()) }, limit: "ScaleUpLimit", policy: fast},
		"rate down": {in: web(1, 1, 1, 1), given: func(in *horizontal.Input) { settled(in); in.HPA.Spec.Behavior = behave(both(), both()) }, limit: "ScaleDownLimit", policy: fast},
		"slowest rate": {in: web(9000), given: func(in *horizontal.Input) {
			in.HPA.Spec.Behavior = behave(both(), both())
			in.HPA.Spec.Behavior.ScaleUp.SelectPolicy = ptr.To(autoscalingv2.MinChangePolicySelect)
		}, limit: "ScaleUpLimit", policy: slow},
		"maximum":       {in: web(9000, 9000), given: func(in *horizontal.Input) { in.HPA.Spec.MaxReplicas = 3 }, limit: "TooManyReplicas"},
		"above maximum": {in: web(1, 1), given: func(in *horizontal.Input) { in.HPA.Spec.MaxReplicas = 1 }, limit: "TooManyReplicas"},
		"below minimum": {in: web(1), given: func(in *horizontal.Input) { in.HPA.Spec.MinReplicas = ptr.To[int32](2) }, limit: "TooFewReplicas"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.given(&tt.in)
			why := horizontal.Decide(tt.in).Explanation
			if diff := cmp.Diff(tt.stabilized, why.StabilizedBy); diff != "" {
				t.Errorf("stabilized by (-want +got):\n%s", diff)
			}
			if why.Limit != tt.limit || why.Policy != tt.policy {
				t.Errorf("limited by %q %+v, want %q %+v", why.Limit, why.Policy, tt.limit, tt.policy)
			}
		})
	}
}

// An explanation can be sent and logged: it has no number that is none.
func TestExplanationIsJSON(t *testing.T) {
	forAnyInput(t, func(t *testing.T, _ *rand.Rand, in horizontal.Input) {
		in.Scale.StatusReplicas = in.Scale.StatusReplicas / 4 * 4
		if _, err := json.Marshal(horizontal.Decide(in).Explanation); err != nil {
			t.Error(err)
		}
	})
}
