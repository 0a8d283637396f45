// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/horizontal"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// explainHPA takes the decision about an HPA once more, by the engine of
// berth-autoscaler and over what one look shows.
func (c *cluster) explainHPA(ctx context.Context, name string) (*hpaReport, error) {
	s, err := c.readScaling(ctx)
	if err != nil {
		return nil, err
	}
	hpa := s.hpas[name]
	switch {
	case hpa == nil && c.namespace == config.Namespace && name == config.CanaryName:
		return nil, fmt.Errorf("HorizontalPodAutoscaler %q scales nothing: it is the canary by which berth-autoscaler knows another HPA controller, and its conditions tell what it knows", name)
	case hpa == nil:
		return nil, notFound(string(kindHPA), c.namespace, name, keys(s.hpas))
	}
	in, err := s.inputFor(ctx, hpa)
	if apierrors.IsForbidden(err) || ctx.Err() != nil {
		return nil, wrap(fmt.Sprintf("reading the scale of %s/%s", hpa.Spec.ScaleTargetRef.Kind, hpa.Spec.ScaleTargetRef.Name), err)
	}
	in.SelectedBy = s.selectedBy(ctx, in)
	var notes []string
	if in.Measures() {
		in.Pods = s.reader.PodsOf(hpa.Namespace, selectorOf(in))
		notes = c.measure(ctx, &in, s.tuning.MetricsTimeout.Duration)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		in.Now = c.now()
	}
	notes = append(notes, unscalable(in)...)
	report := newHPAReport(in, horizontal.Decide(in))
	report.BerthActs, report.Configuration, report.Notes = s.acts(), s.tuning.origin, append(s.tuning.notes("kube-controller-manager's defaults"), notes...)
	return report, nil
}

// unscalable notes where the autoscaler could not read the target that is read here.
func unscalable(in horizontal.Input) (notes []string) {
	for _, condition := range in.HPA.Status.Conditions {
		if condition.Type == autoscalingv2.AbleToScale && condition.Reason == "FailedGetScale" && in.Scale.Absent == "" {
			notes = append(notes, fmt.Sprintf("you may read the target, and the controller could not when it looked (%s): what is decided here is not done as long as that is so", condition.Message))
		}
	}
	return notes
}

// newHPAReport tells of a decision.
func newHPAReport(in horizontal.Input, d horizontal.Decision) *hpaReport {
	hpa, why := in.HPA, d.Explanation
	r := &hpaReport{
		Namespace: hpa.Namespace, HPA: hpa.Name, Target: hpa.Spec.ScaleTargetRef,
		MinReplicas: ptr.Deref(hpa.Spec.MinReplicas, 1), MaxReplicas: hpa.Spec.MaxReplicas,
		Status: hpa.Status, now: in.Now,
	}
	r.Decision.Undecided = undecided(in, d)
	if in.Scale.Absent != "" {
		return r
	}
	r.Scale = &scaleReport{Replicas: in.Scale.SpecReplicas, Pods: in.Scale.StatusReplicas}
	r.Decision.Replicas, r.Decision.Reason = &d.DesiredReplicas, d.Reason
	if why.Metrics == nil {
		return r
	}
	r.Tolerance = &toleranceReport{From: 1 - why.ToleranceDown, To: 1 + why.ToleranceUp}
	for i, spec := range hpa.Spec.Metrics {
		r.Metrics = append(r.Metrics, newMetricReport(spec, why.Metrics[i], in.Scale.StatusReplicas))
	}
	if r.Decision.Undecided == "" {
		r.Decision.Proposed = &why.Proposed
		r.Decision.Stabilization = stabilizationOf(in, why.Proposed)
		r.Decision.Limit, r.Decision.LimitedBy = limitOf(in, d)
	}
	return r
}

// undecided is why the replicas are left as they are, whatever the metrics.
func undecided(in horizontal.Input, d horizontal.Decision) string {
	about := autoscalingv2.ScalingActive
	switch {
	case d.Rescale:
		return ""
	case in.Refused != "":
		return in.Refused
	case in.Scale.Absent != "":
		about = autoscalingv2.AbleToScale
	}
	for _, condition := range d.Status.Conditions {
		if condition.Type == about && condition.Status == v1.ConditionFalse {
			return condition.Message
		}
	}
	return ""
}

