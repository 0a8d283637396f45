// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	corev1 "k8s.io/api/core/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// FitInput is a recommendation on its way to one pod.
type FitInput struct {
	// Containers are those of the pod, with the resources that are in effect.
	Containers  []Running
	Recommended []vpav1.RecommendedContainerResources
	Policy      *vpav1.PodResourcePolicy
	// LimitRanges are those of the pod's namespace.
	LimitRanges []corev1.LimitRange
}

// Running is a container as it is.
type Running struct {
	Name             string
	Requests, Limits corev1.ResourceList
}

// Size is what a container of the pod can have.
type Size struct {
	// Target, LowerBound and UpperBound are requests, as recommended but for the caps.
	vpav1.RecommendedContainerResources
	// Limits are those to set with the target; nil leaves the limits as they are.
	Limits corev1.ResourceList
	// Caps tell what held the target, the last one of each resource.
	Caps map[corev1.ResourceName]Cap
}

// What holds a recommendation on its way to a pod.
const (
	LimitRangeMin    Cap = "minimum of a LimitRange"
	LimitRangeMax    Cap = "maximum of a LimitRange"
	PodLimitRangeMin Cap = "minimum of a pod in a LimitRange"
	PodLimitRangeMax Cap = "maximum of a pod in a LimitRange"
	ContainerLimit   Cap = "limit of the container"
)

// Fit makes a recommendation fit a pod and its namespace, as upstream's updater and
// admission do (utils/vpa/capping.go), one size for each container that has a recommendation.
// Limits keep their ratio to requests, or where the policy says RequestsOnly, requests stay
// below them.
//
// It differs where a container has no recommendation: upstream scales it too if the pod
// does not fit a LimitRange, or panics. Here it stays, and the others share what is left.
func Fit(in FitInput) []Size {
	var sizes []fitting
	for _, c := range in.Containers {
		f := fitting{running: c, fixed: true}
		i := slices.IndexFunc(in.Recommended, func(r vpav1.RecommendedContainerResources) bool { return r.ContainerName == c.Name })
		if i >= 0 {
			f.fixed, f.wanted = false, *in.Recommended[i].DeepCopy()
		}
		for i, name := range resourceNames() {
			f.request[i], f.limit[i] = units(c.Requests[name], name), units(c.Limits[name], name)
		}
		sizes = append(sizes, f)
	}
	fitPod(sizes, limitsOf(in.LimitRanges, corev1.LimitTypePod))
	var out []Size
	of := limitsOf(in.LimitRanges, corev1.LimitTypeContainer)
	for _, f := range sizes {
		if !f.fixed {
			out = append(out, f.fit(in.Policy, of))
		}
	}
	return out
}

// fitting is a container whose size is being found.
type fitting struct {
	running        Running
	fixed          bool
	wanted         vpav1.RecommendedContainerResources
	request, limit [2]amount
	caps           map[corev1.ResourceName]Cap
}

func (f *fitting) held(name corev1.ResourceName, by Cap) {
	if f.caps == nil {
		f.caps = map[corev1.ResourceName]Cap{}
	}
	f.caps[name] = by
}

// lists are the three that are fitted alike; only the first one's caps are told.
func (f *fitting) lists() [3]corev1.ResourceList {
	return [3]corev1.ResourceList{f.wanted.Target, f.wanted.LowerBound, f.wanted.UpperBound}
}

// limits are what LimitRanges allow; zero is nothing said.
type limits struct{ least, most, standard [2]amount }

// limitsOf takes the strictest of several LimitRanges; of defaults, the last by name.
func limitsOf(ranges []corev1.LimitRange, kind corev1.LimitType) limits {
	var out limits
	ranges = slices.SortedFunc(slices.Values(ranges), func(a, b corev1.LimitRange) int { return cmp.Compare(a.Name, b.Name) })
	for _, r := range ranges {
		for _, item := range r.Spec.Limits {
			if item.Type != kind {
				continue
			}
			for i, name := range resourceNames() {
				if q, ok := item.Min[name]; ok {
					out.least[i] = max(out.least[i], units(q, name))
				}
				if q, ok := item.Max[name]; ok && (out.most[i] == 0 || units(q, name) < out.most[i]) {
					out.most[i] = units(q, name)
				}
				if q, ok := item.Default[name]; ok {
					out.standard[i] = units(q, name)
				}
			}
		}
	}
	return out
}

// fitPod scales what is recommended, so that limits together stay below the maximum of a
// pod, and requests together above the minimum.
func fitPod(all []fitting, of limits) {
	for i, name := range resourceNames() {
		for list := range 3 {
			fitPodResource(all, i, name, list, of)
		}
	}
}

