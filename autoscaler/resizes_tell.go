// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// renew is how often a condition is written anew where nothing but its figures has changed.
const renew = time.Minute

// summary is what a VPA's condition says of its pods.
type summary struct {
	status          corev1.ConditionStatus
	reason, message string
	// pod is the one that the message is about, gist the message without its figures, said when it was written.
	pod, gist string
	said      time.Time
}

// tellSizes says once on each pod, and on its VPA, why it does not get its size, and sums up on each VPA.
func (c *Conductor) tellSizes(ctx context.Context, vpas map[resize.Key]*vpav1.VerticalPodAutoscaler, pods map[types.UID]*corev1.Pod, d resize.Decision) {
	h := &c.history.resizing
	told, byVPA, waiting := map[types.UID]string{}, map[resize.Key][]resize.Explanation{}, 0
	for _, e := range d.Pods {
		byVPA[e.Target] = append(byVPA[e.Target], e)
		vpa := vpas[e.Target]
		if e.Step != resize.Waits || e.Class == resize.None || vpa == nil || !changesPods(vpa) {
			continue
		}
		waiting++
		told[e.UID] = gist(e.Waits)
		if h.told[e.UID] == told[e.UID] {
			continue
		}
		klog.FromContext(ctx).V(2).Info("A pod does not get its size yet", "pod", klog.KRef(e.Target.Namespace, e.Pod), "vpa", e.Target.Name, "class", e.Class, "waits", e.Waits, "reason", e.Reason)
		if pod := pods[e.UID]; pod != nil && first(byVPA[e.Target]) {
			event := actuate.Event{Type: corev1.EventTypeNormal, Reason: "ResizeWaits", Message: fmt.Sprintf("%s; %s", e.Waits, e.Reason)}
			if e.Class == resize.Impossible {
				event.Type = corev1.EventTypeWarning // somebody has to change something
			}
			c.writer.Event(pod, event)
			event.Message = e.Pod + ": " + event.Message
			c.writer.Event(vpa, event)
		}
	}
	h.told = told
	c.telemetry.WaitingForSize(waiting)
	summaries := make(map[resize.Key]summary, len(byVPA))
	for key, explanations := range byVPA {
		summaries[key] = h.summaries[key].next(explanations, c.now())
	}
	h.summaries = summaries
}

// first tells that none but the last of these pods waits: the others most often wait for it.
func first(explanations []resize.Explanation) bool {
	return !slices.ContainsFunc(explanations[:len(explanations)-1], func(e resize.Explanation) bool { return e.Step != resize.Nothing })
}

// next sums up what became of the pods of a VPA. Figures alone are no news before renew has passed.
func (s summary) next(pods []resize.Explanation, now time.Time) summary {
	next := summary{status: corev1.ConditionTrue, reason: "UpToDate", said: now}
	next.message = fmt.Sprintf("%d of %d pods need no other size", len(pods), len(pods))
	open, sized := -1, 0
	for i, e := range pods {
		switch {
		case e.Class == resize.None && e.Step == resize.Nothing:
			sized++
		case open < 0:
			open = i
		}
	}
	if open >= 0 {
		e := pods[open]
		next.pod, next.status, next.reason = e.Pod, corev1.ConditionFalse, string(e.Step)
		if e.Class == resize.Impossible {
			next.reason = string(resize.Impossible)
		}
		next.message = fmt.Sprintf("%d of %d pods need no other size; %s: ", sized, len(pods), e.Pod)
		switch {
		case e.Waits == "":
			next.message += e.Reason
		case e.Step == resize.Resizes:
			next.message += e.Waits
		default:
			next.message += e.Reason + "; " + e.Waits
		}
	}
	next.gist = gist(next.message)
	if s.status == next.status && s.reason == next.reason && s.pod == next.pod && s.gist == next.gist && now.Sub(s.said) < renew {
		return s
	}
	return next
}

// gist is a text without its figures.
func gist(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, text)
}

// markSizes puts the summary into the status of a VPA that changes pods. Until this process has one, that of the last stands.
func (c *Conductor) markSizes(vpa *vpav1.VerticalPodAutoscaler, allowed bool, status *vpav1.VerticalPodAutoscalerStatus) {
	if !allowed || !changesPods(vpa) {
		status.Conditions = slices.DeleteFunc(status.Conditions, func(c vpav1.VerticalPodAutoscalerCondition) bool { return c.Type == config.SizesApplied })
		return
	}
	if s, ok := c.history.resizing.summaries[resize.Key{Namespace: vpa.Namespace, Name: vpa.Name}]; ok {
		c.setVPACondition(status, config.SizesApplied, s.status, s.reason, s.message)
	}
}

// changesPods tells whether the mode of a VPA changes pods that run.
func changesPods(vpa *vpav1.VerticalPodAutoscaler) bool {
	mode := modeOf(vpa)
	return mode != vpav1.UpdateModeOff && mode != vpav1.UpdateModeInitial
}

// modeOf is the update mode of a VPA, empty where none is given.
func modeOf(vpa *vpav1.VerticalPodAutoscaler) vpav1.UpdateMode {
	if vpa.Spec.UpdatePolicy == nil || vpa.Spec.UpdatePolicy.UpdateMode == nil {
		return ""
	}
	return *vpa.Spec.UpdatePolicy.UpdateMode
}

// tellSized says on a pod and on its VPA what was done to it, or why not.
func (c *Conductor) tellSized(vpa *vpav1.VerticalPodAutoscaler, action resize.Action, err error) {
	event := actuate.Event{Type: corev1.EventTypeNormal, Message: action.Reason}
	switch {
	case err != nil && action.Kind != resize.Evict && refusedWrite(err):
		event.Type, event.Reason, event.Message = corev1.EventTypeWarning, "ResizeRefused", err.Error()
	case err != nil:
		return // it is decided anew
	case action.Kind == resize.Patch:
		event.Reason = "InPlaceResizedByVPA" // as upstream's updater
	case action.Kind == resize.Revert:
		event.Type, event.Reason = corev1.EventTypeWarning, "ResizeReverted"
	case action.Kind == resize.Evict:
		event.Reason, event.Message = "EvictedByVPA", fmt.Sprintf("%s; its successor has a place on node %s", action.Reason, action.Node)
	}
	c.writer.Event(action.Pod, event)
	event.Message = action.Pod.Name + ": " + event.Message
	c.writer.Event(vpa, event)
}

// refusedWrite tells that the API server will not do this, however often it is asked.
func refusedWrite(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) }
