// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// failure is a metric without an answer: the condition's reason, why, and the same as the sync's error tells it.
type failure struct {
	reason string
	cause  error
	err    error
}

func failed(reason, doing string, cause error) *failure {
	return &failure{reason, cause, fmt.Errorf("%s: %w", doing, cause)}
}

// propose asks every metric and returns the largest proposal, never below zero, with the name of its metric.
// A failed metric makes it an error only if no metric answered, or if the rest would scale down.
func (d *Decision) propose(in Input) (int32, string, error) {
	specs := in.HPA.Spec.Metrics
	d.Status.CurrentMetrics = make([]autoscalingv2.MetricStatus, len(specs))
	d.Explanation.Metrics = make([]MetricExplanation, len(specs))
	tolerated := in.tolerances()
	d.Explanation.ToleranceDown, d.Explanation.ToleranceUp = tolerated.down, tolerated.up
	var proposed int32
	var metric string
	var failures []failure
	for i, spec := range specs {
		why := &d.Explanation.Metrics[i]
		status, fail := in.ask(spec, in.reading(i), why)
		if fail != nil {
			d.event(v1.EventTypeWarning, fail.reason, fail.cause.Error())
			why.Failure = fail.cause.Error()
			failures = append(failures, *fail)
			continue
		}
		d.Status.CurrentMetrics[i] = status
		if proposed == 0 || why.Proposal > proposed {
			proposed, metric = why.Proposal, why.Name
		}
	}
	if len(failures) > 0 && (len(failures) == len(specs) || proposed < in.Scale.SpecReplicas) {
		d.setCondition(in.Now, autoscalingv2.ScalingActive, v1.ConditionFalse, failures[0].reason,
			fmt.Sprintf("the HPA was unable to compute the replica count: %v", failures[0].cause))
		return 0, "", fmt.Errorf("invalid metrics (%d invalid out of %d), first error is: %w", len(failures), len(specs), failures[0].err)
	}
	d.setCondition(in.Now, autoscalingv2.ScalingActive, v1.ConditionTrue, "ValidMetricFound",
		"the HPA was able to successfully calculate a replica count from "+metric)
	d.Explanation.Proposed = max(proposed, 0)
	return max(proposed, 0), metric, nil
}

// reading is the answer to the i-th metric.
func (in *Input) reading(i int) Reading {
	if i >= len(in.Readings) {
		return Reading{Absent: "it was not asked"}
	}
	return in.Readings[i]
}

// ask answers one metric: what the status shows, and in why the proposal and its numbers.
func (in *Input) ask(spec autoscalingv2.MetricSpec, reading Reading, why *MetricExplanation) (status autoscalingv2.MetricStatus, fail *failure) {
	status.Type = spec.Type
	switch spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		source := spec.Resource
		value, err := in.askResource(source.Name, "", source.Target, why)
		if err != nil {
			return status, failed("FailedGetResourceMetric", fmt.Sprintf("failed to get %s resource metric value", source.Name), err)
		}
		status.Resource = &autoscalingv2.ResourceMetricStatus{Name: source.Name, Current: value}
	case autoscalingv2.ContainerResourceMetricSourceType:
		source := spec.ContainerResource
		value, err := in.askResource(source.Name, source.Container, source.Target, why)
		if err != nil {
			return status, failed("FailedGetContainerResourceMetric", fmt.Sprintf("failed to get %s container metric value", source.Container), err)
		}
		status.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{
			Name: source.Name, Container: source.Container, Current: value}
	case autoscalingv2.PodsMetricSourceType:
		value, err := in.askPods(spec.Pods, reading, why)
		if err != nil {
			return status, failed("FailedGetPodsMetric", "failed to get pods metric value", err)
		}
		status.Pods = &autoscalingv2.PodsMetricStatus{Metric: spec.Pods.Metric, Current: value}
	case autoscalingv2.ObjectMetricSourceType:
		value, fail := in.askObject(spec.Object, reading, why)
		if fail != nil {
			return status, fail
		}
		status.Object = &autoscalingv2.ObjectMetricStatus{
			DescribedObject: spec.Object.DescribedObject, Metric: spec.Object.Metric, Current: value}
	case autoscalingv2.ExternalMetricSourceType:
		value, fail := in.askExternal(spec.External, reading, why)
		if fail != nil {
			return status, fail
		}
		status.External = &autoscalingv2.ExternalMetricStatus{Metric: spec.External.Metric, Current: value}
	default:
		err := fmt.Errorf("unknown metric source type %q", string(spec.Type))
		return status, &failure{"InvalidMetricSourceType", err, err}
	}
	return status, nil
}

// quantity reads a milli-value in the unit people expect: Ki, Mi, Gi for memory.
func quantity(name v1.ResourceName, milli int64) *resource.Quantity {
	if name == v1.ResourceMemory {
		return resource.NewMilliQuantity(milli, resource.BinarySI)
	}
	return resource.NewMilliQuantity(milli, resource.DecimalSI)
}
