// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"math"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// Without spec.behavior one sync at most doubles the replicas, or goes up to four:
// a bogus sample must not cost a cluster.
const (
	doubling = 2.0
	atLeast  = 4.0
)

func withinRange(replicas int32) limited {
	return limited{replicas: replicas, reason: "DesiredWithinRange", message: "the desired count is within the acceptable range"}
}

func tooFew(replicas int32) limited {
	return limited{replicas: replicas, reason: "TooFewReplicas", message: "the desired replica count is less than the minimum replica count"}
}

func tooMany(replicas int32) limited {
	return limited{replicas: replicas, reason: "TooManyReplicas", message: "the desired replica count is more than the maximum replica count"}
}

func tooFastUp(replicas int32) limited {
	return limited{replicas: replicas, reason: "ScaleUpLimit", message: "the desired replica count is increasing faster than the maximum scale rate"}
}

func tooFastDown(replicas int32) limited {
	return limited{replicas: replicas, reason: "ScaleDownLimit", message: "the desired replica count is decreasing faster than the maximum scale rate"}
}

// limitByDoubling is the rule without spec.behavior.
func limitByDoubling(current, desired, minReplicas, maxReplicas int32) limited {
	highest := tooMany(maxReplicas)
	if limit := saturate32(math.Max(doubling*float64(current), atLeast)); maxReplicas > limit {
		highest = tooFastUp(limit)
	}
	switch {
	case desired < minReplicas:
		return tooFew(minReplicas)
	case desired > highest.replicas:
		return highest
	}
	return withinRange(desired)
}

// limitByPolicies is the rule with spec.behavior. A limit already overdrawn by earlier changes
// stops the change; it never turns it round.
func (in *Input) limitByPolicies(h History, desired int32) limited {
	current, behavior := in.Scale.SpecReplicas, in.HPA.Spec.Behavior
	switch {
	case desired > current:
		highest := tooMany(in.HPA.Spec.MaxReplicas)
		rate, policy := in.rateLimit(h, behavior.ScaleUp, up)
		if limit := max(rate, current); highest.replicas > limit {
			highest = tooFastUp(limit)
			highest.policy = policy
		}
		if desired > highest.replicas {
			return highest
		}
	case desired < current:
		lowest := tooFew(in.minReplicas())
		rate, policy := in.rateLimit(h, behavior.ScaleDown, down)
		if limit := min(rate, current); lowest.replicas < limit {
			lowest = tooFastDown(limit)
			lowest.policy = policy
		}
		if desired < lowest.replicas {
			return lowest
		}
	}
	return withinRange(desired)
}

// direction is +1 or -1.
type direction int32

const (
	up   direction = 1
	down direction = -1
)

// rateLimit is how far the policies let the replicas go in one direction, counted for each policy
// from the replicas at the start of its period, and which policy says so.
func (in *Input) rateLimit(h History, rules *autoscalingv2.HPAScalingRules, to direction) (limit int32, by autoscalingv2.HPAScalingPolicy) {
	current := in.Scale.SpecReplicas
	choose := autoscalingv2.MaxChangePolicySelect
	if rules.SelectPolicy != nil {
		choose = *rules.SelectPolicy
	}
	if choose == autoscalingv2.DisabledPolicySelect {
		return current, by
	}
	highest := (choose == autoscalingv2.MinChangePolicySelect) == (to == down)
	limit = math.MaxInt32
	if highest {
		limit = math.MinInt32
	}
	for i, policy := range rules.Policies {
		start := current - in.changed(h.ScaleUps, policy.PeriodSeconds) + in.changed(h.ScaleDowns, policy.PeriodSeconds)
		if proposed := reach(policy, start, to); i == 0 || highest && proposed > limit || !highest && proposed < limit {
			limit, by = proposed, policy
		}
	}
	return limit, by
}

// reach is where a policy lets the replicas go from start. A percentage upwards is rounded up,
// or a small set could never grow; downwards it is truncated.
func reach(policy autoscalingv2.HPAScalingPolicy, start int32, to direction) int32 {
	if policy.Type == autoscalingv2.PodsScalingPolicy {
		return start + int32(to)*policy.Value
	}
	share := float64(policy.Value) / 100
	if to == up {
		return saturate32(math.Ceil(float64(start) * (1 + share)))
	}
	return saturate32(float64(start) * (1 - share))
}

// changed is by how much the replicas changed in the last period.
func (in *Input) changed(events []ScaleEvent, periodSeconds int32) int32 {
	cutoff := in.Now.Add(-time.Duration(periodSeconds) * time.Second)
	var sum int32
	for _, event := range events {
		if event.Time.After(cutoff) {
			sum += event.Change
		}
	}
	return sum
}

// scaled records a change that was written. Without spec.behavior nothing would read it.
func (h History) scaled(in Input, from, to int32) History {
	behavior := in.HPA.Spec.Behavior
	switch {
	case behavior == nil:
	case to > from:
		h.ScaleUps = in.record(h.ScaleUps, to-from, behavior.ScaleUp)
	default:
		h.ScaleDowns = in.record(h.ScaleDowns, from-to, behavior.ScaleDown)
	}
	return h
}

func (in *Input) record(events []ScaleEvent, change int32, rules *autoscalingv2.HPAScalingRules) []ScaleEvent {
	var longest int32
	for _, policy := range rules.Policies {
		longest = max(longest, policy.PeriodSeconds)
	}
	cutoff := in.Now.Add(-time.Duration(longest) * time.Second)
	events = slices.Clone(events)
	for i := range events {
		events[i].Outdated = events[i].Outdated || events[i].Time.Before(cutoff)
	}
	return remember(events, ScaleEvent{Change: change, Time: in.Now}, func(e ScaleEvent) bool { return e.Outdated })
}
