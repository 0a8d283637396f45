// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"errors"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// askPods answers a Pods metric: an average over the pods, by the rules for resources other than cpu.
func (in *Input) askPods(source *autoscalingv2.PodsMetricSource, reading Reading, why *MetricExplanation) (value autoscalingv2.MetricValueStatus, err error) {
	why.Name = "pods metric " + source.Metric.Name
	if _, err := metav1.LabelSelectorAsSelector(source.Metric.Selector); err != nil {
		return value, err
	}
	if source.Target.AverageValue == nil {
		return value, errors.New("invalid pods metric source: no average value target was set")
	}
	why.TargetType, why.Target = autoscalingv2.AverageValueMetricType, source.Target.AverageValue.MilliValue()
	pods, err := in.readingSamples(source.Metric.Name, reading, why)
	if err != nil {
		return value, err
	}
	resize(in.Scale.SpecReplicas, pods, averageValue(why.Target), in.tolerances(), why)
	value.AverageValue = resource.NewMilliQuantity(why.Value, resource.DecimalSI)
	return value, nil
}

// readingSamples groups the pods and, behind them, the samples of no pod among them, and counts the groups in why.
func (in *Input) readingSamples(metric string, reading Reading, why *MetricExplanation) ([]sample, error) {
	switch {
	case reading.Absent != "":
		return nil, fmt.Errorf("unable to get metric %s: unable to fetch metrics from custom metrics API: %s", metric, reading.Absent)
	case len(reading.Pods) == 0:
		return nil, fmt.Errorf("unable to get metric %s: no metrics returned from custom metrics API", metric)
	case len(in.Pods) == 0:
		return nil, errNoPods
	}
	listed := 0
	pods := make([]sample, 0, max(len(in.Pods), len(reading.Pods)))
	add := func(g group, value int64) {
		pods = append(pods, sample{group: g, usage: value})
		why.count(g)
	}
	for _, pod := range in.Pods {
		value, found := reading.Pods[pod.Name]
		if found {
			listed++
		}
		add(groupOf(pod, found), value)
	}
	if listed < len(reading.Pods) {
		names := make(map[string]bool, len(in.Pods))
		for _, pod := range in.Pods {
			names[pod.Name] = true
		}
		for name, value := range reading.Pods {
			if !names[name] {
				add(unlisted, value)
			}
		}
	}
	if why.Ready+why.Unlisted == 0 {
		return nil, errNoUsage
	}
	return pods, nil
}

// askObject answers an Object metric.
func (in *Input) askObject(source *autoscalingv2.ObjectMetricSource, reading Reading, why *MetricExplanation) (value autoscalingv2.MetricValueStatus, fail *failure) {
	const reason, doing = "FailedGetObjectMetric", "failed to get object metric value"
	name, target := source.Metric.Name, source.Target
	if _, err := metav1.LabelSelectorAsSelector(source.Metric.Selector); err != nil {
		return value, failed(reason, doing, err)
	}
	switch {
	case target.Type == autoscalingv2.ValueMetricType && target.Value != nil:
		why.Name = source.DescribedObject.Kind + " metric " + name
		err := in.objectAbsent(source, reading)
		if err == nil {
			err = in.replicasByValue(reading.Object, target.Value.MilliValue(), why)
		}
		if err != nil {
			return value, failed(reason, doing, err)
		}
		value.Value = resource.NewMilliQuantity(reading.Object, resource.DecimalSI)
	case target.Type == autoscalingv2.AverageValueMetricType && target.AverageValue != nil:
		why.Name = fmt.Sprintf("external metric %s(%+v)", name, source.Metric.Selector) // sic
		if err := in.objectAbsent(source, reading); err != nil {
			return value, failed(reason, fmt.Sprintf("%s: failed to get %s object metric", doing, name), err)
		}
		average := in.replicasByAverage(reading.Object, target.AverageValue.MilliValue(), why)
		value.AverageValue = resource.NewMilliQuantity(average, resource.DecimalSI)
	default:
		return value, failed(reason, doing, errors.New("invalid object metric source: neither a value target nor an average value target was set"))
	}
	return value, nil
}

// objectAbsent says why the metric was not read. The parts stand in upstream's order, odd as it is: people search for it.
func (in *Input) objectAbsent(source *autoscalingv2.ObjectMetricSource, reading Reading) error {
	if reading.Absent == "" {
		return nil
	}
	object := source.DescribedObject
	return fmt.Errorf("unable to get metric %s: %s on %s %s/unable to fetch metrics from custom metrics API: %s",
		source.Metric.Name, object.Kind, in.HPA.Namespace, object.Name, reading.Absent)
}

// runs tells whether a pod counts among those that share a value for the whole target.
func runs(pod *v1.Pod) bool {
	condition := readiness(pod)
	return pod.Status.Phase == v1.PodRunning && condition != nil && condition.Status == v1.ConditionTrue
}
