// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal_test

import (
	"errors"
	"fmt"
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

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// web is a target of ready pods that request 1 cpu each and use so many milli-cpu; below zero there is no sample.
// The HPA wants 50 % and allows 1 to 20.
func web(usage ...int64) horizontal.Input {
	in := horizontal.Input{
		Now: noon, Config: defaults(), SelectedBy: []string{"web"},
		HPA: &autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
			Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MinReplicas: ptr.To[int32](1), MaxReplicas: 20,
				Metrics: []autoscalingv2.MetricSpec{cpuAt(50)}},
		},
		Scale: horizontal.Scale{SpecReplicas: int32(len(usage)), StatusReplicas: int32(len(usage)), Selector: "app=web"},
		Usage: horizontal.Usage{Pods: map[string]horizontal.PodUsage{}},
	}
	for i, milli := range usage {
		addPod(&in, i, milli)
	}
	return in
}

func addPod(in *horizontal.Input, index int, milli int64) *v1.Pod {
	started := metav1.NewTime(noon.Add(-time.Hour))
	pod := newPod(index, 0)
	pod.Spec.Containers = pod.Spec.Containers[:1]
	pod.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse("1")}
	pod.Status = v1.PodStatus{Phase: v1.PodRunning, StartTime: &started,
		Conditions: []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue, LastTransitionTime: started}}}
	in.Pods = append(in.Pods, pod)
	if milli >= 0 {
		in.Usage.Pods[pod.Name] = horizontal.PodUsage{Timestamp: noon, Window: 30 * time.Second,
			Containers: []horizontal.ContainerUsage{{Name: "app", Usage: v1.ResourceList{v1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}}}}
	}
	return pod
}

func cpuAt(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: v1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent}}}
}

func behave(up, down *autoscalingv2.HPAScalingRules) *autoscalingv2.HorizontalPodAutoscalerBehavior {
	for _, rules := range []*autoscalingv2.HPAScalingRules{up, down} {
		rules.SelectPolicy = ptr.To(autoscalingv2.MaxChangePolicySelect)
		if rules.StabilizationWindowSeconds == nil {
			rules.StabilizationWindowSeconds = ptr.To[int32](0)
		}
	}
	return &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: up, ScaleDown: down}
}

func policy(kind autoscalingv2.HPAScalingPolicyType, value, seconds int32) []autoscalingv2.HPAScalingPolicy {
	return []autoscalingv2.HPAScalingPolicy{{Type: kind, Value: value, PeriodSeconds: seconds}}
}

// settled has the stabilization window behind it.
func settled(in *horizontal.Input) {
	in.History.Recommendations = []horizontal.Recommendation{{Replicas: 1, Time: noon.Add(-time.Hour)}}
}

func conditionOf(conditions []autoscalingv2.HorizontalPodAutoscalerCondition, kind autoscalingv2.HorizontalPodAutoscalerConditionType) string {
	for _, c := range conditions {
		if c.Type == kind {
			return fmt.Sprintf("%s %s", c.Status, c.Reason)
		}
	}
	return ""
}

