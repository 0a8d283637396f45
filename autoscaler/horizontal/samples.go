// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
)

// group is how far a pod's usage can be trusted.
type group uint8

const (
	ready   group = iota
	unready       // not started, or its cpu is still that of starting
	missing       // no sample
	ignored       // failed or being deleted: not there
)

// sample is what one pod adds to a metric, in milli-units. Usage holds for ready pods,
// request for utilization targets.
type sample struct {
	group          group
	usage, request int64
}

// averageReplicas fills why for a target in milli-units and returns the average.
func (in *Input) averageReplicas(name v1.ResourceName, container string, target int64, why *MetricExplanation) (int64, error) {
	why.Target = target
	pods, err := in.samples(name, container, why)
	if err != nil {
		return 0, err
	}
	resize(in.Scale.SpecReplicas, pods, averageValue(target), in.tolerances(), why)
	return why.Value, nil
}

// utilizationReplicas fills why for a target in percent of the request and returns the percents and the average.
func (in *Input) utilizationReplicas(name v1.ResourceName, container string, target int32, why *MetricExplanation) (int32, int64, error) {
	why.Target = int64(target)
	pods, err := in.samples(name, container, why)
	if err != nil {
		return 0, 0, err
	}
	if err := addRequests(pods, in.Pods, name, container); err != nil {
		return 0, 0, err
	}
	var known totals
	for _, pod := range pods {
		if pod.group == ready {
			known.add(pod.usage, pod.request)
		}
	}
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
		pods[i] = in.sample(pod, usage, name, container)
		switch pods[i].group {
		case ready:
			why.Ready++
		case unready:
			why.Unready++
		case missing:
			why.Missing++
		case ignored:
			why.Ignored++
		}
	}
	if !measured {
		return nil, fmt.Errorf("unable to get metrics for resource %s: no metrics returned from resource metrics API", name)
	}
	if why.Ready == 0 {
		return nil, errNoUsage
	}
	return pods, nil
}

func (in *Input) sample(pod *v1.Pod, usage PodUsage, name v1.ResourceName, container string) sample {
	switch {
	case pod.DeletionTimestamp != nil || pod.Status.Phase == v1.PodFailed:
		return sample{group: ignored}
	case pod.Status.Phase == v1.PodPending:
		return sample{group: unready}
	}
	milli, found := usage.milli(name, container)
	switch {
	case !found:
		return sample{group: missing}
	case name == v1.ResourceCPU && in.starting(pod, usage):
		return sample{group: unready}
	}
	return sample{group: ready, usage: milli}
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

func readiness(pod *v1.Pod) *v1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == v1.PodReady {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
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
