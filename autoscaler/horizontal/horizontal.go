// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package horizontal decides how many replicas a HorizontalPodAutoscaler wants.
//
// It promises the semantics of autoscaling/v2 as kube-controller-manager 1.36 implements them in
// k8s.io/kubernetes/pkg/controller/podautoscaler: replicas, status, conditions with reasons and messages, and
// events are equal at every sync, integer truncations included. A differential test holds it to that. Of upstream's feature
// gates HPAConfigurableTolerance and PodLevelResources count as on, their default; HPAScaleToZero is Config.ScaleToZero.
//
// Decide is pure: the clock, the objects, the samples and the history are values in, and everything to be
// written is a value out. It does not know whether the scale can be written, so Confirm turns
// a decision and the result of the write into the final outcome:
//
//	decision := horizontal.Decide(input)
//	outcome := decision.Outcome
//	if decision.Rescale {
//		outcome = horizontal.Confirm(input, decision, writeScale(decision.DesiredReplicas))
//	}
//
// History is all that one decision needs of earlier ones. It may be lost: recommendations are then seeded with the current
// replicas, as upstream does after a restart, so that nothing is scaled down sooner than the window allows. What
// upstream loses and Berth need not are the changes that rate policies count: History.Keep turns them into text for
// an annotation of the HPA, and Recall makes the first history after a restart of it.
//
// Invariants:
//   - Input is never changed, and neither are objects it points to. An outcome shares memory with them: read it only.
//   - The desired replicas are within minReplicas and maxReplicas, unless the target cannot be read, is switched off
//     (zero replicas), or is refused: then they are the current ones.
//   - A metric that fails never lowers the replicas.
//   - The same input gives the same decision, whatever the order of the pods.
//
// Three things differ from upstream on purpose. Resource usage of a pod that is not among the selected pods does not count;
// upstream counts it in average values for as long as the metrics API knows a pod that its own cache does not. Where
// several pods or HPAs could be named in a message, the first by name is, so that a status does
// not change from sync to sync for nothing. And numbers too large for their type become the largest that fits:
// upstream leaves that to the processor, and on amd64 the smallest comes out, so that a huge value scales down.
package horizontal

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// ReasonConflict is the reason of the ScalingActive condition, and of the event, when an HPA is refused
// because a VerticalPodAutoscaler acts on its target.
const ReasonConflict = "ConflictsWithVerticalPodAutoscaler"

const belowMin = "Current number of replicas below Spec.MinReplicas"

// Decide says what to do about one HPA now.
func Decide(in Input) Decision {
	d := start(in)
	if in.Scale.Absent != "" {
		d.event(v1.EventTypeWarning, "FailedGetScale", in.Scale.Absent)
		d.setCondition(in.Now, autoscalingv2.AbleToScale, v1.ConditionFalse, "FailedGetScale",
			"the HPA controller was unable to get the target's current scale: "+in.Scale.Absent)
		return d
	}
	d.setCondition(in.Now, autoscalingv2.AbleToScale, v1.ConditionTrue, "SucceededGetScale",
		"the HPA controller was able to get the target's current scale")
	current, minReplicas, maxReplicas := in.Scale.SpecReplicas, in.minReplicas(), in.HPA.Spec.MaxReplicas
	d.CurrentReplicas, d.DesiredReplicas = current, current
	d.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		CurrentReplicas: current,
		DesiredReplicas: d.Status.DesiredReplicas,
		LastScaleTime:   d.Status.LastScaleTime,
		Conditions:      d.Status.Conditions,
	}
	if d.History.Recommendations == nil {
		d.History.Recommendations = []Recommendation{{current, in.Now}}
	}

	switch {
	case in.Refused != "":
		d.refuse(in)
		return d
	case !in.Awake():
		d.setCondition(in.Now, autoscalingv2.ScalingActive, v1.ConditionFalse, "ScalingDisabled",
			"scaling is disabled since the replica count of the target is zero")
		if !in.Config.ScaleToZero {
			d.removeCondition(autoscalingv2.ScaledToZero)
		}
	case current > maxReplicas:
		d.DesiredReplicas, d.Reason = maxReplicas, "Current number of replicas above Spec.MaxReplicas"
		d.Explanation.Limit = tooMany(maxReplicas).reason
	case current < minReplicas && current != 0:
		d.DesiredReplicas, d.Reason = minReplicas, belowMin
		d.Explanation.Limit = tooFew(minReplicas).reason
	default:
		if ok := d.followMetrics(in); !ok {
			return d
		}
	}

	d.Rescale = d.DesiredReplicas != current
	if !d.Rescale {
		d.Reason = ""
		d.Status.DesiredReplicas = current
	}
	return d
}