func fitPodResource(all []fitting, i int, name corev1.ResourceName, list int, of limits) {
	var requests, limits, fixedRequests, fixedLimits amount
	for _, f := range all {
		request := f.request[i]
		if q, ok := f.lists()[list][name]; ok && !f.fixed {
			request = units(q, name)
		} else if !f.fixed {
			request = 0
		}
		limit := proportionalLimit(f.limit[i], f.request[i], request, of.standard[i])
		if f.fixed {
			fixedRequests, fixedLimits = fixedRequests+request, fixedLimits+f.limit[i]
			limit = f.limit[i]
		}
		requests, limits = requests+request, limits+limit
	}
	least, most := of.least[i], of.most[i]
	var to, from amount
	by, roundUp := PodLimitRangeMax, false
	switch {
	case least <= limits && least <= requests && (most == 0 || limits <= most), limits == 0:
		return
	case least > requests:
		by, roundUp = PodLimitRangeMin, name == corev1.ResourceCPU
		to, from = least-fixedRequests, requests-fixedRequests
	case most != 0 && limits > most:
		to, from = most-fixedLimits, limits-fixedLimits
	default:
		by = PodLimitRangeMin
		to, from = least-fixedLimits, limits-fixedLimits
	}
	if to <= 0 || from <= 0 {
		return // those that stay as they are fill the pod alone
	}
	for j := range all {
		q, ok := all[j].lists()[list][name]
		if !ok || all[j].fixed {
			continue
		}
		all[j].lists()[list][name] = quantity(proportion(units(q, name), to, from, roundUp), name)
		if list == 0 {
			all[j].held(name, by)
		}
	}
}

// fit applies what concerns the container alone, and sets its limits.
func (f *fitting) fit(policies *vpav1.PodResourcePolicy, of limits) Size {
	p := policyFor(policies, f.running.Name)
	requestsOnly := p != nil && p.ControlledValues != nil && *p.ControlledValues == vpav1.ContainerControlledValuesRequestsOnly
	out := Size{Limits: corev1.ResourceList{}}
	for i, name := range resourceNames() {
		for list, amounts := range f.lists() {
			q, ok := amounts[name]
			if !ok {
				continue
			}
			a, by := f.capped(i, units(q, name), of)
			if held, policy := boundsOf(p, nil, name).cap(a); policy != "" {
				a, by = held, policy
			}
			if limit := f.limit[i]; requestsOnly && limit > 0 && a > limit {
				a, by = limit, ContainerLimit
			}
			amounts[name] = quantity(a, name)
			if list > 0 {
				continue
			}
			if by != "" {
				f.held(name, by)
			}
			if limit := proportionalLimit(f.limit[i], f.request[i], a, of.standard[i]); limit > 0 && !requestsOnly {
				out.Limits[name] = quantity(limit, name)
			}
		}
	}
	if len(out.Limits) == 0 {
		out.Limits = nil
	}
	out.RecommendedContainerResources, out.Caps = f.wanted, f.caps
	return out
}

// capped keeps an amount, and the limit that follows from it, within a LimitRange.
func (f *fitting) capped(i int, a amount, of limits) (amount, Cap) {
	by := Cap("")
	least := max(f.boundary(i, of.least[i], of.standard[i]), of.least[i])
	if least > 0 && a < least {
		a, by = least, LimitRangeMin
	}
	if most := f.boundary(i, of.most[i], of.standard[i]); most > 0 && a > most {
		a, by = most, LimitRangeMax
	}
	return a, by
}

// boundary is the request with which the limit is at the bound, zero without a limit.
func (f *fitting) boundary(i int, bound, standard amount) amount {
	limit := f.limit[i]
	if limit == 0 {
		limit = standard
	}
	switch {
	case limit == 0:
		return 0
	case f.request[i] == 0:
		return bound
	default:
		return proportion(f.request[i], bound, limit, false)
	}
}

// proportionalLimit is to the request as the limit in effect is to its request, zero where
// there is none to keep. A limit without a request stands for both.
func proportionalLimit(limit, request, to, standard amount) amount {
	if limit == 0 {
		limit = standard
	}
	switch {
	case limit == 0 || to == 0:
		return 0
	case request == 0 || request == limit:
		return to
	default:
		return proportion(limit, to, request, false)
	}
}

// proportion is a * b / c, none of which is negative, or the most there is.
func proportion(a, b, c amount, roundUp bool) amount {
	high, low := bits.Mul64(uint64(a), uint64(b))
	if high >= uint64(c) {
		return math.MaxInt64
	}
	q, rest := bits.Div64(high, low, uint64(c))
	if q >= math.MaxInt64 {
		return math.MaxInt64
	}
	if roundUp && rest > 0 {
		q++
	}
	return amount(q)
}
