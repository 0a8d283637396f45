// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"math"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// tolerances are how far below and above 1 a ratio may be without scaling.
type tolerances struct {
	down, up float64
}

func (t tolerances) within(ratio float64) bool {
	return 1-t.down <= ratio && ratio <= 1+t.up
}

func (in *Input) tolerances() tolerances {
	t := tolerances{down: in.Config.Tolerance, up: in.Config.Tolerance}
	behavior := in.HPA.Spec.Behavior
	if behavior == nil {
		return t
	}
	or := func(rules *autoscalingv2.HPAScalingRules, flag float64) float64 {
		if rules == nil || rules.Tolerance == nil {
			return flag
		}
		return rules.Tolerance.AsApproximateFloat64()
	}
	return tolerances{down: or(behavior.ScaleDown, t.down), up: or(behavior.ScaleUp, t.up)}
}

// totals are sums over the pods that count. Usage and requests are milli-units.
type totals struct {
	usage, requests, pods int64
}

func (t *totals) add(usage, request int64) {
	t.usage += usage
	t.requests += request
	t.pods++
}

// target is what an HPA asks of the average pod.
type target interface {
	// ratio of the current value to the target, and that value, both by integer division as upstream divides.
	ratio(totals) (ratio float64, value int64)
	// assumed is the usage of a pod without a sample when the others call for fewer replicas.
	assumed(request int64) int64
}

// utilization is a target in percent of the request.
type utilization int32

func (u utilization) ratio(t totals) (float64, int64) {
	current := int32(t.usage * 100 / t.requests)
	return float64(current) / float64(u), int64(current)
}

// assumed is the whole request, or the target where that is more: a missing pod never scales down.
func (u utilization) assumed(request int64) int64 {
	return request * int64(max(100, u)) / 100
}

// averageValue is a target in milli-units.
type averageValue int64

func (a averageValue) ratio(t totals) (float64, int64) {
	current := t.usage / t.pods
	return float64(current) / float64(a), current
}

func (a averageValue) assumed(int64) int64 {
	return int64(a)
}

// knownOf is what the samples say for sure.
func knownOf(pods []sample) totals {
	var known totals
	for _, pod := range pods {
		if pod.known() {
			known.add(pod.usage, pod.request)
		}
	}
	return known
}

// resize fills why with the replicas that bring the value to the target. A pod whose usage is not known
// counts only against the direction in which the others point, and never turns it round.
func resize(current int32, pods []sample, t target, tolerated tolerances, why *MetricExplanation) {
	known := knownOf(pods)
	ratio, value := t.ratio(known)
	why.Value, why.Ratio, why.AssumedRatio, why.Proposal = value, ratio, ratio, current

	fillUnready := why.Unready > 0 && ratio > 1
	if !fillUnready && why.Missing == 0 {
		if tolerated.within(ratio) {
			why.Kept = WithinTolerance
			return
		}
		why.Proposal = saturate32(math.Ceil(ratio * float64(why.Ready)))
		return
	}

	assumed := known
	for _, pod := range pods {
		switch {
		case pod.group == missing && ratio < 1:
			assumed.add(t.assumed(pod.request), pod.request)
		case pod.group == missing && ratio > 1, pod.group == unready && fillUnready:
			assumed.add(0, pod.request)
		}
	}
	ratioNow, _ := t.ratio(assumed)
	why.AssumedRatio = ratioNow
	proposal := saturate32(math.Ceil(ratioNow * float64(assumed.pods)))
	switch {
	case tolerated.within(ratioNow):
		why.Kept = WithinTolerance
	case ratio < 1 && ratioNow > 1, ratio > 1 && ratioNow < 1,
		ratioNow < 1 && proposal > current, ratioNow > 1 && proposal < current:
		why.Kept = InDoubt
	default:
		why.Proposal = proposal
	}
}
