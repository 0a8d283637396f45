// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/util"
)

// scale is the buckets of one resource, as upstream's options cut them. All histograms
// of a resource share one.
type scale struct {
	util.HistogramOptions
	// ends are what a percentile reads that falls into a bucket: where the bucket ends,
	// or for the last one, which has no end, where it starts.
	ends []float64
}

func newScale(options util.HistogramOptions) *scale {
	s := &scale{HistogramOptions: options, ends: make([]float64, options.NumBuckets())}
	for bucket := range s.ends {
		s.ends[bucket] = options.GetBucketStart(min(bucket+1, len(s.ends)-1))
	}
	return s
}

// histogram is upstream's decaying histogram (recommender/util/decaying_histogram.go),
// equal to it in every bucket and to the last bit. It keeps the buckets that were ever
// used where upstream keeps all 176: the usage of a container spans few of them.
//
// A sample weighs twice as much as one of the same weight a half life before. Weights are
// relative to the reference time, which moves on before they overflow.
type histogram struct {
	// weights are of the buckets from low on; the others weigh nothing.
	weights []float64
	total   float64
	// reference is in Unix seconds: it is a multiple of the half life, or from a checkpoint.
	reference int64
	low       uint8
	// first and last enclose the buckets that weigh something. What is too light to count
	// may lie outside of them, and counts when they widen.
	first, last uint8
}

const longestDecay = 100 * halfLife

func newHistogram(s *scale) histogram {
	return histogram{reference: time.Time{}.Unix(), first: uint8(len(s.ends) - 1)}
}

func (h *histogram) weight(bucket int) float64 {
	if i := bucket - int(h.low); i >= 0 && i < len(h.weights) {
		return h.weights[i]
	}
	return 0
}

// reach makes room for the buckets from low to high and no more.
func (h *histogram) reach(low, high int) {
	if len(h.weights) == 0 {
		h.low = uint8(low)
	}
	before, after := int(h.low)-low, high-int(h.low)-len(h.weights)+1
	if before <= 0 && after <= 0 {
		return
	}
	before, after = max(before, 0), max(after, 0)
	h.weights = slices.Concat(make([]float64, before), h.weights, make([]float64, after))
	h.low -= uint8(before)
}

func (h *histogram) add(s *scale, value, weight float64, at time.Time) {
	weight *= h.growth(s, at)
	bucket := s.FindBucket(value)
	h.reach(bucket, bucket)
	w := &h.weights[bucket-int(h.low)]
	*w += weight
	h.total += weight
	if *w >= s.Epsilon() {
		h.first, h.last = min(h.first, uint8(bucket)), max(h.last, uint8(bucket))
	}
}

// subtract takes a sample back that was added.
func (h *histogram) subtract(s *scale, value, weight float64, at time.Time) {
	less := func(from float64) float64 {
		if from -= weight; from >= s.Epsilon() {
			return from
		}
		return 0
	}
	weight *= h.growth(s, at)
	h.total = less(h.total)
	if i := s.FindBucket(value) - int(h.low); i >= 0 && i < len(h.weights) {
		h.weights[i] = less(h.weights[i])
	}
	h.trim(s)
}

// growth is how much heavier than at the reference time a sample is.
func (h *histogram) growth(s *scale, at time.Time) float64 {
	if at.After(time.Unix(h.reference, 0).Add(longestDecay)) {
		h.shift(s, at)
	}
	return math.Exp2(float64(at.Sub(time.Unix(h.reference, 0))) / float64(halfLife))
}

func (h *histogram) shift(s *scale, to time.Time) {
	to = to.Round(halfLife)
	halves := round(float64(time.Unix(h.reference, 0).Sub(to)) / float64(halfLife))
	factor := math.Ldexp(1, halves)
	for bucket := int(h.first); bucket <= int(h.last); bucket++ {
		if i := bucket - int(h.low); i >= 0 && i < len(h.weights) {
			h.weights[i] *= factor
		}
	}
	h.total *= factor
	h.trim(s)
	h.reference = to.Unix()
}

