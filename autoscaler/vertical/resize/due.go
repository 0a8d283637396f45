// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"fmt"
	"math"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// due says whether a pod should be changed at all.
type due struct {
	yes bool
	// grows: some container should request more. Such pods come first where there is no order.
	grows bool
	// oom: a container was killed for want of memory soon after its start.
	oom    bool
	diff   float64
	reason string
}

// judge applies the updater's rules of VPA 1.7.3
// (pkg/updater/priority/update_priority_calculator.go and priority_processor.go): a
// request outside of its bounds, an OOM soon after the start, or a pod that is old
// enough to take a difference of UpdateThreshold.
func judge(now time.Time, cfg Config, t Target, p Pod, recs []Recommendation) due {
	d := due{}
	outside, less := "", false
	requested, recommended := map[v1.ResourceName]int64{}, map[v1.ResourceName]int64{}
	for _, rec := range recs {
		requests := actual(p.Object, rec.Container).Requests
		for _, name := range resizable() {
			target, ok := rec.Target[name]
			if !ok {
				continue
			}
			recommended[name] += target.MilliValue()
			request, ok := requests[name]
			lower, hasLower := rec.Lower[name]
			upper, hasUpper := rec.Upper[name]
			requested[name] += request.MilliValue()
			d.grows, less = d.grows || target.Cmp(request) > 0, less || target.Cmp(request) < 0
			switch {
			case !ok:
				d.grows, outside = true, fmt.Sprintf("%s: no %s request", rec.Container, name)
			case hasLower && request.Cmp(lower) < 0:
				outside = outOf(rec.Container, name, request, "below the lower", lower)
			case hasUpper && request.Cmp(upper) > 0:
				outside = outOf(rec.Container, name, request, "above the upper", upper)
			}
		}
	}
	for _, name := range resizable() {
		total := math.Max(float64(requested[name]), 1)
		if _, ok := recommended[name]; ok {
			d.diff += math.Abs(total-float64(recommended[name])) / total
		}
	}
	oom := quickOOM(now, cfg, t, p.Object)
	d.oom = oom != ""
	if outside == "" && less && unplaced(p.Object) {
		outside = "no node has room for it, and less is recommended"
	}
	d.yes, d.reason = d.verdict(now, cfg, p.Object, outside, oom)
	return d
}

// unplaced tells whether the scheduler found no node for the pod.
func unplaced(pod *v1.Pod) bool {
	return pod.Spec.NodeName == "" && slices.ContainsFunc(pod.Status.Conditions, func(c v1.PodCondition) bool {
		return c.Type == v1.PodScheduled && c.Status == v1.ConditionFalse && c.Reason == v1.PodReasonUnschedulable
	})
}

func outOf(container string, name v1.ResourceName, request resource.Quantity, which string, bound resource.Quantity) string {
	is, at := legible(request, bound)
	return fmt.Sprintf("%s: %s request %s is %s bound %s", container, name, is, which, at)
}

func (d due) verdict(now time.Time, cfg Config, pod *v1.Pod, outside, oom string) (bool, string) {
	switch {
	case oom != "" && d.diff == 0:
		return false, oom + " was killed for want of memory soon after its start, and the recommendation is what it has"
	case outside != "":
		return true, outside
	case oom != "":
		return true, oom + " was killed for want of memory soon after its start"
	case pod.Status.StartTime == nil:
		return false, "within its bounds; it has not started"
	case now.Sub(pod.Status.StartTime.Time) < cfg.Lifetime:
		return false, fmt.Sprintf("within its bounds, and younger than %s", cfg.Lifetime)
	case d.diff < cfg.UpdateThreshold:
		return false, fmt.Sprintf("within its bounds, and its difference of %.2f is below %.2f", d.diff, cfg.UpdateThreshold)
	case now.Sub(sized(pod)) < cfg.Lifetime:
		return false, fmt.Sprintf("within its bounds, and resized at %s, less than %s ago", sized(pod).Format(time.RFC3339), cfg.Lifetime)
	}
	return true, fmt.Sprintf("older than %s, with a difference of %.2f", cfg.Lifetime, d.diff)
}

// sized is when the pod was given the size that it has, if that was by a resize. The
// start of a pod stays what it was then: it would be resized, and its containers
// restarted, each time that the recommendation moves. One that did not come through has
// a back-off of its own.
func sized(pod *v1.Pod) time.Time {
	if rec := recordOf(pod); rec.Failed == "" && rec.Asked.in(sizesOf(pod.Spec.Containers)) {
		return rec.At
	}
	return time.Time{}
}

// quickOOM names a container that ran out of memory soon after its start, and not long ago.
func quickOOM(now time.Time, cfg Config, t Target, pod *v1.Pod) string {
	within := cfg.QuickOOM
	if t.Update != nil && t.Update.EvictAfterOOMSeconds != nil {
		within = time.Duration(*t.Update.EvictAfterOOMSeconds) * time.Second
	}
	for _, cs := range pod.Status.ContainerStatuses {
		last := cs.LastTerminationState.Terminated
		if isOff(policyFor(t.Resources, cs.Name)) || last == nil || last.Reason != "OOMKilled" {
			continue
		}
		if last.FinishedAt.Sub(last.StartedAt.Time) < within && now.Sub(last.FinishedAt.Time) < within {
			return cs.Name
		}
	}
	return ""
}

// actual is what the kubelet says that a container has, else what the spec says.
func actual(pod *v1.Pod, name string) v1.ResourceRequirements {
	for _, cs := range pod.Status.ContainerStatuses {
		if cs.Name == name && cs.Resources != nil {
			return *cs.Resources
		}
	}
	for _, c := range pod.Spec.Containers {
		if c.Name == name {
			return c.Resources
		}
	}
	return v1.ResourceRequirements{}
}

// modeOf is the update mode; Recreate where none is given, and Auto is Recreate.
func modeOf(t Target) vpav1.UpdateMode {
	if t.Update == nil || t.Update.UpdateMode == nil || *t.Update.UpdateMode == "" {
		return vpav1.UpdateModeRecreate
	}
	if mode := *t.Update.UpdateMode; mode != "Auto" {
		return mode
	}
	return vpav1.UpdateModeRecreate
}

// mayEvict tells whether the eviction requirements let the pod be re-created
// (scaling_direction_pod_eviction_admission.go of VPA 1.7.3: one container that meets
// all of them is enough). They do not gate a resize in place: they are about evictions.
func mayEvict(t Target, p Pod, recs []Recommendation) bool {
	if t.Update == nil || len(t.Update.EvictionRequirements) == 0 {
		return true
	}
	for _, rec := range recs {
		requests := actual(p.Object, rec.Container).Requests
		_, hasCPU := requests[v1.ResourceCPU]
		_, hasMemory := requests[v1.ResourceMemory]
		if !hasCPU || !hasMemory || meets(t.Update.EvictionRequirements, requests, rec.Target) {
			return true
		}
	}
	return false
}

func meets(all []*vpav1.EvictionRequirement, requests, target v1.ResourceList) bool {
	for _, one := range all {
		met := false
		for _, name := range one.Resources {
			is, will := requests[name], target[name]
			switch one.ChangeRequirement {
			case vpav1.TargetHigherThanRequests:
				met = met || will.MilliValue() > is.MilliValue()
			case vpav1.TargetLowerThanRequests:
				met = met || will.MilliValue() < is.MilliValue()
			}
		}
		if !met {
			return false
		}
	}
	return true
}