func TestDecide(t *testing.T) {
	const able, active, limits = autoscalingv2.AbleToScale, autoscalingv2.ScalingActive, autoscalingv2.ScalingLimited
	tests := map[string]struct {
		in        horizontal.Input
		given     func(*horizontal.Input)
		want      int32
		condition autoscalingv2.HorizontalPodAutoscalerConditionType
		says      string
	}{
		"at the target":                  {in: web(500, 500), want: 2, condition: active, says: "True ValidMetricFound"},
		"at the edge of tolerance":       {in: web(550, 550), want: 2, condition: able, says: "True ReadyForNewScale"},
		"at the lower edge of tolerance": {in: web(450, 450, 450, 450, 450, 450, 450, 450, 450, 450), given: settled, want: 10},
		"percent is truncated":           {in: web(559, 559), want: 2, condition: able, says: "True ReadyForNewScale"},
		"above tolerance":                {in: web(560, 560), want: 3, condition: limits, says: "False DesiredWithinRange"},
		"up at most to the double":       {in: web(900, 900, 900, 900, 900, 900, 900, 900, 1900, 1900), want: 20, condition: limits, says: "True TooManyReplicas"},
		"up at most to four from one":    {in: web(9000), want: 4, condition: limits, says: "True ScaleUpLimit"},
		"down not before the window":     {in: web(100, 100, 100), want: 3, condition: able, says: "True ScaleDownStabilized"},
		"down after the window":          {in: web(100, 100, 100), given: settled, want: 1, condition: able, says: "True ReadyForNewScale"},
		"down to the highest of a window": {in: web(100, 100, 100), given: func(in *horizontal.Input) {
			in.History.Recommendations = []horizontal.Recommendation{{2, noon}, {9, noon.Add(-301 * time.Second)}}
		}, want: 2},
		"no sample counts as a whole request on the way down": {in: web(200, 200, -1, 200), given: settled, want: 4},
		"no sample counts as idle on the way up":              {in: web(1500, 1500, -1), want: 6},
		"no sample does not turn the direction":               {in: web(600, -1, -1), want: 3},
		"starting pods do not count down": {in: web(100, 100, 100), given: func(in *horizontal.Input) {
			settled(in)
			in.Pods[2].Status.StartTime = ptr.To(metav1.NewTime(noon.Add(-time.Minute)))
			in.Pods[2].Status.Conditions[0].LastTransitionTime = metav1.NewTime(noon.Add(-time.Second))
			in.Pods[2].Status.Conditions[0].Status = v1.ConditionFalse
		}, want: 1},
		"starting pods count as idle on the way up": {in: web(900, 900, 9000), given: func(in *horizontal.Input) {
			in.Pods[2].Status.StartTime = ptr.To(metav1.NewTime(noon.Add(-time.Minute)))
			in.Pods[2].Status.Conditions[0].LastTransitionTime = metav1.NewTime(noon.Add(-time.Second))
		}, want: 4},
		"failed pods are not there":              {in: web(900, 900, 900), given: func(in *horizontal.Input) { in.Pods[0].Status.Phase = v1.PodFailed }, want: 4},
		"leaving pods are not there":             {in: web(900, 900, 900), given: func(in *horizontal.Input) { in.Pods[0].DeletionTimestamp = &metav1.Time{Time: noon} }, want: 4},
		"other pods' usage is theirs":            {in: web(500), given: func(in *horizontal.Input) { in.Usage.Pods["db-0"] = in.Usage.Pods["web-0"] }, want: 1},
		"below the minimum":                      {in: web(500, 500), given: func(in *horizontal.Input) { in.HPA.Spec.MinReplicas = ptr.To[int32](5); in.Usage.Absent = "down" }, want: 5},
		"no minimum is one":                      {in: web(500), given: func(in *horizontal.Input) { in.HPA.Spec.MinReplicas = nil }, want: 1},
		"above the maximum":                      {in: web(500, 500, 500), given: func(in *horizontal.Input) { in.HPA.Spec.MaxReplicas = 2 }, want: 2, condition: able, says: "True SucceededGetScale"},
		"switched off":                           {in: web(), want: 0, condition: active, says: "False ScalingDisabled"},
		"no target":                              {in: web(900), given: func(in *horizontal.Input) { in.Scale.Absent = "not found" }, want: 0, condition: able, says: "False FailedGetScale"},
		"no selector":                            {in: web(900), given: func(in *horizontal.Input) { in.Scale.Selector = "" }, want: 1, condition: active, says: "False InvalidSelector"},
		"rival":                                  {in: web(900), given: func(in *horizontal.Input) { in.SelectedBy = []string{"web", "other"} }, want: 1, condition: active, says: "False AmbiguousSelector"},
		"refused":                                {in: web(900), given: func(in *horizontal.Input) { in.Refused = "VPA web acts on it" }, want: 1, condition: active, says: "False ConflictsWithVerticalPodAutoscaler"},
		"refused above max":                      {in: web(1, 1), given: func(in *horizontal.Input) { in.Refused = "VPA web acts on it"; in.HPA.Spec.MaxReplicas = 1 }, want: 2},
		"metrics API down":                       {in: web(900), given: func(in *horizontal.Input) { in.Usage.Absent = "down" }, want: 1, condition: active, says: "False FailedGetResourceMetric"},
		"nothing measured":                       {in: web(-1, -1), want: 2, condition: active, says: "False FailedGetResourceMetric"},
		"no request":                             {in: web(900, 900), given: func(in *horizontal.Input) { in.Pods[1].Spec.Containers[0].Resources.Requests = nil }, want: 2, condition: active, says: "False FailedGetResourceMetric"},
		"half of the metrics fail on the way up": {in: web(900), given: func(in *horizontal.Input) { in.HPA.Spec.Metrics = append(in.HPA.Spec.Metrics, external()) }, want: 2, condition: active, says: "True ValidMetricFound"},
		"half of the metrics fail on the way down": {in: web(1, 1), given: func(in *horizontal.Input) {
			settled(in)
			in.HPA.Spec.Metrics = append(in.HPA.Spec.Metrics, external())
		}, want: 2, condition: active, says: "False FailedGetExternalMetric"},
		"own tolerance": {in: web(600, 600), given: func(in *horizontal.Input) {
			in.HPA.Spec.Behavior = behave(&autoscalingv2.HPAScalingRules{Tolerance: resource.NewMilliQuantity(300, resource.DecimalSI)}, &autoscalingv2.HPAScalingRules{})
		}, want: 2},
		"rate up counts what was added": {in: web(9000, 9000, 9000), given: func(in *horizontal.Input) {
			in.HPA.Spec.Behavior = behave(&autoscalingv2.HPAScalingRules{Policies: policy(autoscalingv2.PodsScalingPolicy, 4, 60)}, &autoscalingv2.HPAScalingRules{})
			in.History.ScaleUps = []horizontal.ScaleEvent{{Change: 2, Time: noon.Add(-59 * time.Second)}, {Change: 9, Time: noon.Add(-60 * time.Second)}}
		}, want: 5, condition: limits, says: "True ScaleUpLimit"},
		"rate up in percent is rounded up": {in: web(9000, 9000, 9000), given: func(in *horizontal.Input) {
			in.HPA.Spec.Behavior = behave(&autoscalingv2.HPAScalingRules{Policies: policy(autoscalingv2.PercentScalingPolicy, 10, 60)}, &autoscalingv2.HPAScalingRules{})
		}, want: 4, condition: limits, says: "True ScaleUpLimit"},
		"rate down in percent is truncated": {in: web(1, 1, 1), given: func(in *horizontal.Input) {
			settled(in)
			in.HPA.Spec.Behavior = behave(&autoscalingv2.HPAScalingRules{}, &autoscalingv2.HPAScalingRules{Policies: policy(autoscalingv2.PercentScalingPolicy, 10, 60)})
		}, want: 2, condition: limits, says: "True ScaleDownLimit"},
		"overdrawn rate stops": {in: web(9000, 9000, 9000), given: func(in *horizontal.Input) {
			in.HPA.Spec.Behavior = behave(&autoscalingv2.HPAScalingRules{Policies: policy(autoscalingv2.PodsScalingPolicy, 1, 60)}, &autoscalingv2.HPAScalingRules{})
			in.History.ScaleUps = []horizontal.ScaleEvent{{Change: 3, Time: noon}}
		}, want: 3, condition: limits, says: "True ScaleUpLimit"},
		"flag counts in whole seconds beside a behavior": {in: web(1, 1, 1), given: func(in *horizontal.Input) {
			in.Config.DownscaleStabilization = 60*time.Second + 500*time.Millisecond
			in.HPA.Spec.Behavior = behave(&autoscalingv2.HPAScalingRules{}, &autoscalingv2.HPAScalingRules{Policies: policy(autoscalingv2.PodsScalingPolicy, 9, 60)})
			in.HPA.Spec.Behavior.ScaleDown.StabilizationWindowSeconds = nil
			in.History.Recommendations = []horizontal.Recommendation{{3, noon.Add(-60 * time.Second)}}
		}, want: 1, condition: able, says: "True ReadyForNewScale"},
		"up waits for its window": {in: web(9000, 9000, 9000), given: func(in *horizontal.Input) {
			in.HPA.Spec.Behavior = behave(&autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](60)}, &autoscalingv2.HPAScalingRules{})
		}, want: 3, condition: able, says: "True ScaleUpStabilized"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.given != nil {
				tt.given(&tt.in)
			}
			d := horizontal.Decide(tt.in)
			if d.DesiredReplicas != tt.want || d.Rescale != (d.DesiredReplicas != d.CurrentReplicas) {
				t.Errorf("got %d → %d, rescale %t; want %d\n%+v", d.CurrentReplicas, d.DesiredReplicas, d.Rescale, tt.want, d.Explanation)
			}
			if got := conditionOf(d.Status.Conditions, tt.condition); got != tt.says {
				t.Errorf("condition %s: got %q, want %q", tt.condition, got, tt.says)
			}
		})
	}
}

