// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Decision is what to do about one HPA, and why.
type Decision struct {
	// Rescale asks for the target to be scaled from CurrentReplicas to DesiredReplicas. Without it the two are equal.
	Rescale         bool
	CurrentReplicas int32
	DesiredReplicas int32
	// Reason is why, as the event about the rescale says it.
	Reason string

	// Outcome is what to write if the scale is left alone. After an attempt to write it, ask Confirm.
	Outcome

	Explanation Explanation
}

// Outcome is what a decision leaves behind: a status and events to write, and the history for the next Input.
type Outcome struct {
	Status  autoscalingv2.HorizontalPodAutoscalerStatus
	Events  []Event
	History History
}

// Event is a Kubernetes event about the HPA.
type Event struct {
	Type    string
	Reason  string
	Message string
}

// Explanation carries the numbers behind a decision.
type Explanation struct {
	// Metrics has one entry for each of spec.metrics, in that order. Nil: metrics were not asked.
	Metrics []MetricExplanation
	// ToleranceDown and ToleranceUp are how far a ratio may be below and above 1 without scaling.
	ToleranceDown, ToleranceUp float64
	// Proposed is the largest proposal; Stabilized is what the stabilization windows made of it.
	Proposed   int32
	Stabilized int32
	// StabilizedBy is what Stabilized follows instead of Proposed: a recent recommendation, or with windows in both
	// directions also the current replicas, now. Zero: nothing.
	StabilizedBy Recommendation
	// Limit is the reason of the ScalingLimited condition: the bound or rate that cut Stabilized
	// down to DesiredReplicas, or DesiredWithinRange. If metrics were not asked it is the bound that was overstepped.
	Limit string
	// Policy is the policy of spec.behavior that set the rate, if that is the Limit. Zero: none.
	Policy autoscalingv2.HPAScalingPolicy
}

// MetricExplanation is how one metric came to its proposal.
type MetricExplanation struct {
	// Name is how conditions and events call the metric.
	Name string
	// TargetType says what Target is: a percentage of the request, or milli-units per pod or of the whole.
	TargetType autoscalingv2.MetricTargetType
	// Value is what is compared to Target, in the same unit. That of an Object or External metric is always of the whole.
	Value, Target int64
	// Ratio is Value to Target over the pods that have a sample; AssumedRatio is the one used once
	// pods without a trusted sample are counted at an assumed value. They are equal when none is.
	Ratio, AssumedRatio float64
	// How many pods count as ready, unready, without a sample, or not at all (failed or being deleted).
	Ready, Unready, Missing, Ignored int
	// Unlisted samples of a Pods metric are of no pod that the target selects. They count in Value.
	Unlisted int
	Proposal int32
	// Kept is why Proposal is the current count, where the ratio alone would change it.
	Kept Kept
	// Failure is why there is no proposal.
	Failure string
}

// Kept is why a metric does not change the replicas. Empty: it is not kept from that.
type Kept string

const (
	// WithinTolerance: the ratio is too near to 1.
	WithinTolerance Kept = "WithinTolerance"
	// InDoubt: with the pods whose usage is not known, the ratio could be on the other side of 1.
	InDoubt Kept = "InDoubt"
)

func (o *Outcome) event(eventType, reason, message string) {
	o.Events = append(o.Events, Event{Type: eventType, Reason: reason, Message: message})
}

// setCondition adds the condition or changes it in place; the transition time moves with the status only.
// The conditions are the outcome's own: start copies them.
func (o *Outcome) setCondition(now time.Time, kind autoscalingv2.HorizontalPodAutoscalerConditionType,
	status v1.ConditionStatus, reason, message string) {
	conditions := o.Status.Conditions
	i := slices.IndexFunc(conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool { return c.Type == kind })
	if i < 0 {
		i = len(conditions)
		conditions = append(conditions, autoscalingv2.HorizontalPodAutoscalerCondition{Type: kind})
	}
	c := &conditions[i]
	if c.Status != status {
		c.LastTransitionTime = metav1.NewTime(now)
	}
	c.Status, c.Reason, c.Message = status, reason, message
	o.Status.Conditions = conditions
}

func (o *Outcome) removeCondition(kind autoscalingv2.HorizontalPodAutoscalerConditionType) {
	o.Status.Conditions = slices.DeleteFunc(o.Status.Conditions,
		func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool { return c.Type == kind })
}
