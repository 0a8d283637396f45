// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/guard"
	v1 "k8s.io/api/core/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// canaryName is where the autoscaler says whether it acts on HPAs.
const canaryName = config.Namespace + "/" + config.CanaryName

// reasonUnread tells that nothing is known.
const reasonUnread = "CanaryUnread"

// reasonObserve tells that the configuration has Berth decide only.
const reasonObserve = "Observe"

// actsReport is whether Berth writes scales and statuses of HPAs at all, or sizes of the pods of a VPA.
type actsReport struct {
	Status v1.ConditionStatus `json:"status"`
	// Reason is that of condition BerthActs of the canary. Where that is not to be
	// read, or does not matter: Observe, NoCanary, CanaryUnread, CanaryMissing or CanaryNew.
	Reason  string `json:"reason"`
	Message string `json:"message"`

	// from names the condition whose words these are.
	from string
}

// acts tells whether Berth acts on HPAs: by the canary that the leader keeps, where the
// configuration leaves it to that.
func (s *scaling) acts() actsReport {
	switch {
	case s.tuning.Horizontal.Mode == config.Observe:
		return actsReport{Status: v1.ConditionFalse, Reason: reasonObserve, Message: "berth-autoscaler decides, and writes no scale and no status (horizontal.mode is Observe)"}
	case s.tuning.Horizontal.Canary == config.NoCanary:
		return actsReport{Status: v1.ConditionTrue, Reason: "NoCanary", Message: "berth-autoscaler does not look for another HPA controller (horizontal.canary is None)"}
	case s.canaryUnread != nil:
		return actsReport{Status: v1.ConditionUnknown, Reason: reasonUnread, Message: fmt.Sprintf("HPA %s, which tells, can not be read: %v", canaryName, s.canaryUnread)}
	case s.canary == nil:
		return actsReport{Status: v1.ConditionFalse, Reason: "CanaryMissing", Message: fmt.Sprintf("there is no HPA %s, without which berth-autoscaler leaves all others alone: does it run, and may it make one?", canaryName)}
	}
	for _, condition := range s.canary.Status.Conditions {
		if condition.Type == config.BerthActs {
			return actsReport{Status: condition.Status, Reason: condition.Reason, Message: condition.Message,
				from: fmt.Sprintf("condition %s of HPA %s", config.BerthActs, canaryName)}
		}
	}
	return actsReport{Status: v1.ConditionUnknown, Reason: "CanaryNew", Message: fmt.Sprintf("berth-autoscaler has not looked at HPA %s: does it run?", canaryName)}
}

// sizes tells whether Berth changes pods by a VPA: by the conditions that the leader
// keeps on it, where its spec and the configuration leave it to them.
func (t tuning) sizes(vpa *vpav1.VerticalPodAutoscaler) actsReport {
	no := func(reason, format string, args ...any) actsReport {
		return actsReport{Status: v1.ConditionFalse, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	said := func(kind vpav1.VerticalPodAutoscalerConditionType) (vpav1.VerticalPodAutoscalerCondition, bool) {
		i := slices.IndexFunc(vpa.Status.Conditions, func(c vpav1.VerticalPodAutoscalerCondition) bool { return c.Type == kind })
		if i < 0 || vpa.Status.Conditions[i].Status != v1.ConditionTrue {
			return vpav1.VerticalPodAutoscalerCondition{}, false
		}
		return vpa.Status.Conditions[i], true
	}
	quote := func(c vpav1.VerticalPodAutoscalerCondition) actsReport {
		return actsReport{Status: v1.ConditionFalse, Reason: c.Reason, Message: c.Message, from: fromCondition(c.Type)}
	}
	if name := recommenderOf(vpa); name != t.Vertical.RecommenderName {
		return no("OtherRecommender", "recommender %q serves this VPA; berth-autoscaler serves those that name %q in spec.recommenders", name, t.Vertical.RecommenderName)
	}
	if c, is := said(config.Conflicted); is && guard.StandingOf(guard.Reason(c.Reason)) == guard.Refused {
		return quote(c)
	}
	if c, is := said(config.StandsBack); is {
		return quote(c)
	}
	if t.Vertical.Mode == config.Observe {
		return no(reasonObserve, "berth-autoscaler recommends, and leaves pods and their sizes alone (vertical.mode is Observe)")
	}
	switch mode := updateMode(vpa); {
	case vpa.Spec.TargetRef == nil:
		return no("NoTarget", "spec.targetRef names no target")
	case len(vpa.Status.Conditions) == 0:
		return actsReport{Status: v1.ConditionUnknown, Reason: "Unseen", Message: "berth-autoscaler has written nothing to this VPA: does it run?"}
	case mode == vpav1.UpdateModeOff:
		return no("UpdateMode", "update mode Off: Berth recommends, and gives no pod a size")
	case mode == vpav1.UpdateModeInitial:
		return no("UpdateMode", "update mode Initial: pods get their size when they are created, and keep it")
	}
	return actsReport{Status: v1.ConditionTrue, Reason: "Acts", Message: "pods get their size when they are created, and while they run"}
}

func fromCondition(kind vpav1.VerticalPodAutoscalerConditionType) string {
	return fmt.Sprintf("condition %s", kind)
}

func (a actsReport) String() string {
	why := a.Message
	if a.from != "" {
		why = fmt.Sprintf("%q (%s, %s)", a.Message, a.from, a.Reason)
	}
	switch a.Status {
	case v1.ConditionTrue:
		return "yes"
	case v1.ConditionFalse:
		return "no: " + why
	}
	if a.Reason == reasonUnread {
		return "not known: " + why
	}
	return "not yet: " + why
}
