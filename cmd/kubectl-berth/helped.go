// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

// triggeredScaleUp is the reason of the events about pods that nodes were asked for.
const triggeredScaleUp = "TriggeredScaleUp"

// askGroups adds what node groups do for a pod that has no node, or is to come. Where the autoscaler says nothing of
// groups, or not to this person, there is nothing to add.
func (c *cluster) askGroups(ctx context.Context, pod *v1.Pod, report *explainReport) {
	known, err := c.readGroups(ctx)
	if err != nil || known.unread != nil {
		return
	}
	name := report.Namespace + "/" + report.Pod
	i := slices.IndexFunc(known.Berth.Unhelped, func(u status.Unhelped) bool { return u.Pod == name && u.Forecast == (pod == nil) })
	if i >= 0 {
		report.Groups = append([]string{"none can help"}, known.Berth.Unhelped[i].Groups...)
		report.Notes = append(report.Notes, known.notes(c.now())...)
		return
	}
	if pod == nil {
		return
	}
	if last, err := c.lastEvent(ctx, pod, triggeredScaleUp); err == nil && last != nil {
		report.Groups = []string{fmt.Sprintf("asked for a node %s ago: %s", ago(c.now().Sub(seen(last))), last.Message)}
	}
}
