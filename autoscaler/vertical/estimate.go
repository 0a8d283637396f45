// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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

func scaled(a amount, factor float64) amount { return whole(float64(a) * factor) }

// Estimate is what a history asks for of one resource: millicores of cpu, bytes of memory.
type Estimate struct{ Target, LowerBound, UpperBound int64 }

// estimates are of cpu and memory, in the order of resources; nil where nothing was
// measured.
type estimates [2]*Estimate

func resourceNames() [2]corev1.ResourceName {
	return [2]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}
}

// estimate reads target and bounds from a history. The minimum of a pod is shared by
// its containers.
func (u *usage) estimate(s *scales, containers int) estimates {
	share := 1 / float64(containers)
	confidence := u.confidence()
	narrow, wide := math.Pow(1+0.001/confidence, -2), 1+1/confidence
	read := func(s *scale, h *histogram, unit float64, minimum amount) *Estimate {
		if h.isEmpty(s) {
			return nil
		}
		least := scaled(minimum, share)
		at := func(percentile, widening float64) int64 {
			a := whole(h.percentile(s, percentile) * unit)
			a += scaled(a, safetyMargin)
			return int64(max(scaled(a, widening), least))
		}
		return &Estimate{Target: at(targetPercentile, 1), LowerBound: at(lowerPercentile, narrow), UpperBound: at(upperPercentile, wide)}
	}
	return estimates{
		read(s.cpu, &u.cpu, 1000, podMinCPU),
		read(s.memory, &u.memory, 1, podMinMemory),
	}
}

// confidence is how many days of one sample per minute the history is worth. Bounds
// are infinitely wide at zero.
func (u *usage) confidence() float64 {
	lifespan := float64(u.last.sub(u.first)) / float64(halfLife)
	return min(lifespan, float64(u.samples)/minutesPerDay)
}

func quantity(a amount, name corev1.ResourceName) resource.Quantity {
	if name == corev1.ResourceCPU {
		return *resource.NewMilliQuantity(int64(a), resource.DecimalSI)
	}
	return *resource.NewQuantity(int64(a), resource.BinarySI)
}

// units are the millicores or bytes of a quantity, rounded up.
func units(q resource.Quantity, name corev1.ResourceName) amount {
	if name == corev1.ResourceCPU {
		return amount(q.MilliValue())
	}
	return amount(q.Value())
}
