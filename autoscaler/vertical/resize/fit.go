// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// fit turns recommendations into what the pod may have: within the LimitRanges of its
// namespace and the policy of its VPA, in the order of upstream's capping processor
// (pkg/utils/vpa/capping.go), limits in the ratio to requests that they have now unless
// the policy says RequestsOnly. Limits are never added.
//
// Bounds go the same way and always hold the target, or a pod that has it would be
// found outside of them for ever.
//
// Unlike upstream: a limit that stays where it is does not tighten a LimitRange, and
// maxLimitRequestRatio is kept.
func fit(p Pod, policy *vpav1.PodResourcePolicy, ranges []*v1.LimitRange) ([]Recommendation, Sizes) {
	have := sizesOf(p.Object.Spec.Containers)
	var recs []Recommendation
	for _, r := range p.Containers {
		if _, ok := have[r.Container]; !ok || isOff(policyFor(policy, r.Container)) {
			continue
		}
		recs = append(recs, Recommendation{Container: r.Container, Target: only(r.Target), Lower: only(r.Lower), Upper: only(r.Upper)})
	}
	f := fitting{pod: p.Object, have: have, policy: policy, ranges: ranges}
	for _, pick := range []func(*Recommendation) v1.ResourceList{
		func(r *Recommendation) v1.ResourceList { return r.Target },
		func(r *Recommendation) v1.ResourceList { return r.Lower },
		func(r *Recommendation) v1.ResourceList { return r.Upper },
	} {
		lists := map[string]v1.ResourceList{}
		for i := range recs {
			lists[recs[i].Container] = pick(&recs[i])
		}
		f.withinPod(lists)
		for name, list := range lists {
			f.withinContainer(name, list)
		}
	}
	to := Sizes{}
	for _, r := range recs {
		for name, target := range r.Target {
			if q, ok := r.Lower[name]; ok && q.Cmp(target) > 0 {
				r.Lower[name] = target
			}
			if q, ok := r.Upper[name]; ok && q.Cmp(target) < 0 {
				r.Upper[name] = target
			}
		}
		to[r.Container] = f.sized(r.Container, r.Target)
	}
	return recs, to
}

// fitting is what recommendations of a pod are fitted to.
type fitting struct {
	pod    *v1.Pod
	have   Sizes
	policy *vpav1.PodResourcePolicy
	ranges []*v1.LimitRange
}

// sized is the container with these requests.
func (f fitting) sized(name string, requests v1.ResourceList) v1.ResourceRequirements {
	have := f.have[name]
	out := v1.ResourceRequirements{Requests: only(have.Requests), Limits: only(have.Limits)}
	for r, q := range requests {
		put(&out.Requests, r, q)
		limit, ok := have.Limits[r]
		if !ok || limit.IsZero() || q.IsZero() || requestsOnly(policyFor(f.policy, name)) {
			continue
		}
		was, ok := have.Requests[r]
		if !ok || was.IsZero() || was.Cmp(limit) == 0 {
			put(&out.Limits, r, q)
			continue
		}
		put(&out.Limits, r, scaled(r, limit, q, was))
	}
	return out
}

// withinContainer keeps requests within the LimitRange items for containers, then
// within the VPA's policy, then below a limit that does not move.
func (f fitting) withinContainer(name string, requests v1.ResourceList) {
	policy := policyFor(f.policy, name)
	for r, q := range requests {
		limit, hasLimit := f.have[name].Limits[r]
		was := f.have[name].Requests[r]
		fixed := requestsOnly(policy)
		for _, item := range items(f.ranges, v1.LimitTypeContainer) {
			if least, ok := item.Min[r]; ok {
				q = larger(q, least)
			}
			if ratio, ok := item.MaxLimitRequestRatio[r]; ok && fixed && hasLimit && ratio.MilliValue() > 0 {
				q = larger(q, leastFor(r, limit, ratio))
			}
			if most, ok := item.Max[r]; ok && !most.IsZero() && hasLimit {
				if !fixed && !was.IsZero() {
					most = scaled(r, was, most, limit)
				}
				q = smaller(q, most)
			}
		}
		if policy != nil {
			if least, ok := policy.MinAllowed[r]; ok {
				q = larger(q, least)
			}
			if most, ok := policy.MaxAllowed[r]; ok && !most.IsZero() {
				q = smaller(q, most)
			}
		}
		if fixed && hasLimit {
			q = smaller(q, limit)
		}
		requests[r] = q
	}
}

