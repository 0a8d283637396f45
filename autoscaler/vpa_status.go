// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/vertical"
)

type vpaCondition = vpav1.VerticalPodAutoscalerCondition

// writeVPAs writes what is said of each VPA, and the recommendation of those that have one.
func (c *Conductor) writeVPAs(ctx context.Context, vpas []*vpav1.VerticalPodAutoscaler, verdicts map[guard.Key]guard.Verdict) {
	c.judgeUpdater(ctx)
	workqueue.ParallelizeUntil(ctx, workers, len(vpas), func(i int) {
		vpa := vpas[i]
		ctx, cancel := context.WithTimeout(ctx, callDeadline)
		defer cancel()
		status := *vpa.Status.DeepCopy()
		if advised, ok := c.history.advised[keyOf(vpa)]; ok {
			c.recommend(&status, vpa.Spec.ResourcePolicy, advised.Recommendation)
		}
		c.markSizes(vpa, verdicts[vpaKey(vpa)].Allowed, &status)
		c.explain(&status, vpa)
		status.Conditions = c.markVPA(status.Conditions, verdicts[vpaKey(vpa)])
		switch err := c.writer.VPAStatus(ctx, vpa, status); {
		case err == nil:
			c.tellChanges(vpa, status)
		case apierrors.IsConflict(err), apierrors.IsNotFound(err):
			klog.FromContext(ctx).V(2).Info("A VPA has changed: its status is written in the next tick", "vpa", klog.KObj(vpa))
		default:
			klog.FromContext(ctx).Error(err, "Writing the status of a VPA", "vpa", klog.KObj(vpa))
		}
	})
}

func keyOf(vpa *vpav1.VerticalPodAutoscaler) vertical.Key {
	return vertical.Key{Namespace: vpa.Namespace, Name: vpa.Name}
}

// berths tells whether Berth recommends for a VPA, unless the guard is against it.
func (c *Conductor) berths(vpa *vpav1.VerticalPodAutoscaler) bool {
	return vpa.Spec.TargetRef != nil && recommender(vpa) == c.config.Vertical.RecommenderName
}

// recommend puts a recommendation into a status, with the conditions of upstream's recommender.
// Without one, the last recommendation stands, unless nobody asks for any.
func (c *Conductor) recommend(status *vpav1.VerticalPodAutoscalerStatus, policy *vpav1.PodResourcePolicy, r vertical.Recommendation) {
	provided, message := corev1.ConditionFalse, fmt.Sprintf("none of the %d pods has been measured yet", r.Pods)
	switch {
	case r.Reason == vertical.NothingControlled:
		status.Recommendation, message = nil, "the resource policy switches every container off"
	case r.Reason != vertical.Provided && r.Pods == 0:
		message = "the target is missing or has no pods"
	case r.Reason == vertical.Provided:
		provided, message = corev1.ConditionTrue, ""
		last := status.Recommendation
		status.Recommendation = &vpav1.RecommendedPodResources{}
		for _, container := range r.Containers {
			status.Recommendation.ContainerRecommendations = append(status.Recommendation.ContainerRecommendations, standing(last, policy, container.RecommendedContainerResources))
		}
	}
	c.setVPACondition(status, vpav1.RecommendationProvided, provided, string(r.Reason), message)
	if r.Reason == vertical.NoPodsMatched {
		c.setVPACondition(status, vpav1.NoPodsMatched, corev1.ConditionTrue, string(r.Reason), "No pods match this VPA object")
		return
	}
	dropVPACondition(status, vpav1.NoPodsMatched)
}

// standing is what is recommended for a container, with what was said last of a resource about which nothing is known now, though
// the policy still asks for it. So it is with memory after a restart on the first day: the peak of an interval that goes
// on is in no checkpoint.
func standing(last *vpav1.RecommendedPodResources, policy *vpav1.PodResourcePolicy, now vpav1.RecommendedContainerResources) vpav1.RecommendedContainerResources {
	if last == nil {
		return now
	}
	i := slices.IndexFunc(last.ContainerRecommendations, func(c vpav1.RecommendedContainerResources) bool { return c.ContainerName == now.ContainerName })
	if i < 0 {
		return now
	}
	before := last.ContainerRecommendations[i]
	for name := range before.Target {
		if _, known := now.Target[name]; known || !vertical.Controls(policy, now.ContainerName, name) {
			continue
		}
		with := func(list *corev1.ResourceList, before corev1.ResourceList) {
			if q, ok := before[name]; ok {
				*list = maps.Clone(*list)
				(*list)[name] = q
			}
		}
		with(&now.Target, before.Target)
		with(&now.LowerBound, before.LowerBound)
		with(&now.UpperBound, before.UpperBound)
		with(&now.UncappedTarget, before.UncappedTarget)
	}
	return now
}

