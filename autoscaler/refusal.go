// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/guard"
)

// optOutLabel on a namespace lets an HPA and a VPA share a target there.
const optOutLabel = "berth.dev/allow-hpa-with-vpa"

// guardTargets settles who may act on which target.
func (c *Conductor) guardTargets(ctx context.Context, whole bool, hpas []*autoscalingv2.HorizontalPodAutoscaler, vpas []*vpav1.VerticalPodAutoscaler) guard.Decision {
	in := guard.Input{
		Options: guard.Options{
			AllowRecommendOnly: c.config.Guard.AllowRecommendOnly,
			OptedOut:           sets.New[string](),
			Recommender:        c.config.Vertical.RecommenderName,
		},
		History: c.history.guard,
	}
	c.readSelections(ctx, whole, hpas, vpas)
	for _, namespace := range c.reader.Namespaces(labels.SelectorFromSet(labels.Set{optOutLabel: "true"})) {
		in.Options.OptedOut.Insert(namespace.Name)
	}
	for _, hpa := range hpas {
		in.Autoscalers = append(in.Autoscalers, c.guardedHPA(hpa))
	}
	for _, vpa := range vpas {
		if vpa.Spec.TargetRef != nil {
			in.Autoscalers = append(in.Autoscalers, c.guardedVPA(vpa))
		}
	}
	decision := guard.Decide(in)
	c.history.guard = decision.History
	return decision
}

func (c *Conductor) guardedHPA(hpa *autoscalingv2.HorizontalPodAutoscaler) guard.Autoscaler {
	a := guard.Autoscaler{
		Key:     hpaKey(hpa),
		UID:     hpa.UID,
		Created: hpa.CreationTimestamp.Time,
		Target:  target(hpa.Spec.ScaleTargetRef),
		Owner:   c.owner(hpa.Namespace, hpa.Spec.ScaleTargetRef),
		Selects: c.history.selections[hpa.UID].owners,
		Maker:   maker(hpa),
		Acting:  hpa.Status.LastScaleTime != nil,
	}
	for _, condition := range hpa.Status.Conditions {
		switch condition.Type {
		case autoscalingv2.ScalingActive:
			a.Acting = a.Acting || condition.Status == corev1.ConditionTrue
		case config.Conflicted:
			a.Recorded = guard.StandingOf(guard.Reason(condition.Reason))
		}
	}
	return a
}

func (c *Conductor) guardedVPA(vpa *vpav1.VerticalPodAutoscaler) guard.Autoscaler {
	ref := autoscalingv2.CrossVersionObjectReference(*vpa.Spec.TargetRef)
	a := guard.Autoscaler{
		Key:           vpaKey(vpa),
		UID:           vpa.UID,
		Created:       vpa.CreationTimestamp.Time,
		Target:        target(ref),
		Owner:         c.owner(vpa.Namespace, TargetOf(vpa)),
		Selects:       c.history.selections[vpa.UID].owners,
		Maker:         maker(vpa),
		RecommendOnly: vpa.Spec.UpdatePolicy != nil && vpa.Spec.UpdatePolicy.UpdateMode != nil && *vpa.Spec.UpdatePolicy.UpdateMode == vpav1.UpdateModeOff,
		Recommender:   recommender(vpa),
		Acting:        vpa.Status.Recommendation != nil,
	}
	for _, condition := range vpa.Status.Conditions {
		if condition.Type == config.Conflicted {
			a.Recorded = guard.StandingOf(guard.Reason(condition.Reason))
		}
	}
	return a
}

// owner is the top owner of a target, empty where the target is its own.
func (c *Conductor) owner(namespace string, ref autoscalingv2.CrossVersionObjectReference) guard.Target {
	if top := c.reader.TopOwner(namespace, ref); top != ref {
		return target(top)
	}
	return guard.Target{}
}

// maker is what controls an autoscaler.
func maker(autoscaler metav1.Object) guard.Target {
	owner := metav1.GetControllerOfNoCopy(autoscaler)
	if owner == nil {
		return guard.Target{}
	}
	return guard.Target{APIVersion: owner.APIVersion, Kind: owner.Kind, Name: owner.Name}
}

func target(ref autoscalingv2.CrossVersionObjectReference) guard.Target {
	return guard.Target{APIVersion: ref.APIVersion, Kind: ref.Kind, Name: ref.Name}
}

func recommender(vpa *vpav1.VerticalPodAutoscaler) string {
	if len(vpa.Spec.Recommenders) == 0 {
		return ""
	}
	return vpa.Spec.Recommenders[0].Name
}

func hpaKey(hpa *autoscalingv2.HorizontalPodAutoscaler) guard.Key {
	return guard.Key{Kind: guard.HPA, Namespace: hpa.Namespace, Name: hpa.Name}
}

func vpaKey(vpa *vpav1.VerticalPodAutoscaler) guard.Key {
	return guard.Key{Kind: guard.VPA, Namespace: vpa.Namespace, Name: vpa.Name}
}

// markHPA returns the conditions of an HPA with what the guard says of it.
func (c *Conductor) markHPA(conditions []autoscalingv2.HorizontalPodAutoscalerCondition, verdict guard.Verdict) []autoscalingv2.HorizontalPodAutoscalerCondition {
	type condition = autoscalingv2.HorizontalPodAutoscalerCondition
	return mark(conditions, verdict, metav1.NewTime(c.now()),
		func(c condition) (bool, metav1.Time) { return c.Type == config.Conflicted, c.LastTransitionTime },
		func(since metav1.Time) condition {
			return condition{Type: config.Conflicted, Status: corev1.ConditionTrue, LastTransitionTime: since, Reason: string(verdict.Reason), Message: verdict.Message}
		})
}

// markVPA returns the conditions of a VPA with what the guard says of it.
func (c *Conductor) markVPA(conditions []vpav1.VerticalPodAutoscalerCondition, verdict guard.Verdict) []vpav1.VerticalPodAutoscalerCondition {
	type condition = vpav1.VerticalPodAutoscalerCondition
	return mark(conditions, verdict, metav1.NewTime(c.now()),
		func(c condition) (bool, metav1.Time) { return c.Type == config.Conflicted, c.LastTransitionTime },
		func(since metav1.Time) condition {
			return condition{Type: config.Conflicted, Status: corev1.ConditionTrue, LastTransitionTime: since, Reason: string(verdict.Reason), Message: verdict.Message}
		})
}

// mark sets, keeps up to date or removes the one condition that is the guard's, in a copy.
func mark[C any](conditions []C, verdict guard.Verdict, now metav1.Time, read func(C) (isMark bool, since metav1.Time), condition func(since metav1.Time) C) []C {
	for i := range conditions {
		isMark, since := read(conditions[i])
		if !isMark {
			continue
		}
		conditions = slices.Clone(conditions)
		if verdict.Reason == guard.NoConflict {
			return slices.Delete(conditions, i, i+1)
		}
		conditions[i] = condition(since)
		return conditions
	}
	if verdict.Reason == guard.NoConflict {
		return conditions
	}
	return append(slices.Clone(conditions), condition(now))
}