// Measures tells whether Decide looks at Usage and Readings. They may be left out where it does not.
func (in *Input) Measures() bool {
	if in.Scale.Absent != "" || in.Refused != "" || !in.Awake() || len(in.SelectedBy) > 1 {
		return false
	}
	if current := in.Scale.SpecReplicas; current != 0 && (current < in.minReplicas() || current > in.HPA.Spec.MaxReplicas) {
		return false
	}
	_, err := labels.Parse(in.Scale.Selector)
	return err == nil && in.Scale.Selector != ""
}

// Confirm says what a decision with Rescale leaves behind once the scale was written, or was not (err).
func Confirm(in Input, d Decision, err error) Outcome {
	o := d.Outcome
	o.Events = slices.Clip(o.Events)
	o.Status.Conditions = slices.Clone(o.Status.Conditions)
	if err != nil {
		o.event(v1.EventTypeWarning, "FailedRescale",
			fmt.Sprintf("New size: %d; reason: %s; error: %v", d.DesiredReplicas, d.Reason, err))
		o.setCondition(in.Now, autoscalingv2.AbleToScale, v1.ConditionFalse, "FailedUpdateScale",
			fmt.Sprintf("the HPA controller was unable to update the target scale: %v", err))
		return o
	}
	o.setCondition(in.Now, autoscalingv2.AbleToScale, v1.ConditionTrue, "SucceededRescale",
		fmt.Sprintf("the HPA controller was able to update the target scale to %d", d.DesiredReplicas))
	o.event(v1.EventTypeNormal, "SuccessfulRescale", fmt.Sprintf("New size: %d; reason: %s", d.DesiredReplicas, d.Reason))
	o.History = o.History.scaled(in, d.CurrentReplicas, d.DesiredReplicas)
	o.tellZero(in, d)
	o.Status.DesiredReplicas = d.DesiredReplicas
	written := metav1.NewTime(in.Now)
	o.Status.LastScaleTime = &written
	return o
}

func start(in Input) Decision {
	d := Decision{Outcome: Outcome{Status: in.HPA.Status, History: in.History}}
	d.Status.Conditions = slices.Clone(in.HPA.Status.Conditions)
	return d
}

// refuse leaves the target alone. The event comes once, with the condition's change.
func (d *Decision) refuse(in Input) {
	told := slices.ContainsFunc(d.Status.Conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool {
		return c.Type == autoscalingv2.ScalingActive && c.Reason == ReasonConflict && c.Message == in.Refused
	})
	if !told {
		d.event(v1.EventTypeWarning, ReasonConflict, in.Refused)
	}
	d.setCondition(in.Now, autoscalingv2.ScalingActive, v1.ConditionFalse, ReasonConflict, in.Refused)
}

// followMetrics sets DesiredReplicas from the metrics. It returns false when they do not allow a decision;
// the status then leaves the last one standing.
func (d *Decision) followMetrics(in Input) bool {
	err := d.checkSelector(in)
	var proposed int32
	var metric string
	if err == nil {
		proposed, metric, err = d.propose(in)
	}
	if err != nil {
		d.event(v1.EventTypeWarning, "FailedComputeMetricsReplicas", err.Error())
		return false
	}

	switch current := in.Scale.SpecReplicas; {
	case proposed > current:
		d.Reason = metric + " above target"
	case proposed < current:
		d.Reason = "All metrics below target"
	}
	d.DesiredReplicas = d.normalize(in, proposed)
	if least := in.minReplicas(); in.Scale.SpecReplicas == 0 && d.DesiredReplicas < least {
		d.DesiredReplicas = least // it was raised while the target was scaled to zero
		d.Reason = cmp.Or(d.Reason, belowMin)
	}
	return true
}

// checkSelector returns why the target's selector cannot be used.
func (d *Decision) checkSelector(in Input) error {
	refuse := func(eventReason, conditionReason, message, condition string) error {
		d.event(v1.EventTypeWarning, eventReason, message)
		d.setCondition(in.Now, autoscalingv2.ScalingActive, v1.ConditionFalse, conditionReason, condition)
		return errors.New(message)
	}
	if in.Scale.Selector == "" {
		return refuse("SelectorRequired", "InvalidSelector", "selector is required",
			"the HPA target's scale is missing a selector")
	}
	if _, err := labels.Parse(in.Scale.Selector); err != nil {
		message := fmt.Sprintf("couldn't convert selector into a corresponding internal selector object: %v", err)
		return refuse("InvalidSelector", "InvalidSelector", message, message)
	}
	if len(in.SelectedBy) > 1 {
		keys := make([]string, 0, len(in.SelectedBy))
		for _, name := range slices.Sorted(slices.Values(in.SelectedBy)) {
			keys = append(keys, in.HPA.Namespace+"/"+name)
		}
		message := fmt.Sprintf("pods by selector %s are controlled by multiple HPAs: [%s]", in.Scale.Selector, strings.Join(keys, " "))
		return refuse("AmbiguousSelector", "AmbiguousSelector", message, message)
	}
	return nil
}

func (in *Input) minReplicas() int32 {
	if in.HPA.Spec.MinReplicas == nil {
		return 1
	}
	return *in.HPA.Spec.MinReplicas
}
