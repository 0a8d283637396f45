// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
)

// wakesFromZero tells whether metrics may scale a target up from zero: an HPA brought it there, and either has a metric that
// needs no pods or wants replicas again. A target that a person set to zero is left at zero.
func (in Input) wakesFromZero() bool {
	byUs := slices.ContainsFunc(in.HPA.Status.Conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool {
		return c.Type == autoscalingv2.ScaledToZero && c.Status == v1.ConditionTrue
	})
	return in.Config.ScaleToZero && byUs && (in.minReplicas() != 0 || in.measuresWithoutPods())
}

// measuresWithoutPods tells whether any metric has a value while there are no pods.
func (in Input) measuresWithoutPods() bool {
	return slices.ContainsFunc(in.HPA.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
		return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	})
}
