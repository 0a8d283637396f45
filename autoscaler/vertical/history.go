// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/util"
)

// The constants of upstream's recommender/model/aggregations_config.go.
const (
	cpuWeight      = 0.1
	memoryWeight   = 1.0
	smallestWeight = 0.001 * cpuWeight
	bucketGrowth   = 1.05
	halfLife       = 24 * time.Hour
	peakInterval   = 24 * time.Hour
	window         = 8 * peakInterval
	oomBumpRatio   = 1.2
	oomMinBump     = Bytes(100 << 20)
)

// History is everything that is remembered of usage.
type History struct {
	usage      map[usageKey]*usage
	containers map[containerKey]*container
	scales     scales
}

type usageKey struct {
	vpa       Key
	container string
	slot      string
}

type containerKey struct {
	pod  types.UID
	name string
}

// usage is the distribution of what the containers of one slot used.
type usage struct {
	cpu, memoryPeaks util.Histogram
	// first, last and samples are of cpu samples, as upstream's confidence wants it;
	// seen is the last sample of any kind.
	first, last, seen time.Time
	samples           int
}

// container is what one running container needs for its next sample.
type container struct {
	lastCPU, lastMemory time.Time
	// peak and oomPeak are of the interval that ends at intervalEnd.
	peak, oomPeak Bytes
	intervalEnd   time.Time
}

// scales are the buckets that all histograms share: only histograms of the very same
// scale can be merged.
type scales struct{ cpu, memory util.HistogramOptions }

func newHistory() History {
	// Constants within their bounds: neither call can fail.
	cpu, _ := util.NewExponentialHistogramOptions(1000.0, 0.01, bucketGrowth, smallestWeight)
	memory, _ := util.NewExponentialHistogramOptions(1e12, 1e7, bucketGrowth, smallestWeight)
	return History{
		usage:      map[usageKey]*usage{},
		containers: map[containerKey]*container{},
		scales:     scales{cpu: cpu, memory: memory},
	}
}

func (s scales) usage() *usage {
	return &usage{
		cpu:         util.NewDecayingHistogram(s.cpu, halfLife),
		memoryPeaks: util.NewDecayingHistogram(s.memory, halfLife),
	}
}

// event is a sample or an OOM on its way into the history.
type event struct {
	key    containerKey
	time   time.Time
	sample *Sample
	oom    *OOM
}

func (s Sample) event() event {
	return event{key: containerKey{s.Pod, s.Container}, time: s.Time, sample: &s}
}

// learn takes in what happened to the containers that have a home, in order of time.
func (h History) learn(in Input, homes map[containerKey]usageKey) {
	events := make([]event, 0, len(in.Samples)+len(in.OOMs))
	for _, s := range in.Samples {
		events = append(events, s.event())
	}
	for _, o := range in.OOMs {
		events = append(events, event{key: containerKey{o.Pod, o.Container}, time: o.Time, oom: &o})
	}
	slices.SortFunc(events, compareEvents)
	for _, e := range events {
		home, ok := homes[e.key]
		if !ok {
			continue
		}
		u, c := h.at(home, e.key)
		if e.oom != nil {
			c.addOOM(*e.oom, u)
			continue
		}
		c.addCPU(e.time, e.sample.CPU, u)
		c.addMemory(e.time, e.sample.Memory, u)
	}
}

// compareEvents makes the order total, since floating point sums depend on it. A sample
// goes before the OOM of its moment: it is part of what led there.
func compareEvents(a, b event) int {
	return cmp.Or(
		a.time.Compare(b.time),
		cmp.Compare(a.key.pod, b.key.pod),
		cmp.Compare(a.key.name, b.key.name),
		slices.Compare(a.rank(), b.rank()),
	)
}

func (e event) rank() []int64 {
	if e.oom != nil {
		return []int64{1, int64(e.oom.Request)}
	}
	return []int64{0, int64(e.sample.CPU), int64(e.sample.Memory)}
}

func (h History) at(home usageKey, key containerKey) (*usage, *container) {
	u := h.usage[home]
	if u == nil {
		u = h.scales.usage()
		h.usage[home] = u
	}
	c := h.containers[key]
	if c == nil {
		c = &container{}
		h.containers[key] = c
	}
	return u, c
}

// forget drops histories without a sample in the whole window, and containers that are
// gone once their peak is settled.
func (h History) forget(now time.Time, homes map[containerKey]usageKey) {
	maps.DeleteFunc(h.usage, func(_ usageKey, u *usage) bool { return now.Sub(u.seen) >= window })
	maps.DeleteFunc(h.containers, func(key containerKey, c *container) bool {
		_, alive := homes[key]
		return !alive && !now.Before(c.intervalEnd)
	})
}

// slotUsage is the history of one slot.
type slotUsage struct {
	slot string
	*usage
}

// byContainer arranges the histories by VPA and container, slots in order.
func (h History) byContainer() map[Key]map[string][]slotUsage {
	out := map[Key]map[string][]slotUsage{}
	for key, u := range h.usage {
		if out[key.vpa] == nil {
			out[key.vpa] = map[string][]slotUsage{}
		}
		out[key.vpa][key.container] = append(out[key.vpa][key.container], slotUsage{slot: key.slot, usage: u})
	}
	for _, containers := range out {
		for _, slots := range containers {
			slices.SortFunc(slots, func(a, b slotUsage) int { return cmp.Compare(a.slot, b.slot) })
		}
	}
	return out
}

// merge makes one distribution of all slots, nil if there are none.
func (s scales) merge(slots []slotUsage) *usage {
	switch len(slots) {
	case 0:
		return nil
	case 1:
		return slots[0].usage
	}
	m := s.usage()
	for _, u := range slots {
		m.cpu.Merge(u.cpu)
		m.memoryPeaks.Merge(u.memoryPeaks)
		if m.first.IsZero() || !u.first.IsZero() && u.first.Before(m.first) {
			m.first = u.first
		}
		if u.last.After(m.last) {
			m.last = u.last
		}
		m.samples += u.samples
	}
	return m
}