func external() autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: "queue"},
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: resource.NewQuantity(1, resource.DecimalSI)}}}
}

func TestExplanation(t *testing.T) {
	in := web(1500, 1500, -1, -1)
	in.Pods[3].Status.Phase = v1.PodFailed
	want := horizontal.Explanation{
		Metrics: []horizontal.MetricExplanation{{Name: "cpu resource utilization (percentage of request)",
			TargetType: autoscalingv2.UtilizationMetricType, Value: 150, Target: 50, Ratio: 3, AssumedRatio: 2, Ready: 2, Missing: 1, Ignored: 1, Proposal: 6}},
		ToleranceDown: 0.1, ToleranceUp: 0.1, Proposed: 6, Stabilized: 6, Limit: "DesiredWithinRange",
	}
	if diff := cmp.Diff(want, horizontal.Decide(in).Explanation); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnreadMetricsSayWhy(t *testing.T) {
	metric := autoscalingv2.MetricIdentifier{Name: "rps"}
	tests := map[string]struct {
		spec autoscalingv2.MetricSpec
		want string
	}{
		"pods":     {autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: metric}}, "FailedGetPodsMetric"},
		"object":   {autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{Metric: metric}}, "FailedGetObjectMetric"},
		"external": {external(), "FailedGetExternalMetric"},
		"unknown":  {autoscalingv2.MetricSpec{Type: "Moon"}, "InvalidMetricSourceType"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := web(900)
			in.HPA.Spec.Metrics = []autoscalingv2.MetricSpec{tt.spec}
			d := horizontal.Decide(in)
			if got := conditionOf(d.Status.Conditions, autoscalingv2.ScalingActive); got != "False "+tt.want || d.Rescale {
				t.Errorf("got %q, rescale %t; want %q and no rescale", got, d.Rescale, "False "+tt.want)
			}
			if len(d.Events) != 2 || d.Events[0].Reason != tt.want || d.Events[1].Reason != "FailedComputeMetricsReplicas" {
				t.Errorf("events: got %v", d.Events)
			}
		})
	}
}

