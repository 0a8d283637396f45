// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
)

// limited is a replica count, with the reason and message of the condition that tells what became of it.
type limited struct {
	replicas        int32
	reason, message string

	by     Recommendation                 // what stabilization followed
	policy autoscalingv2.HPAScalingPolicy // what set the rate
}

// normalize stabilizes the proposal against recent ones, records it, and limits the result.
func (d *Decision) normalize(in Input, proposed int32) int32 {
	var stable, final limited
	if in.HPA.Spec.Behavior == nil {
		stable, d.History = in.stabilizeDown(d.History, proposed)
		final = limitByDoubling(in.Scale.SpecReplicas, stable.replicas, in.minReplicas(), in.HPA.Spec.MaxReplicas)
	} else {
		stable, d.History = in.stabilizeBothWays(d.History, proposed)
		final = in.limitByPolicies(d.History, stable.replicas)
	}
	if stable.replicas == proposed {
		stable = limited{replicas: proposed, reason: "ReadyForNewScale", message: "recommended size matches current size"}
	}
	d.setCondition(in.Now, autoscalingv2.AbleToScale, v1.ConditionTrue, stable.reason, stable.message)
	status := v1.ConditionTrue
	if final.replicas == stable.replicas {
		status = v1.ConditionFalse
	}
	d.setCondition(in.Now, autoscalingv2.ScalingLimited, status, final.reason, final.message)
	d.Explanation.Stabilized, d.Explanation.StabilizedBy = stable.replicas, stable.by
	d.Explanation.Limit, d.Explanation.Policy = final.reason, final.policy
	return final.replicas
}

// stabilizeDown is the rule without spec.behavior: the highest recommendation of the window.
func (in *Input) stabilizeDown(h History, proposed int32) (limited, History) {
	cutoff := in.Now.Add(-in.Config.DownscaleStabilization)
	highest := Recommendation{proposed, in.Now}
	for _, r := range h.Recommendations {
		if !r.Time.Before(cutoff) && r.Replicas > highest.Replicas {
			highest = r
		}
	}
	h.Recommendations = remember(h.Recommendations, Recommendation{proposed, in.Now},
		func(r Recommendation) bool { return r.Time.Before(cutoff) })
	return higherBefore(highest), h
}

// stabilizeBothWays is the rule with spec.behavior: the current replicas, moved no further than into the span between the
// lowest recommendation of the scale-up window and the highest of the scale-down window.
func (in *Input) stabilizeBothWays(h History, proposed int32) (limited, History) {
	current := in.Scale.SpecReplicas
	upCutoff := in.Now.Add(-window(in.HPA.Spec.Behavior.ScaleUp, 0))
	downCutoff := in.Now.Add(-window(in.HPA.Spec.Behavior.ScaleDown, in.Config.DownscaleStabilization))
	up, down := Recommendation{proposed, in.Now}, Recommendation{proposed, in.Now}
	for _, r := range h.Recommendations {
		if r.Time.After(upCutoff) && r.Replicas < up.Replicas {
			up = r
		}
		if r.Time.After(downCutoff) && r.Replicas > down.Replicas {
			down = r
		}
	}
	h.Recommendations = remember(h.Recommendations, Recommendation{proposed, in.Now},
		func(r Recommendation) bool { return r.Time.Before(upCutoff) && r.Time.Before(downCutoff) })
	stable := Recommendation{current, in.Now}
	if stable.Replicas < up.Replicas {
		stable = up
	}
	if stable.Replicas > down.Replicas {
		stable = down
	}
	if proposed < current {
		return higherBefore(stable), h
	}
	return limited{replicas: stable.Replicas, by: stable, reason: "ScaleUpStabilized",
		message: "recent recommendations were lower than current one, applying the lowest recent recommendation"}, h
}

func higherBefore(by Recommendation) limited {
	return limited{replicas: by.Replicas, by: by, reason: "ScaleDownStabilized",
		message: "recent recommendations were higher than current one, applying the highest recent recommendation"}
}

// window is the rules' stabilization window, or the flag in whole seconds.
func window(rules *autoscalingv2.HPAScalingRules, flag time.Duration) time.Duration {
	if rules == nil || rules.StabilizationWindowSeconds == nil {
		return flag.Truncate(time.Second)
	}
	return time.Duration(*rules.StabilizationWindowSeconds) * time.Second
}

// remember returns the list with one more entry, in place of the last that is reusable or else at the end.
// The list given stays as it is.
func remember[T any](list []T, entry T, reusable func(T) bool) []T {
	list = slices.Clone(list)
	for i, old := range slices.Backward(list) {
		if reusable(old) {
			list[i] = entry
			return list
		}
	}
	return append(list, entry)
}