// stabilizationOf is the recommendations that count beside the one that is proposed now,
// nil if there are none.
func stabilizationOf(in horizontal.Input, proposed int32) *stabilizationReport {
	s := &stabilizationReport{Window: in.Config.DownscaleStabilization, Counts: "highest"}
	behavior, current := in.HPA.Spec.Behavior, in.Scale.SpecReplicas
	switch {
	case behavior == nil: // of the window for scaling down, in both directions
	case proposed > current:
		s.Window, s.Counts = windowOf(behavior.ScaleUp, 0), "lowest"
	default:
		s.Window = windowOf(behavior.ScaleDown, s.Window)
	}
	for _, condition := range in.HPA.Status.Conditions {
		if condition.Type == autoscalingv2.AbleToScale {
			s.LastReason = condition.Reason
		}
	}
	held := s.LastReason == "ScaleDownStabilized" || s.LastReason == "ScaleUpStabilized"
	if s.Window == 0 || !held && proposed >= current && (behavior == nil || proposed == current) {
		return nil
	}
	s.WindowSeconds = int32(s.Window / time.Second)
	return s
}

func windowOf(rules *autoscalingv2.HPAScalingRules, unless time.Duration) time.Duration {
	if rules == nil || rules.StabilizationWindowSeconds == nil {
		return unless
	}
	return time.Duration(*rules.StabilizationWindowSeconds) * time.Second
}

// limitOf is the reason of the condition that tells of a limit, and what it comes from; empty
// where nothing is limited.
func limitOf(in horizontal.Input, d horizontal.Decision) (reason, by string) {
	direction := "scaleUp"
	switch reason = d.Explanation.Limit; reason {
	case "TooManyReplicas":
		return reason, "maxReplicas"
	case "TooFewReplicas":
		return reason, "minReplicas"
	case "ScaleDownLimit":
		direction = "scaleDown"
	case "ScaleUpLimit":
	default:
		return "", ""
	}
	policy := d.Explanation.Policy
	switch {
	case in.HPA.Spec.Behavior == nil:
		return reason, "the rule without spec.behavior: one sync at most doubles the replicas, or makes them 4"
	case policy.Type == "":
		return reason, fmt.Sprintf("behavior.%s: selectPolicy is Disabled", direction)
	}
	return reason, fmt.Sprintf("behavior.%s: %d %s in %ds, counted from %s at the start of that time",
		direction, policy.Value, policy.Type, policy.PeriodSeconds, count(int(before(in, policy.PeriodSeconds)), "replica"))
}

// before is the replicas at the start of a period, as far as the scale events tell.
func before(in horizontal.Input, periodSeconds int32) int32 {
	cutoff, replicas := in.Now.Add(-time.Duration(periodSeconds)*time.Second), in.Scale.SpecReplicas
	for _, event := range in.History.ScaleUps {
		if event.Time.After(cutoff) {
			replicas -= event.Change
		}
	}
	for _, event := range in.History.ScaleDowns {
		if event.Time.After(cutoff) {
			replicas += event.Change
		}
	}
	return replicas
}

func newMetricReport(spec autoscalingv2.MetricSpec, why horizontal.MetricExplanation, pods int32) metricReport {
	r := metricReport{Type: spec.Type, Failure: why.Failure}
	var target autoscalingv2.MetricTarget
	identify := func(metric autoscalingv2.MetricIdentifier) {
		r.Name = metric.Name
		if metric.Selector != nil {
			r.Selector = metav1.FormatLabelSelector(metric.Selector)
		}
	}
	switch spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		r.Name, target = string(spec.Resource.Name), spec.Resource.Target
	case autoscalingv2.ContainerResourceMetricSourceType:
		r.Name, r.Container, target = string(spec.ContainerResource.Name), spec.ContainerResource.Container, spec.ContainerResource.Target
	case autoscalingv2.PodsMetricSourceType:
		identify(spec.Pods.Metric)
		target = spec.Pods.Target
	case autoscalingv2.ObjectMetricSourceType:
		identify(spec.Object.Metric)
		r.Object, target = &spec.Object.DescribedObject, spec.Object.Target
	case autoscalingv2.ExternalMetricSourceType:
		identify(spec.External.Metric)
		target = spec.External.Target
	}
	r.setTarget(target)
	if counted := (podsReport{Ready: why.Ready, Unready: why.Unready, Missing: why.Missing, Ignored: why.Ignored, Unlisted: why.Unlisted}); counted != (podsReport{}) {
		r.Pods = &counted
	}
	if why.Failure == "" {
		r.setValue(why, pods)
	}
	return r
}
