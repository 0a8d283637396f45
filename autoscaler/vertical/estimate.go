// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/util"
)

// The constants of upstream's recommender, at the defaults of its flags.
const (
	targetPercentile = 0.9
	lowerPercentile  = 0.5
	upperPercentile  = 0.95
	safetyMargin     = 0.15
	podMinCPU        = amount(25)
	podMinMemory     = amount(250 << 20)
	minutesPerDay    = 24 * 60
)

// amount is millicores or bytes. Every step truncates to whole units, as upstream does,
// or the results would differ in the last one.
type amount int64

const maxAmount = amount(1e14)

func whole(x float64) amount {
	switch {
	case x > float64(maxAmount):
		return maxAmount
	case x > 0:
		return amount(x)
	default:
		return 0
	}
}

func scale(a amount, factor float64) amount { return whole(float64(a) * factor) }

// estimate reads target and bounds from a history. The minimum of a pod is shared by
// its containers.
func estimate(u *usage, containers int, policy *vpav1.ContainerResourcePolicy) Container {
	c := Container{Samples: u.samples, First: u.first, Last: u.last, Confidence: u.confidence()}
	c.Target, c.LowerBound, c.UpperBound = corev1.ResourceList{}, corev1.ResourceList{}, corev1.ResourceList{}
	for _, r := range []struct {
		name    corev1.ResourceName
		history util.Histogram
		unit    float64
		minimum amount
		write   func(amount) resource.Quantity
	}{
		{corev1.ResourceCPU, u.cpu, 1000, podMinCPU, cpuQuantity},
		{corev1.ResourceMemory, u.memoryPeaks, 1, podMinMemory, memoryQuantity},
	} {
		if r.history.IsEmpty() || !controls(policy, r.name) {
			continue
		}
		least := scale(r.minimum, 1/float64(containers))
		at := func(percentile, widening float64) resource.Quantity {
			a := whole(r.history.Percentile(percentile) * r.unit)
			a += scale(a, safetyMargin)
			return r.write(max(scale(a, widening), least))
		}
		c.Target[r.name] = at(targetPercentile, 1)
		c.LowerBound[r.name] = at(lowerPercentile, math.Pow(1+0.001/c.Confidence, -2))
		c.UpperBound[r.name] = at(upperPercentile, 1+1/c.Confidence)
	}
	c.UncappedTarget = c.Target.DeepCopy()
	return c
}

// confidence is how many days of one sample per minute the history is worth. Bounds
// are infinitely wide at zero.
func (u *usage) confidence() float64 {
	lifespan := float64(u.last.Sub(u.first)) / float64(halfLife)
	return min(lifespan, float64(u.samples)/minutesPerDay)
}

func cpuQuantity(a amount) resource.Quantity {
	return *resource.NewMilliQuantity(int64(a), resource.DecimalSI)
}

func memoryQuantity(a amount) resource.Quantity {
	return *resource.NewQuantity(int64(a), resource.BinarySI)
}
