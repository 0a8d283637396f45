// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"errors"
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

// propose asks every metric and returns the largest proposal, never below zero, with the name of its metric.
// A failed metric makes it an error only if no metric answered, or if the rest would scale down.
func (d *Decision) propose(in Input) (int32, string, error) {
	specs := in.HPA.Spec.Metrics
	d.Status.CurrentMetrics = make([]autoscalingv2.MetricStatus, len(specs))
	d.Explanation.Metrics = make([]MetricExplanation, len(specs))
	var proposed int32
	var metric string
	var failures []failure
	for i, spec := range specs {
		why := &d.Explanation.Metrics[i]
		status, fail := in.ask(spec, why)
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

// ask answers one metric: what the status shows, and in why the proposal and its numbers.
func (in *Input) ask(spec autoscalingv2.MetricSpec, why *MetricExplanation) (autoscalingv2.MetricStatus, *failure) {
	status := autoscalingv2.MetricStatus{Type: spec.Type}
	switch spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		source := spec.Resource
		value, err := in.askResource(source.Name, "", source.Target, why)
		if err != nil {
			return status, &failure{"FailedGetResourceMetric", err,
				fmt.Errorf("failed to get %s resource metric value: %w", source.Name, err)}
		}
		status.Resource = &autoscalingv2.ResourceMetricStatus{Name: source.Name, Current: value}
	case autoscalingv2.ContainerResourceMetricSourceType:
		source := spec.ContainerResource
		value, err := in.askResource(source.Name, source.Container, source.Target, why)
		if err != nil {
			return status, &failure{"FailedGetContainerResourceMetric", err,
				fmt.Errorf("failed to get %s container metric value: %w", source.Container, err)}
		}
		status.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{
			Name: source.Name, Container: source.Container, Current: value}
	case autoscalingv2.PodsMetricSourceType:
		err := fmt.Errorf("unable to get metric %s: %w", spec.Pods.Metric.Name, errNotRead)
		return status, &failure{"FailedGetPodsMetric", err, fmt.Errorf("failed to get pods metric value: %w", err)}
	case autoscalingv2.ObjectMetricSourceType:
		err := fmt.Errorf("unable to get metric %s: %w", spec.Object.Metric.Name, errNotRead)
		return status, &failure{"FailedGetObjectMetric", err, fmt.Errorf("failed to get object metric value: %w", err)}
	case autoscalingv2.ExternalMetricSourceType:
		err := fmt.Errorf("unable to get external metric %s: %w", spec.External.Metric.Name, errNotRead)
		return status, &failure{"FailedGetExternalMetric", err,
			fmt.Errorf("failed to get %s external metric value: %w", spec.External.Metric.Name, err)}
	default:
		err := fmt.Errorf("unknown metric source type %q", string(spec.Type))
		return status, &failure{"InvalidMetricSourceType", err, err}
	}
	return status, nil
}

// errNotRead is the honest gap: the custom and external metrics APIs are not asked.
var errNotRead = errors.New("the custom and external metrics APIs are not supported yet by Berth")

// askResource answers a Resource metric, or with a container a ContainerResource one.
func (in *Input) askResource(name v1.ResourceName, container string, target autoscalingv2.MetricTarget,
	why *MetricExplanation) (autoscalingv2.MetricValueStatus, error) {
	var status autoscalingv2.MetricValueStatus
	if target.AverageValue != nil {
		why.Name = fmt.Sprintf("%s resource", name)
		average, err := in.averageReplicas(name, container, target.AverageValue.MilliValue(), why)
		if err != nil {
			return status, fmt.Errorf("failed to get %s usage: %w", name, err)
		}
		status.AverageValue = quantity(name, average)
		return status, nil
	}
	if target.AverageUtilization == nil {
		return status, errors.New("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	}
	why.Name = fmt.Sprintf("%s resource utilization (percentage of request)", name)
	if container != "" {
		why.Name = fmt.Sprintf("%s container resource utilization (percentage of request)", name)
	}
	percent, average, err := in.utilizationReplicas(name, container, *target.AverageUtilization, why)
	if err != nil {
		return status, fmt.Errorf("failed to get %s utilization: %w", name, err)
	}
	status.AverageUtilization = &percent
	status.AverageValue = quantity(name, average)
	return status, nil
}

// quantity reads a milli-value in the unit people expect: Ki, Mi, Gi for memory.
func quantity(name v1.ResourceName, milli int64) *resource.Quantity {
	if name == v1.ResourceMemory {
		return resource.NewMilliQuantity(milli, resource.BinarySI)
	}
	return resource.NewMilliQuantity(milli, resource.DecimalSI)
}
