// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"maps"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/observe"
)

// canaryHistory is what one look at the canary leaves for the next.
type canaryHistory struct {
	master guard.Master
	looks  guard.CanaryHistory
	// disowned: it says that nobody looks at it.
	disowned bool
}

// actsOnHPAs tells whether scales and statuses of HPAs are written.
func (c *Conductor) actsOnHPAs() bool {
	return c.config.Horizontal.Mode == config.Act && (!c.looksOut() || c.history.canary.master == guard.Ours)
}

// looksOut tells whether another controller of HPAs is looked for: one that may be in Berth's way.
func (c *Conductor) looksOut() bool {
	h := c.config.Horizontal
	return c.canary != nil && h.Mode == config.Act && h.Canary == config.RequireCanary
}

// judgeCanary looks whether there is another controller of HPAs, and sees to it
// that the next look will tell, too.
func (c *Conductor) judgeCanary(ctx context.Context, hpas []*autoscalingv2.HorizontalPodAutoscaler) {
	defer func() { c.telemetry.Horizontal(c.horizontalState()) }()
	if !c.looksOut() {
		c.disownCanary(ctx)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	logger := klog.FromContext(ctx)

	now := c.now()
	canary, err := c.canary.Look(ctx)
	if err != nil {
		logger.Error(err, "Looking at the canary, by which another HPA controller is known: unseen for long, no HPA is acted on", "canary", klog.KRef(config.Namespace, config.CanaryName))
	}
	d := guard.JudgeCanary(guard.CanaryInput{
		Now:      now,
		Sight:    sighted(canary, err),
		Recorded: recorded(canary),
		Patience: guard.CanaryPatience(c.config.Horizontal.CanaryPatience.Duration, theirRequests(hpas)),
		History:  c.history.canary.looks,
	})
	logger.V(4).Info("Canary judged", "acts", d.Master == guard.Ours, "silence", d.Silence, "patience", d.Patience)
	before := c.history.canary.master
	c.history.canary.master, c.history.canary.looks = d.Master, d.History
	said := sayMaster(d.Master, c.now())
	if d.Master != before {
		logger.Info("Who scales by HPAs", "berth", said.Status, "reason", said.Reason, "message", said.Message)
		if canary != nil && (d.Master == guard.Theirs || before == guard.Theirs) {
			c.writer.Event(canary, eventOf(d.Master, said))
		}
		if d.Master == guard.Ours {
			// What could not be said on HPAs is said now.
			maps.DeleteFunc(c.history.told, func(key guard.Key, _ string) bool { return key.Kind == guard.HPA })
		}
	}
	c.tendCanary(ctx, canary, d.Step, said)
}

// tendCanary does the step, and writes the condition with it.
func (c *Conductor) tendCanary(ctx context.Context, canary *autoscalingv2.HorizontalPodAutoscaler, step guard.CanaryStep, said autoscalingv2.HorizontalPodAutoscalerCondition) {
	var err error
	switch {
	case step == guard.MakeCanary:
		err = c.writer.MakeCanary(ctx)
	case canary == nil:
		return
	case step == guard.AskCanary:
		err = c.writer.HPAStatus(ctx, canary, asked(canary, said), "")
	default:
		status := canary.Status
		status.Conditions = withCondition(status.Conditions, said)
		err = c.writer.HPAStatus(ctx, canary, status, "")
	}
	logger := klog.FromContext(ctx).WithValues("canary", klog.KRef(config.Namespace, config.CanaryName))
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		logger.V(4).Info("The canary was written meanwhile", "err", err)
	case err != nil:
		logger.Error(err, "Writing the canary, by which another HPA controller is known: without it no HPA is acted on, but where horizontal.canary is None")
	case step != guard.LeaveCanary:
		c.history.canary.looks = c.history.canary.looks.Asked(c.now())
	}
}