// trim leaves out buckets at both ends that have become too light.
func (h *histogram) trim(s *scale) {
	for h.weight(int(h.first)) < s.Epsilon() && int(h.first) < len(s.ends)-1 {
		h.first++
	}
	for h.weight(int(h.last)) < s.Epsilon() && h.last > 0 {
		h.last--
	}
}

// merge adds what other holds. The one of the older reference is brought to that of the
// younger, be it the other: so upstream does, and what is too light is lost there.
func (h *histogram) merge(s *scale, other *histogram) {
	switch {
	case h.reference < other.reference:
		h.shift(s, time.Unix(other.reference, 0))
	case other.reference < h.reference:
		other.shift(s, time.Unix(h.reference, 0))
	}
	if other.first <= other.last {
		h.reach(int(other.first), int(other.last))
		for bucket := int(other.first); bucket <= int(other.last); bucket++ {
			h.weights[bucket-int(h.low)] += other.weight(bucket)
		}
	}
	h.total += other.total
	h.first, h.last = min(h.first, other.first), max(h.last, other.last)
}

// reset empties a histogram and keeps its room.
func (h *histogram) reset(s *scale) {
	clear(h.weights)
	*h = histogram{weights: h.weights, low: h.low, reference: time.Time{}.Unix(), first: uint8(len(s.ends) - 1)}
}

func (h *histogram) isEmpty(s *scale) bool { return h.weight(int(h.first)) < s.Epsilon() }

// percentile is zero for an empty histogram.
func (h *histogram) percentile(s *scale, p float64) float64 {
	if h.isEmpty(s) {
		return 0
	}
	sum, threshold, bucket := 0.0, p*h.total, int(h.first)
	for ; bucket < int(h.last); bucket++ {
		if sum += h.weight(bucket); sum >= threshold {
			break
		}
	}
	return s.ends[bucket]
}

// heaviestBucket is the weight of the heaviest bucket in a checkpoint, which all others
// are rounded against.
const heaviestBucket = 10000

func (h *histogram) save() vpav1.HistogramCheckpoint {
	c := vpav1.HistogramCheckpoint{
		ReferenceTimestamp: metav1.NewTime(time.Unix(h.reference, 0).UTC()),
		BucketWeights:      map[int]uint32{},
		TotalWeight:        h.total,
	}
	heaviest := 0.0
	for bucket := int(h.first); bucket <= int(h.last); bucket++ {
		heaviest = max(heaviest, h.weight(bucket))
	}
	ratio := heaviestBucket / heaviest
	for bucket := int(h.first); bucket <= int(h.last); bucket++ {
		if w := uint32(round(h.weight(bucket) * ratio)); w > 0 {
			c.BucketWeights[bucket] = w
		}
	}
	return c
}

// load adds what a checkpoint holds to an empty histogram. A checkpoint that is refused
// leaves it as it was.
func (h *histogram) load(s *scale, c vpav1.HistogramCheckpoint) error {
	if c.TotalWeight < 0 || math.IsNaN(c.TotalWeight) || math.IsInf(c.TotalWeight, 1) {
		return fmt.Errorf("a total weight of %v", c.TotalWeight)
	}
	sum, low, high := int64(0), len(s.ends), -1
	for bucket, weight := range c.BucketWeights {
		if bucket < 0 || bucket >= len(s.ends) {
			return errors.New("a bucket outside of the histogram")
		}
		sum += int64(weight)
		low, high = min(low, bucket), max(high, bucket)
	}
	h.reference = c.ReferenceTimestamp.Unix()
	if sum == 0 {
		return nil
	}
	ratio := c.TotalWeight / float64(sum)
	h.reach(low, high)
	for bucket, weight := range c.BucketWeights {
		h.weights[bucket-int(h.low)] += float64(weight) * ratio
	}
	h.total += c.TotalWeight
	h.first, h.last = min(h.first, uint8(low)), max(h.last, uint8(high))
	h.trim(s)
	return nil
}

// round is half up, upstream's way.
func round(x float64) int { return int(math.Floor(x + 0.5)) }
