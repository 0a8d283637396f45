// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"errors"

	v1 "k8s.io/api/core/v1"
)

var (
	errNoPods  = errors.New("no pods returned by selector while calculating replica count")
	errNoUsage = errors.New("did not receive metrics for targeted pods (pods might be unready)")
)

// group is how far a pod's usage can be trusted.
type group uint8

const (
	ready    group = iota
	unlisted       // of a pod that the target does not select, or not any more
	unready        // not started, or its cpu is still that of starting
	missing        // no sample
	ignored        // failed or being deleted: not there
)

// sample is what one pod adds to a metric, in milli-units. Usage holds for ready and unlisted pods,
// request for utilization targets.
type sample struct {
	group          group
	usage, request int64
}

func (s sample) known() bool { return s.group == ready || s.group == unlisted }

// groupOf is the group by what is true of every metric.
func groupOf(pod *v1.Pod, found bool) group {
	switch {
	case pod.DeletionTimestamp != nil || pod.Status.Phase == v1.PodFailed:
		return ignored
	case pod.Status.Phase == v1.PodPending:
		return unready
	case !found:
		return missing
	}
	return ready
}

func (why *MetricExplanation) count(g group) {
	switch g {
	case ready:
		why.Ready++
	case unlisted:
		why.Unlisted++
	case unready:
		why.Unready++
	case missing:
		why.Missing++
	case ignored:
		why.Ignored++
	}
}

func readiness(pod *v1.Pod) *v1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == v1.PodReady {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}