func sighted(canary *autoscalingv2.HorizontalPodAutoscaler, err error) guard.CanarySight {
	switch {
	case err != nil:
		return guard.CanaryUnseen
	case canary == nil:
		return guard.CanaryMissing
	case observe.Answered(canary):
		return guard.CanaryAnswered
	default:
		return guard.CanaryQuiet
	}
}

// noOtherController is the reason of the condition where Berth has found out that it is alone.
const noOtherController = "NoOtherController"

// recorded tells whether the condition, of whichever leader, says that.
func recorded(canary *autoscalingv2.HorizontalPodAutoscaler) bool {
	return canary != nil && slices.ContainsFunc(canary.Status.Conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool {
		return c.Type == config.BerthActs && c.Status == corev1.ConditionTrue && c.Reason == noOtherController
	})
}

// theirRequests are what another controller asks and writes for all HPAs once:
// the scale and the status of each, and its metrics.
func theirRequests(hpas []*autoscalingv2.HorizontalPodAutoscaler) int {
	n := 0
	for _, hpa := range hpas {
		n += 2 + len(hpa.Spec.Metrics)
	}
	return n
}

// sayMaster puts a judgement into the words of the condition, which change with it only.
func sayMaster(master guard.Master, now time.Time) autoscalingv2.HorizontalPodAutoscalerCondition {
	said := autoscalingv2.HorizontalPodAutoscalerCondition{Type: config.BerthActs, LastTransitionTime: metav1.NewTime(now)}
	switch master {
	case guard.Ours:
		said.Status, said.Reason = corev1.ConditionTrue, noOtherController
		said.Message = "no other HPA controller has answered for this canary: Berth writes scales and statuses"
	case guard.Theirs:
		said.Status, said.Reason = corev1.ConditionFalse, "OtherController"
		said.Message = "another HPA controller answers for this canary: Berth decides, and writes no scale and no status, until that one is off (kube-controller-manager: add -horizontal-pod-autoscaler-controller to --controllers)"
	default:
		said.Status, said.Reason = corev1.ConditionUnknown, "Judging"
		said.Message = "Berth writes no scale and no status before it is known whether another HPA controller answers for this canary"
	}
	return said
}

func eventOf(master guard.Master, said autoscalingv2.HorizontalPodAutoscalerCondition) actuate.Event {
	if master == guard.Ours {
		return actuate.Event{Type: corev1.EventTypeNormal, Reason: said.Reason, Message: said.Message}
	}
	return actuate.Event{Type: corev1.EventTypeWarning, Reason: said.Reason, Message: said.Message}
}

// asked is the status of a canary on which nobody but Berth has said anything.
func asked(canary *autoscalingv2.HorizontalPodAutoscaler, said autoscalingv2.HorizontalPodAutoscalerCondition) autoscalingv2.HorizontalPodAutoscalerStatus {
	ours := slices.DeleteFunc(slices.Clone(canary.Status.Conditions), func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool { return c.Type != config.BerthActs })
	return autoscalingv2.HorizontalPodAutoscalerStatus{Conditions: withCondition(ours, said)}
}

// withCondition returns the conditions with one set, in a copy. The time of its last transition stays where its status does.
func withCondition(conditions []autoscalingv2.HorizontalPodAutoscalerCondition, said autoscalingv2.HorizontalPodAutoscalerCondition) []autoscalingv2.HorizontalPodAutoscalerCondition {
	conditions = slices.Clone(conditions)
	i := slices.IndexFunc(conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool { return c.Type == said.Type })
	if i < 0 {
		return append(conditions, said)
	}
	if conditions[i].Status == said.Status {
		said.LastTransitionTime = conditions[i].LastTransitionTime
	}
	conditions[i] = said
	return conditions
}

func (c *Conductor) horizontalState() actuate.State {
	switch {
	case c.config.Horizontal.Mode == config.Observe:
		return actuate.Observes
	case c.actsOnHPAs():
		return actuate.Acts
	case c.history.canary.master == guard.Theirs:
		return actuate.StandsBack
	default:
		return actuate.Judges
	}
}
