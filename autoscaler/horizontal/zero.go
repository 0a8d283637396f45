// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
)

// Awake tells whether the target has replicas, or is scaled up from zero again.
func (in *Input) Awake() bool {
	return in.Scale.SpecReplicas != 0 || in.wakes()
}

// wakes tells whether a target with zero replicas is scaled up again. That needs the word of an earlier
// rescale that zero is the HPA's own doing and not a person's, and something to go by: a metric
// that has a value without pods, or a minimum that was raised since.
func (in *Input) wakes() bool {
	return in.Config.ScaleToZero && in.scaledToZero() && (in.minReplicas() != 0 || in.measuresWithoutPods())
}

func (in *Input) scaledToZero() bool {
	conditions := in.HPA.Status.Conditions
	i := slices.IndexFunc(conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool {
		return c.Type == autoscalingv2.ScaledToZero
	})
	return i >= 0 && conditions[i].Status == v1.ConditionTrue
}

func (in *Input) measuresWithoutPods() bool {
	return slices.ContainsFunc(in.HPA.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
		return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	})
}

// tellZero leaves word for the next decision, after every rescale, so that the word is never stale.
func (o *Outcome) tellZero(in Input, d Decision) {
	switch {
	case !in.Config.ScaleToZero:
		o.removeCondition(autoscalingv2.ScaledToZero)
	case d.DesiredReplicas == 0 && in.minReplicas() == 0 && in.measuresWithoutPods():
		o.setCondition(in.Now, autoscalingv2.ScaledToZero, v1.ConditionTrue, "ScaledToZero",
			"the HPA controller scaled the workload to zero")
	default:
		o.setCondition(in.Now, autoscalingv2.ScaledToZero, v1.ConditionFalse, "NotScaledToZero",
			"the HPA controller did not scale the workload to zero")
	}
}
