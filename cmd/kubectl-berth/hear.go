// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// failedScheduling is the reason of the scheduler's events about pods that it
// could not place.
const failedScheduling = "FailedScheduling"

// hear adds the last words of the scheduler and of the autoscaler about a pod
// that has no node.
func (c *cluster) hear(ctx context.Context, pod *v1.Pod, report *explainReport) error {
	if pod != nil && pod.Spec.NodeName != "" {
		return nil
	}
	c.askGroups(ctx, pod, report)
	if pod == nil {
		return nil
	}
	if _, said := podutil.GetPodCondition(&pod.Status, v1.PodScheduled); said != nil && said.Message != "" && said.Message != report.Gate {
		report.Scheduler = append(report.Scheduler, saying{Where: fmt.Sprintf("condition %s, %s", said.Type, said.Reason), Text: said.Message})
	}
	last, err := c.lastEvent(ctx, pod, failedScheduling)
	switch {
	case apierrors.IsForbidden(err):
		report.Notes = append(report.Notes, "events can not be listed: "+err.Error())
	case err != nil:
		return fmt.Errorf("listing events: %w", err)
	case last != nil && !slices.ContainsFunc(report.Scheduler, func(s saying) bool { return s.Text == last.Message }):
		report.Scheduler = append(report.Scheduler, saying{Where: "event " + last.Reason, Text: last.Message})
	}
	return nil
}

// lastEvent returns the last event about a pod that has a reason; nil without one.
func (c *cluster) lastEvent(ctx context.Context, pod *v1.Pod, reason string) (*v1.Event, error) {
	selector := fields.Set{"involvedObject.kind": "Pod", "involvedObject.name": pod.Name, "reason": reason}.AsSelector().String()
	events, err := c.kube.CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		return nil, err
	}
	var last *v1.Event
	for i := range events.Items {
		event := &events.Items[i]
		// A pod that was made again has the name of the one before.
		if of := event.InvolvedObject; of.Kind != "Pod" || of.Name != pod.Name || of.UID != pod.UID || event.Reason != reason {
			continue
		}
		if last == nil || compareAge(last, event) < 0 {
			last = event
		}
	}
	return last, nil
}

// compareAge orders events by the time they were last seen.
func compareAge(a, b *v1.Event) int {
	return cmp.Or(seen(a).Compare(seen(b)), cmp.Compare(a.Name, b.Name))
}

func seen(event *v1.Event) time.Time {
	if event.Series != nil {
		return event.Series.LastObservedTime.Time
	}
	if !event.LastTimestamp.IsZero() {
		return event.LastTimestamp.Time
	}
	return event.EventTime.Time
}
