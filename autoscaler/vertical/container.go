// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// moment is a time in Unix nanoseconds, which takes a third of the room of a time.Time.
// Zero is never.
type moment int64

// momentOf is never for times outside of 1970 to 2200, which no clock means.
func momentOf(t time.Time) moment {
	if t.Year() < 1970 || t.Year() > 2200 {
		return 0
	}
	return moment(t.UnixNano())
}

func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(m)).UTC()
}

func (m moment) add(d time.Duration) moment { return m + moment(d) }

func (m moment) sub(n moment) time.Duration { return time.Duration(m - n) }

// container is what one running container needs for its next sample.
type container struct {
	pod                          types.UID
	lastCPU, lastMemory, lastOOM moment
	// peak and oomPeak are of the interval that ends at intervalEnd.
	peak, oomPeak Bytes
	intervalEnd   moment
	// alive is whether the pod was there in the last decision.
	alive bool
}

// place is where the samples of a container go.
type place struct {
	*container
	*usage
	*scales
	rules *rules
}

// addCPU counts a cpu sample, unless it is older than one that was counted.
func (p place) addCPU(at moment, cpu MilliCPU) {
	if cpu < 0 || at <= p.lastCPU {
		return
	}
	p.lastCPU = at
	p.usage.cpu.add(p.scales.cpu, float64(cpu)/1000, cpuWeight, at.time())
	if p.first == 0 || at < p.first {
		p.first = at
	}
	p.last, p.seen = max(p.last, at), max(p.seen, at)
	p.samples++
}

// addMemory counts a memory sample if it is the peak of its interval so far.
func (p place) addMemory(at moment, memory Bytes) {
	if memory < 0 || at < p.lastMemory {
		return
	}
	if p.isPeak(at, memory) {
		p.peak = memory
	}
}

// addOOM counts the memory that would have been needed, once: a pod's status tells of its
// last OOM for as long as the pod lives. It is worked out from usage and request, never
// from an earlier OOM, so that OOMs in a row do not add up.
func (p place) addOOM(at moment, request Bytes) {
	if at <= p.lastOOM {
		return
	}
	p.lastOOM = at
	if p.intervalEnd != 0 && at < p.intervalEnd.add(-p.rules.interval) {
		return
	}
	used := max(request, p.peak)
	needed := max(used+p.rules.leastBump, Bytes(scaled(amount(used), p.rules.bumpRatio)))
	if needed >= 0 && p.isPeak(at, needed) {
		p.oomPeak = needed
	}
}

// isPeak tells whether this is the highest value of its interval, and if so puts it in
// place of the one before. Each container counts once per interval, at its end.
func (p place) isPeak(at moment, memory Bytes) bool {
	p.lastMemory = at
	p.seen = max(p.seen, at)
	if p.intervalEnd == 0 {
		p.intervalEnd = at
	}
	if at < p.intervalEnd {
		before := p.highest()
		if before == 0 || memory <= before {
			return false
		}
		p.usage.memory.subtract(p.scales.memory, float64(before), memoryWeight, p.intervalEnd.time())
	} else {
		interval := moment(p.rules.interval)
		p.intervalEnd += (at-p.intervalEnd)/interval*interval + interval
		p.peak, p.oomPeak = 0, 0
	}
	p.usage.memory.add(p.scales.memory, float64(memory), memoryWeight, p.intervalEnd.time())
	return true
}

// highest is what the container counts with in its interval.
func (c *container) highest() Bytes { return max(c.peak, c.oomPeak) }
