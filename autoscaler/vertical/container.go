// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import "time"

// addCPU counts a cpu sample, unless it is older than one that was counted.
func (c *container) addCPU(at time.Time, cpu MilliCPU, u *usage) {
	if cpu < 0 || !at.After(c.lastCPU) {
		return
	}
	c.lastCPU = at
	u.cpu.AddSample(float64(cpu)/1000, cpuWeight, at)
	if u.first.IsZero() || at.Before(u.first) {
		u.first = at
	}
	if at.After(u.last) {
		u.last = at
	}
	u.see(at)
	u.samples++
}

// addMemory counts a memory sample if it is the peak of its interval so far.
func (c *container) addMemory(at time.Time, memory Bytes, u *usage) {
	if memory < 0 || at.Before(c.lastMemory) {
		return
	}
	if c.isPeak(at, memory, u) {
		c.peak = memory
	}
}

// addOOM counts the memory that would have been needed. It is worked out from usage and
// request, never from an earlier OOM, so that OOMs in a row do not add up.
func (c *container) addOOM(o OOM, u *usage) {
	if o.Time.Before(c.intervalEnd.Add(-peakInterval)) {
		return
	}
	used := max(o.Request, c.peak)
	needed := max(used+oomMinBump, Bytes(scale(amount(used), oomBumpRatio)))
	if c.isPeak(o.Time, needed, u) {
		c.oomPeak = needed
	}
}

// isPeak tells whether this is the highest value of its interval, and if so puts it in
// place of the one before. Each container counts once per interval, at its end.
func (c *container) isPeak(at time.Time, memory Bytes, u *usage) bool {
	c.lastMemory = at
	u.see(at)
	if c.intervalEnd.IsZero() {
		c.intervalEnd = at
	}
	if at.Before(c.intervalEnd) {
		before := max(c.peak, c.oomPeak)
		if before == 0 || memory <= before {
			return false
		}
		u.memoryPeaks.SubtractSample(float64(before), memoryWeight, c.intervalEnd)
	} else {
		c.intervalEnd = c.intervalEnd.Add(at.Sub(c.intervalEnd).Truncate(peakInterval) + peakInterval)
		c.peak, c.oomPeak = 0, 0
	}
	u.memoryPeaks.AddSample(float64(memory), memoryWeight, c.intervalEnd)
	return true
}

func (u *usage) see(at time.Time) {
	if at.After(u.seen) {
		u.seen = at
	}
}
