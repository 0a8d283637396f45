// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"errors"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
)

// askResource answers a Resource metric, or with a container a ContainerResource one.
func (in *Input) askResource(name v1.ResourceName, container string, target autoscalingv2.MetricTarget,
	why *MetricExplanation) (value autoscalingv2.MetricValueStatus, err error) {
	if target.AverageValue != nil {
		why.Name = fmt.Sprintf("%s resource", name)
		average, err := in.averageReplicas(name, container, target.AverageValue.MilliValue(), why)
		if err != nil {
			return value, fmt.Errorf("failed to get %s usage: %w", name, err)
		}
		value.AverageValue = quantity(name, average)
		return value, nil
	}
	if target.AverageUtilization == nil {
		return value, errors.New("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	}
	why.Name = fmt.Sprintf("%s resource utilization (percentage of request)", name)
	if container != "" {
		why.Name = fmt.Sprintf("%s container resource utilization (percentage of request)", name)
	}
	percent, average, err := in.utilizationReplicas(name, container, *target.AverageUtilization, why)
	if err != nil {
		return value, fmt.Errorf("failed to get %s utilization: %w", name, err)
	}
	value.AverageUtilization = &percent
	value.AverageValue = quantity(name, average)
	return value, nil
}

// averageReplicas fills why for a target in milli-units and returns the average.
func (in *Input) averageReplicas(name v1.ResourceName, container string, target int64, why *MetricExplanation) (int64, error) {
	why.TargetType, why.Target = autoscalingv2.AverageValueMetricType, target
	pods, err := in.samples(name, container, why)
	if err != nil {
		return 0, err
	}
	resize(in.Scale.SpecReplicas, pods, averageValue(target), in.tolerances(), why)
	return why.Value, nil
}

// utilizationReplicas fills why for a target in percent of the request and returns the percents and the average.
func (in *Input) utilizationReplicas(name v1.ResourceName, container string, target int32, why *MetricExplanation) (int32, int64, error) {
	why.TargetType, why.Target = autoscalingv2.UtilizationMetricType, int64(target)
	pods, err := in.samples(name, container, why)
	if err != nil {
		return 0, 0, err
	}
	if err := addRequests(pods, in.Pods, name, container); err != nil {
		return 0, 0, err
	}
	known := knownOf(pods)
	if known.requests == 0 {
		return 0, 0, errors.New("no metrics returned matched known pods")
	}
	resize(in.Scale.SpecReplicas, pods, utilization(target), in.tolerances(), why)
	return int32(why.Value), known.usage / known.pods, nil
}

// samples groups the pods, in their order, and counts the groups in why.
// At least one pod is ready, or it is an error.
func (in *Input) samples(name v1.ResourceName, container string, why *MetricExplanation) ([]sample, error) {
	if in.Usage.Absent != "" {
		return nil, fmt.Errorf("unable to get metrics for resource %s: unable to fetch metrics from resource metrics API: %s", name, in.Usage.Absent)
	}
	measured := false
	pods := make([]sample, len(in.Pods))
	for i, pod := range in.Pods {
		usage, found := in.Usage.Pods[pod.Name]
		measured = measured || found
		milli, found := usage.milli(name, container)
		trust := groupOf(pod, found)
		if trust == ready && name == v1.ResourceCPU && in.starting(pod, usage) {
			trust = unready
		}
		pods[i] = sample{group: trust, usage: milli}
		why.count(trust)
	}
	if !measured {
		return nil, fmt.Errorf("unable to get metrics for resource %s: no metrics returned from resource metrics API", name)
	}
	if why.Ready == 0 {
		return nil, errNoUsage
	}
	return pods, nil
}

// starting tells whether cpu may still be that of starting up. Within the initialization period that is so unless
// the pod is ready and the whole sample was taken since; afterwards only for a pod that was never ready.
func (in *Input) starting(pod *v1.Pod, usage PodUsage) bool {
	condition := readiness(pod)
	if condition == nil || pod.Status.StartTime == nil {
		return true
	}
	started, changed := pod.Status.StartTime.Time, condition.LastTransitionTime.Time
	if started.Add(in.Config.CPUInitializationPeriod).After(in.Now) {
		return condition.Status == v1.ConditionFalse || usage.Timestamp.Before(changed.Add(usage.Window))
	}
	return condition.Status == v1.ConditionFalse && started.Add(in.Config.InitialReadinessDelay).After(changed)
}

// milli is the usage of one container, or of the pod if container is empty. A pod of which any container
// lacks the resource has none.
func (u PodUsage) milli(name v1.ResourceName, container string) (int64, bool) {
	var sum int64
	for _, c := range u.Containers {
		if container != "" && c.Name != container {
			continue
		}
		quantity, found := c.Usage[name]
		if container != "" || !found {
			return quantity.MilliValue(), found
		}
		sum += quantity.MilliValue()
	}
	return sum, container == "" && len(u.Containers) > 0
}