// explain says in conditions what of a VPA is not followed, and why its pods are left alone. A VPA that is another recommender's
// keeps what that one has said.
func (c *Conductor) explain(status *vpav1.VerticalPodAutoscalerStatus, vpa *vpav1.VerticalPodAutoscaler) {
	if !c.berths(vpa) {
		dropVPACondition(status, config.StandsBack)
		return
	}
	key := vertical.Key{Namespace: vpa.Namespace, Name: vpa.Name}
	ignored := append(vertical.Ignored(vpa.Spec), vertical.Unmatched(vpa.Spec.ResourcePolicy, c.history.advised[key].containers)...)
	if len(ignored) > 0 {
		c.setVPACondition(status, vpav1.ConfigUnsupported, corev1.ConditionTrue, string(vpav1.ConfigUnsupported), strings.Join(ignored, "; "))
	} else {
		dropVPACondition(status, vpav1.ConfigUnsupported)
	}
	if held := c.history.updater.hold; held.reason != "" {
		c.setVPACondition(status, config.StandsBack, corev1.ConditionTrue, held.reason, held.message)
	} else {
		dropVPACondition(status, config.StandsBack)
	}
}

// tellChanges says by events which of the conditions of explain are new, once they are written: so that they are said once,
// whichever process leads.
func (c *Conductor) tellChanges(vpa *vpav1.VerticalPodAutoscaler, status vpav1.VerticalPodAutoscalerStatus) {
	was, is := vpaConditionOf(vpa.Status, vpav1.ConfigUnsupported), vpaConditionOf(status, vpav1.ConfigUnsupported)
	if is.Message != was.Message && is.Message != "" {
		c.writer.Event(vpa, actuate.Event{Type: corev1.EventTypeWarning, Reason: string(vpav1.ConfigUnsupported), Message: is.Message})
	}
	was, is = vpaConditionOf(vpa.Status, config.StandsBack), vpaConditionOf(status, config.StandsBack)
	switch {
	case is.Reason == was.Reason:
	case is.Reason == "" && c.berths(vpa):
		c.writer.Event(vpa, actuate.Event{Type: corev1.EventTypeNormal, Reason: "Acts", Message: "nothing holds Berth back any more: pods get the sizes that are recommended"})
	case is.Reason == observing:
		c.writer.Event(vpa, actuate.Event{Type: corev1.EventTypeNormal, Reason: is.Reason, Message: is.Message})
	case is.Reason != "":
		c.writer.Event(vpa, actuate.Event{Type: corev1.EventTypeWarning, Reason: is.Reason, Message: is.Message})
	}
}

func vpaConditionOf(status vpav1.VerticalPodAutoscalerStatus, kind vpav1.VerticalPodAutoscalerConditionType) vpaCondition {
	if i := slices.IndexFunc(status.Conditions, func(c vpaCondition) bool { return c.Type == kind }); i >= 0 {
		return status.Conditions[i]
	}
	return vpaCondition{}
}

func dropVPACondition(status *vpav1.VerticalPodAutoscalerStatus, kind vpav1.VerticalPodAutoscalerConditionType) {
	status.Conditions = slices.DeleteFunc(status.Conditions, func(c vpaCondition) bool { return c.Type == kind })
}

func (c *Conductor) setVPACondition(status *vpav1.VerticalPodAutoscalerStatus, kind vpav1.VerticalPodAutoscalerConditionType, value corev1.ConditionStatus, reason, message string) {
	wanted := vpaCondition{Type: kind, Status: value, LastTransitionTime: metav1.NewTime(c.now()), Reason: reason, Message: message}
	i := slices.IndexFunc(status.Conditions, func(c vpaCondition) bool { return c.Type == kind })
	if i < 0 {
		status.Conditions = append(status.Conditions, wanted)
		return
	}
	if status.Conditions[i].Status == value {
		wanted.LastTransitionTime = status.Conditions[i].LastTransitionTime
	}
	status.Conditions[i] = wanted
}
