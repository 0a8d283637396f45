// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"errors"
	"fmt"
	"math"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// askExternal answers an External metric: the sum of its series.
func (in *Input) askExternal(source *autoscalingv2.ExternalMetricSource, reading Reading, why *MetricExplanation) (value autoscalingv2.MetricValueStatus, fail *failure) {
	const reason = "FailedGetExternalMetric"
	name, target := source.Metric.Name, source.Target
	doing := fmt.Sprintf("failed to get %s external metric value", name)
	why.Name = fmt.Sprintf("external metric %s(%+v)", name, source.Metric.Selector)
	switch {
	case target.AverageValue != nil:
		if err := in.seriesAbsent(source, reading); err != nil {
			return value, failed(reason, fmt.Sprintf("%s: failed to get %s external metric", doing, name), err)
		}
		total := sumOrMost(reading.Series)
		average := in.replicasByAverage(total, target.AverageValue.MilliValue(), why)
		if float64(total) >= math.MaxInt64 {
			average = math.MaxInt64 // of a sum that is too large, the share is not known
		}
		value.AverageValue = resource.NewMilliQuantity(average, resource.DecimalSI)
	case target.Value != nil:
		total := sum(reading.Series)
		err := in.seriesAbsent(source, reading)
		if err == nil {
			err = in.replicasByValue(total, target.Value.MilliValue(), why)
		}
		if err != nil {
			return value, failed(reason, fmt.Sprintf("%s: failed to get external metric %s", doing, name), err)
		}
		value.Value = resource.NewMilliQuantity(total, resource.DecimalSI)
	default:
		return value, failed(reason, doing, errors.New("invalid external metric source: neither a value target nor an average value target was set"))
	}
	return value, nil
}

// seriesAbsent says why the metric was not read.
func (in *Input) seriesAbsent(source *autoscalingv2.ExternalMetricSource, reading Reading) error {
	if _, err := metav1.LabelSelectorAsSelector(source.Metric.Selector); err != nil {
		return err
	}
	why := "no metrics returned from external metrics API"
	switch {
	case reading.Absent != "":
		why = "unable to fetch metrics from external metrics API: " + reading.Absent
	case len(reading.Series) > 0:
		return nil
	}
	return fmt.Errorf("unable to get external metric %s/%s/%+v: %s", in.HPA.Namespace, source.Metric.Name, source.Metric.Selector, why)
}

// sum is at most the largest number there is.
func sum(series []int64) int64 {
	var total int64
	for _, value := range series {
		if value > 0 && total > math.MaxInt64-value {
			return math.MaxInt64
		}
		total += value
	}
	return total
}

// sumOrMost is the sum, or the largest number there is if the sum is below zero on the way: that of a target per pod
// cannot be negative, and upstream takes it for a sum too large for its type.
func sumOrMost(series []int64) int64 {
	var total int64
	for _, value := range series {
		if total += value; total < 0 {
			return math.MaxInt64
		}
	}
	return total
}

// replicasByValue fills why for a value of the whole target. Its ratio applies to the pods that run,
// or without any to one.
func (in *Input) replicasByValue(value, target int64, why *MetricExplanation) error {
	ratio := float64(value) / float64(target)
	current := in.Scale.SpecReplicas
	why.TargetType, why.Target = autoscalingv2.ValueMetricType, target
	why.Value, why.Ratio, why.AssumedRatio, why.Proposal = value, ratio, ratio, current
	switch {
	case current == 0:
		why.Proposal = saturate32(math.Ceil(ratio))
		return nil
	case in.tolerances().within(ratio):
		why.Kept = WithinTolerance
		return nil
	case len(in.Pods) == 0:
		return fmt.Errorf("unable to calculate ready pods: %w", errNoPods)
	}
	for _, pod := range in.Pods {
		if runs(pod) {
			why.Ready++
		}
	}
	why.Proposal = saturate32(math.Ceil(ratio * float64(why.Ready)))
	return nil
}

// replicasByAverage fills why for a value per pod and returns the share of one replica. It goes by the replicas
// that the target reports, not by those asked for, and not by pods.
func (in *Input) replicasByAverage(value, target int64, why *MetricExplanation) int64 {
	reported := in.Scale.StatusReplicas
	why.TargetType, why.Target = autoscalingv2.AverageValueMetricType, target
	why.Value, why.Proposal = value, reported
	ratio := float64(value) / (float64(target) * float64(reported))
	if in.tolerances().within(ratio) {
		why.Kept = WithinTolerance
	} else {
		why.Proposal = saturate32(math.Ceil(float64(value) / float64(target)))
	}
	if reported > 0 { // else there is no ratio to show
		why.Ratio, why.AssumedRatio = ratio, ratio
	}
	return saturate64(math.Ceil(float64(value) / float64(reported)))
}