// Where several pods lack a request, the first by name and its first such container are named, whatever their order.
func TestMissingRequestNamesTheFirst(t *testing.T) {
	in := web(900, 900, 900)
	in.Pods[0].Name, in.Pods[2].Name = in.Pods[2].Name, in.Pods[0].Name
	sidecar := v1.Container{Name: "sidecar", RestartPolicy: ptr.To(v1.ContainerRestartPolicyAlways)}
	for _, pod := range in.Pods[:2] {
		pod.Spec.InitContainers = []v1.Container{{Name: "setup"}, sidecar}
	}
	in.Pods[0].Spec.Containers[0].Resources.Requests = nil
	want := "failed to get cpu utilization: missing request for cpu in container sidecar of Pod web-1"
	if got := horizontal.Decide(in).Events[0].Message; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	in.Pods[1].Spec.InitContainers = nil
	want = "failed to get cpu utilization: missing request for cpu in container app of Pod web-2"
	if got := horizontal.Decide(in).Events[0].Message; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A refusal is an event once; the condition stays for as long as the refusal does, and goes with it.
func TestRefusal(t *testing.T) {
	in := web(900)
	in.Refused = "VerticalPodAutoscaler prod/web acts on Deployment web"
	first := horizontal.Decide(in)
	want := []horizontal.Event{{Type: v1.EventTypeWarning, Reason: horizontal.ReasonConflict, Message: in.Refused}}
	if diff := cmp.Diff(want, first.Events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	in.HPA.Status, in.History = first.Status, first.History
	if again := horizontal.Decide(in); len(again.Events) != 0 || again.Rescale {
		t.Errorf("told again: %v, rescale %t", again.Events, again.Rescale)
	}
	in.Refused = ""
	if after := horizontal.Decide(in); !after.Rescale || conditionOf(after.Status.Conditions, autoscalingv2.ScalingActive) != "True ValidMetricFound" {
		t.Errorf("after the refusal: %+v", after.Outcome)
	}
}

func TestConfirm(t *testing.T) {
	in := web(900, 900)
	in.HPA.Spec.Behavior = behave(&autoscalingv2.HPAScalingRules{Policies: policy(autoscalingv2.PodsScalingPolicy, 9, 60)}, &autoscalingv2.HPAScalingRules{})
	in.HPA.Spec.Metrics = append(in.HPA.Spec.Metrics, external(), external(), external())
	d := horizontal.Decide(in)

	written := horizontal.Confirm(in, d, nil)
	if written.Status.DesiredReplicas != 4 || !written.Status.LastScaleTime.Time.Equal(noon) ||
		conditionOf(written.Status.Conditions, autoscalingv2.AbleToScale) != "True SucceededRescale" {
		t.Errorf("written: %+v", written.Status)
	}
	if diff := cmp.Diff([]horizontal.ScaleEvent{{Change: 2, Time: noon}}, written.History.ScaleUps); diff != "" {
		t.Errorf("scale events (-want +got):\n%s", diff)
	}

	failed := horizontal.Confirm(in, d, errors.New("denied"))
	if failed.Status.DesiredReplicas != 0 || failed.Status.LastScaleTime != nil || len(failed.History.ScaleUps) != 0 ||
		conditionOf(failed.Status.Conditions, autoscalingv2.AbleToScale) != "False FailedUpdateScale" {
		t.Errorf("failed: %+v", failed)
	}
	if got := conditionOf(d.Status.Conditions, autoscalingv2.AbleToScale); got != "True ReadyForNewScale" {
		t.Errorf("Confirm changed the decision: %s", got)
	}
	told := []string{written.Events[3].Reason, failed.Events[3].Reason}
	if diff := cmp.Diff([]string{"SuccessfulRescale", "FailedRescale"}, told); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// What is too old is reused from the end and not dropped: a longer window may reach the rest again.
func TestHistoryIsReused(t *testing.T) {
	ago := func(seconds int) time.Time { return noon.Add(-time.Duration(seconds) * time.Second) }
	in := web(900, 900)
	in.HPA.Spec.Behavior = behave(&autoscalingv2.HPAScalingRules{Policies: policy(autoscalingv2.PodsScalingPolicy, 9, 60)}, &autoscalingv2.HPAScalingRules{})
	in.History = horizontal.History{
		Recommendations: []horizontal.Recommendation{{7, ago(900)}, {8, ago(800)}, {2, noon}},
		ScaleUps:        []horizontal.ScaleEvent{{1, ago(900), false}, {1, ago(50), true}, {1, ago(10), false}},
	}
	want := horizontal.History{
		Recommendations: []horizontal.Recommendation{{7, ago(900)}, {4, noon}, {2, noon}},
		ScaleUps:        []horizontal.ScaleEvent{{1, ago(900), true}, {2, noon, false}, {1, ago(10), false}},
	}
	got := horizontal.Confirm(in, horizontal.Decide(in), nil).History
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
