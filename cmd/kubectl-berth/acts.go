// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/berth-dev/berth/autoscaler/config"
	v1 "k8s.io/api/core/v1"
)

// canaryName is where the autoscaler says whether it acts on HPAs.
const canaryName = config.Namespace + "/" + config.CanaryName

// reasonUnread tells that nothing is known.
const reasonUnread = "CanaryUnread"

// actsReport is whether Berth writes scales and statuses of HPAs at all.
type actsReport struct {
	Status v1.ConditionStatus `json:"status"`
	// Reason is that of condition BerthActs of the canary. Where that is not to be
	// read, or does not matter: Observe, NoCanary, CanaryUnread, CanaryMissing or CanaryNew.
	Reason  string `json:"reason"`
	Message string `json:"message"`

	// quoted tells that the words are the condition's.
	quoted bool
}

// acts tells whether Berth acts on HPAs: by the canary that the leader keeps, where the
// configuration leaves it to that.
func (s *scaling) acts() actsReport {
	switch {
	case s.tuning.Horizontal.Mode == config.Observe:
		return actsReport{Status: v1.ConditionFalse, Reason: "Observe", Message: "berth-autoscaler decides, and writes no scale and no status (horizontal.mode is Observe)"}
	case s.tuning.Horizontal.Canary == config.NoCanary:
		return actsReport{Status: v1.ConditionTrue, Reason: "NoCanary", Message: "berth-autoscaler does not look for another HPA controller (horizontal.canary is None)"}
	case s.canaryUnread != nil:
		return actsReport{Status: v1.ConditionUnknown, Reason: reasonUnread, Message: fmt.Sprintf("HPA %s, which tells, can not be read: %v", canaryName, s.canaryUnread)}
	case s.canary == nil:
		return actsReport{Status: v1.ConditionFalse, Reason: "CanaryMissing", Message: fmt.Sprintf("there is no HPA %s, without which berth-autoscaler leaves all others alone: does it run, and may it make one?", canaryName)}
	}
	for _, condition := range s.canary.Status.Conditions {
		if condition.Type == config.BerthActs {
			return actsReport{Status: condition.Status, Reason: condition.Reason, Message: condition.Message, quoted: true}
		}
	}
	return actsReport{Status: v1.ConditionUnknown, Reason: "CanaryNew", Message: fmt.Sprintf("berth-autoscaler has not looked at HPA %s: does it run?", canaryName)}
}

func (a actsReport) String() string {
	why := a.Message
	if a.quoted {
		why = fmt.Sprintf("%q (condition %s of HPA %s, %s)", a.Message, config.BerthActs, canaryName, a.Reason)
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
