// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"fmt"
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// outOfRange says which LimitRange would refuse the pod, as the LimitRanger plugin
// does on create and on resize alike (plugin/pkg/admission/limitranger/admission.go:
// PodValidateLimitFunc). Empty if none does.
func outOfRange(pod *v1.Pod, ranges []*v1.LimitRange) string {
	for _, r := range ranges {
		for _, item := range r.Spec.Limits {
			switch item.Type {
			case v1.LimitTypeContainer:
				for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
					if why := outOfItem(item, c.Resources.Requests, c.Resources.Limits); why != "" {
						return fmt.Sprintf("LimitRange %s: container %s: %s", r.Name, c.Name, why)
					}
				}
			case v1.LimitTypePod:
				opts := resource.PodResourcesOptions{ExcludeOverhead: true}
				if why := outOfItem(item, resource.PodRequests(pod, opts), resource.PodLimits(pod, opts)); why != "" {
					return fmt.Sprintf("LimitRange %s: the pod: %s", r.Name, why)
				}
			}
		}
	}
	return ""
}

func outOfItem(item v1.LimitRangeItem, requests, limits v1.ResourceList) string {
	for _, name := range slices.Sorted(maps.Keys(item.Min)) {
		least := item.Min[name]
		q, ok := requests[name]
		if !ok || q.Cmp(least) < 0 {
			return fmt.Sprintf("%s request %s is below min %s", name, q.String(), least.String())
		}
		if q, ok := limits[name]; ok && q.Cmp(least) < 0 {
			return fmt.Sprintf("%s limit %s is below min %s", name, q.String(), least.String())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(item.Max)) {
		most := item.Max[name]
		q, ok := limits[name]
		switch request := requests[name]; {
		case !ok:
			return fmt.Sprintf("%s has no limit, and max is %s", name, most.String())
		case q.Cmp(most) > 0:
			return fmt.Sprintf("%s limit %s is above max %s", name, q.String(), most.String())
		case request.Cmp(most) > 0:
			return fmt.Sprintf("%s request %s is above max %s", name, request.String(), most.String())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(item.MaxLimitRequestRatio)) {
		ratio := item.MaxLimitRequestRatio[name]
		request, limit := requests[name], limits[name]
		if request.IsZero() || limit.IsZero() {
			return fmt.Sprintf("%s has a maxLimitRequestRatio of %s, and no request or no limit", name, ratio.String())
		}
		if got := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); got > ratio.AsApproximateFloat64() {
			return fmt.Sprintf("%s limit is %.2f times the request, and maxLimitRequestRatio is %s", name, got, ratio.String())
		}
	}
	return ""
}
