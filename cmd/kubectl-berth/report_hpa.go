// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/berth-dev/berth/autoscaler/horizontal"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// hpaReport is what an HPA makes of its metrics. As with the other reports,
// names of fields stay as they are, and fields may be added.
type hpaReport struct {
	Namespace   string                                    `json:"namespace"`
	HPA         string                                    `json:"hpa"`
	Target      autoscalingv2.CrossVersionObjectReference `json:"target"`
	MinReplicas int32                                     `json:"minReplicas"`
	MaxReplicas int32                                     `json:"maxReplicas"`
	// Configuration is where the autoscaler's was read.
	Configuration string `json:"configuration,omitempty"`
	// Scale is absent where the target's can not be read.
	Scale *scaleReport `json:"scale,omitempty"`
	// Status is what the controller wrote last.
	Status autoscalingv2.HorizontalPodAutoscalerStatus `json:"status"`
	// Tolerance and Metrics are absent where metrics are not asked.
	Tolerance *toleranceReport `json:"tolerance,omitempty"`
	// Metrics are those of the spec, in that order.
	Metrics  []metricReport `json:"metrics,omitempty"`
	Decision hpaDecision    `json:"decision"`
	// BerthActs is whether the decision is one that Berth carries out.
	BerthActs actsReport `json:"berthActs"`
	Notes     []string   `json:"notes,omitempty"`

	now time.Time
}

// scaleReport is how many replicas the target asks for, and how many pods it has.
type scaleReport struct {
	Replicas int32 `json:"replicas"`
	Pods     int32 `json:"pods"`
}

// toleranceReport is between which ratios nothing changes.
type toleranceReport struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// metricReport is how one metric came to its proposal.
type metricReport struct {
	Type      autoscalingv2.MetricSourceType             `json:"type"`
	Name      string                                     `json:"name"`
	Selector  string                                     `json:"selector,omitempty"`
	Container string                                     `json:"container,omitempty"`
	Object    *autoscalingv2.CrossVersionObjectReference `json:"object,omitempty"`
	// TargetType says what Target is: percent of the request, a quantity for each pod, or one for all.
	TargetType autoscalingv2.MetricTargetType `json:"targetType"`
	Target     *resource.Quantity             `json:"target,omitempty"`
	// Value is what is compared to Target; that of an Object or External metric
	// is always one for all. It and what follows are absent where the metric failed.
	Value *resource.Quantity `json:"value,omitempty"`
	// Ratio is that of the pods that have a value, AssumedRatio the one after
	// something was assumed of the others, where that makes a difference.
	Ratio        *float64 `json:"ratio,omitempty"`
	AssumedRatio *float64 `json:"assumedRatio,omitempty"`
	// Pods is absent where no pods are counted.
	Pods     *podsReport `json:"pods,omitempty"`
	Proposal *int32      `json:"proposal,omitempty"`
	// Kept is why the proposal is the current number: WithinTolerance or InDoubt.
	Kept    horizontal.Kept `json:"kept,omitempty"`
	Failure string          `json:"failure,omitempty"`
}

// podsReport is how many pods a metric trusts, and how far.
type podsReport struct {
	Ready   int `json:"ready"`
	Unready int `json:"unready"`
	Missing int `json:"missing"`
	Ignored int `json:"ignored"`
	// Unlisted values are of no pod that the target selects.
	Unlisted int `json:"unlisted,omitempty"`
}

// hpaDecision is what comes of the metrics.
type hpaDecision struct {
	// Replicas is absent where the scale can not be read.
	Replicas *int32 `json:"replicas,omitempty"`
	// Reason is why they change.
	Reason string `json:"reason,omitempty"`
	// Undecided is why the replicas are left as they are, whatever the metrics.
	Undecided string `json:"undecided,omitempty"`
	// Proposed is the highest proposal of the metrics.
	Proposed *int32 `json:"proposed,omitempty"`
	// Stabilization is what only the leader can take into account.
	Stabilization *stabilizationReport `json:"stabilization,omitempty"`
	// Limit is the reason of the condition ScalingLimited, and LimitedBy what it comes from.
	Limit     string `json:"limit,omitempty"`
	LimitedBy string `json:"limitedBy,omitempty"`
}

// stabilizationReport is which recommendations count beside the newest.
type stabilizationReport struct {
	WindowSeconds int32 `json:"windowSeconds"`
	// Counts is highest or lowest.
	Counts string `json:"counts"`
	// LastReason is the last word of the leader, in condition AbleToScale.
	LastReason string `json:"lastReason,omitempty"`

	Window time.Duration `json:"-"`
}

// countsPods tells whether a metric is one of the single pods.
func (r *metricReport) countsPods() bool {
	return r.Type != autoscalingv2.ObjectMetricSourceType && r.Type != autoscalingv2.ExternalMetricSourceType
}

func (r *metricReport) setTarget(target autoscalingv2.MetricTarget) {
	switch r.TargetType = target.Type; {
	case target.AverageUtilization != nil:
		r.Target = resource.NewQuantity(int64(*target.AverageUtilization), resource.DecimalSI)
	case target.AverageValue != nil:
		r.Target = target.AverageValue
	case target.Value != nil:
		r.Target = target.Value
	}
}

func (r *metricReport) setValue(why horizontal.MetricExplanation, pods int32) {
	switch {
	case why.TargetType == autoscalingv2.UtilizationMetricType:
		r.Value = resource.NewQuantity(why.Value, resource.DecimalSI)
	case r.Name == string(v1.ResourceMemory) && r.countsPods():
		r.Value = resource.NewMilliQuantity(why.Value, resource.BinarySI)
	default:
		r.Value = resource.NewMilliQuantity(why.Value, resource.DecimalSI)
	}
	r.Proposal, r.Kept = &why.Proposal, why.Kept
	// The average of no pods has no ratio.
	if r.countsPods() || why.TargetType == autoscalingv2.ValueMetricType || pods > 0 {
		r.Ratio = &why.Ratio
	}
	if why.AssumedRatio != why.Ratio {
		r.AssumedRatio = ptr.To(why.AssumedRatio)
	}
}