// withinPod scales the requests of all containers by one factor where the pod would
// leave a LimitRange item for pods. Containers without a recommendation keep theirs.
func (f fitting) withinPod(lists map[string]v1.ResourceList) {
	for _, item := range items(f.ranges, v1.LimitTypePod) {
		for _, r := range resizable() {
			if most, ok := item.Max[r]; ok && !most.IsZero() {
				f.shrink(r, lists, most)
			}
			if least, ok := item.Min[r]; ok {
				f.stretch(r, lists, least)
			}
		}
	}
}

// shrink brings the limits of the pod, or its requests where it has no limits, down to most.
func (f fitting) shrink(r v1.ResourceName, lists map[string]v1.ResourceList, most resource.Quantity) {
	of := func(size v1.ResourceRequirements) resource.Quantity {
		if q, ok := size.Limits[r]; ok {
			return q
		}
		return size.Requests[r]
	}
	moving, fixed := f.sums(r, lists, of)
	most.Sub(fixed)
	if moving.Cmp(most) <= 0 || most.Sign() <= 0 {
		return
	}
	for _, list := range lists {
		if q, ok := list[r]; ok {
			list[r] = scaled(r, q, most, moving)
		}
	}
}

// stretch brings the requests of the pod up to least.
func (f fitting) stretch(r v1.ResourceName, lists map[string]v1.ResourceList, least resource.Quantity) {
	moving, fixed := f.sums(r, lists, func(size v1.ResourceRequirements) resource.Quantity { return size.Requests[r] })
	least.Sub(fixed)
	if moving.Cmp(least) >= 0 || moving.IsZero() {
		return
	}
	for _, list := range lists {
		if q, ok := list[r]; ok {
			list[r] = scaledUp(r, q, least, moving)
		}
	}
}

// sums adds up the containers that a recommendation moves, and the others.
func (f fitting) sums(r v1.ResourceName, lists map[string]v1.ResourceList, of func(v1.ResourceRequirements) resource.Quantity) (moving, fixed resource.Quantity) {
	for name, size := range f.have {
		list, ok := lists[name]
		if _, has := list[r]; !ok || !has {
			fixed.Add(of(size))
			continue
		}
		moving.Add(of(f.sized(name, list)))
	}
	for _, c := range f.pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			fixed.Add(of(c.Resources))
		}
	}
	return moving, fixed
}

func items(ranges []*v1.LimitRange, kind v1.LimitType) []v1.LimitRangeItem {
	var out []v1.LimitRangeItem
	for _, r := range ranges {
		out = append(out, slices.DeleteFunc(slices.Clone(r.Spec.Limits), func(i v1.LimitRangeItem) bool { return i.Type != kind })...)
	}
	return out
}

// leastFor is the least request that a ratio leaves to a limit.
func leastFor(r v1.ResourceName, limit, ratio resource.Quantity) resource.Quantity {
	// A ratio has no unit: thousandths keep the fraction of one such as 1.5.
	thousand, thousandths := resource.NewQuantity(1000, resource.DecimalSI), resource.NewQuantity(ratio.MilliValue(), resource.DecimalSI)
	return scaledUp(r, limit, *thousand, *thousandths)
}

func larger(a, b resource.Quantity) resource.Quantity {
	if a.Cmp(b) >= 0 {
		return a
	}
	return b
}

func smaller(a, b resource.Quantity) resource.Quantity {
	if a.Cmp(b) <= 0 {
		return a
	}
	return b
}
