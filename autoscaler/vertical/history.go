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
)

// History is everything that is remembered of usage.
type History struct {
	// workloads hold the containers of each VPA, sorted by name.
	workloads map[Key][]*lineage
	scales    *scales
}

// lineage is the history of the containers of one name under a VPA.
type lineage struct {
	container string
	rules     rules
	// slots are sorted; pods without a slot share the one without a name.
	slots []*record
	// inherited is what a checkpoint told of all slots together at the moment it was
	// saved, nil without one.
	inherited *usage
	saved     moment
}

// record is the history of one slot.
type record struct {
	slot string
	// live is what was learnt in this process, nil where no pod has been seen yet.
	live *usage
	// restored is what the slot's own checkpoint told. It counts for the slot alone:
	// the lineage has inherited it.
	restored *usage
	// running is sorted by pod.
	running []*container
}

// usage is a distribution of what containers used.
type usage struct {
	cpu, memory histogram
	// first, last and samples are of cpu samples, as upstream's confidence wants it;
	// seen is the last sample of any kind.
	first, last, seen moment
	samples           int
}

// scales are the buckets that all histograms share.
type scales struct{ cpu, memory *scale }

func newHistory() History {
	// Constants within their bounds: neither call can fail.
	cpu, _ := util.NewExponentialHistogramOptions(1000.0, 0.01, bucketGrowth, smallestWeight)
	memory, _ := util.NewExponentialHistogramOptions(1e12, 1e7, bucketGrowth, smallestWeight)
	return History{workloads: map[Key][]*lineage{}, scales: &scales{cpu: newScale(cpu), memory: newScale(memory)}}
}

func (s *scales) usage() *usage {
	return &usage{cpu: newHistogram(s.cpu), memory: newHistogram(s.memory)}
}

// merge adds what other knows. References of other may move with it.
func (u *usage) merge(s *scales, other *usage) {
	u.cpu.merge(s.cpu, &other.cpu)
	u.memory.merge(s.memory, &other.memory)
	if u.first == 0 || other.first != 0 && other.first < u.first {
		u.first = other.first
	}
	u.last, u.seen = max(u.last, other.last), max(u.seen, other.seen)
	u.samples += other.samples
}

// scratch is where usages are merged that nobody keeps.
type scratch struct {
	*scales
	usage
}

func newScratch(s *scales) *scratch {
	m := &scratch{scales: s, usage: *s.usage()}
	m.usage.cpu.reach(0, len(s.cpu.ends)-1)
	m.usage.memory.reach(0, len(s.memory.ends)-1)
	return m
}

// sum is of the usages that are not nil. It holds until the next one is asked for.
func (m *scratch) sum(all ...*usage) *usage {
	m.usage.cpu.reset(m.scales.cpu)
	m.usage.memory.reset(m.scales.memory)
	m.usage = usage{cpu: m.usage.cpu, memory: m.usage.memory}
	for _, u := range all {
		if u != nil {
			m.merge(m.scales, u)
		}
	}
	return &m.usage
}

// all is what is known of the slots together: what they did in this process, in order,
// since floating point sums depend on it, and then what they did before.
func (l *lineage) all(m *scratch) *usage {
	if len(l.slots) == 1 && l.slots[0].live != nil && l.inherited == nil {
		return l.slots[0].live
	}
	u := m.sum()
	for _, r := range l.slots {
		if r.live != nil {
			u.merge(m.scales, r.live)
		}
	}
	if l.inherited != nil {
		u.merge(m.scales, l.inherited)
	}
	return u
}

// own is what is known of the slot alone.
func (r *record) own(m *scratch) *usage {
	switch {
	case r.restored == nil && r.live != nil:
		return r.live
	case r.live == nil && r.restored != nil:
		return r.restored
	default:
		return m.sum(r.live, r.restored)
	}
}

// places finds, or makes, the place of every container that can be measured. A pod that
// two VPAs list belongs to the first.
func (h History) places(vpas []VPA) map[containerKey]place {
	for _, lineages := range h.workloads {
		for _, l := range lineages {
			for _, r := range l.slots {
				for _, c := range r.running {
					c.alive = false
				}
			}
		}
	}
	out := map[containerKey]place{}
	for _, v := range vpas {
		for _, p := range v.Pods {
			for _, name := range p.Containers {
				key := containerKey{pod: p.UID, name: name}
				if _, taken := out[key]; taken {
					continue
				}
				l := h.lineage(v.Key, name)
				r := l.record(p.Slot)
				if r.live == nil {
					r.live = h.scales.usage()
				}
				c := r.container(p.UID)
				c.alive = true
				if c.lastOOM == 0 {
					c.lastOOM = l.saved // what was before is in the checkpoint
				}
				out[key] = place{container: c, usage: r.live, scales: h.scales, rules: &l.rules}
			}
		}
		for _, l := range h.workloads[v.Key] {
			l.rules = rulesOf(policyFor(v.Policy, l.container))
		}
	}
	return out
}

type containerKey struct {
	pod  types.UID
	name string
}

func (h History) lineage(vpa Key, name string) *lineage {
	all := h.workloads[vpa]
	i, found := slices.BinarySearchFunc(all, name, func(l *lineage, name string) int { return cmp.Compare(l.container, name) })
	if !found {
		all = slices.Insert(all, i, &lineage{container: name, rules: rulesOf(nil)})
		h.workloads[vpa] = all
	}
	return all[i]
}

func (l *lineage) record(slot string) *record {
	i, found := slices.BinarySearchFunc(l.slots, slot, func(r *record, slot string) int { return compareSlots(r.slot, slot) })
	if !found {
		l.slots = slices.Insert(l.slots, i, &record{slot: slot})
	}
	return l.slots[i]
}

// compareSlots puts ordinals in their order, which is not that of their digits.
func compareSlots(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

func (r *record) container(pod types.UID) *container {
	i, found := slices.BinarySearchFunc(r.running, pod, func(c *container, pod types.UID) int { return cmp.Compare(c.pod, pod) })
	if !found {
		r.running = slices.Insert(r.running, i, &container{pod: pod})
	}
	return r.running[i]
}

// forget drops what is too old to count, and containers that are gone once their peak is
// settled.
func (h History) forget(now moment) {
	maps.DeleteFunc(h.workloads, func(vpa Key, all []*lineage) bool {
		h.workloads[vpa] = slices.DeleteFunc(all, func(l *lineage) bool {
			l.slots = slices.DeleteFunc(l.slots, func(r *record) bool { return r.forget(now, l.rules.window()) })
			return len(l.slots) == 0 && (l.inherited == nil || now.sub(max(l.inherited.seen, l.saved)) >= l.rules.window())
		})
		return len(h.workloads[vpa]) == 0
	})
}

// forget tells whether nothing is left of the record.
func (r *record) forget(now moment, window time.Duration) bool {
	r.running = slices.DeleteFunc(r.running, func(c *container) bool { return !c.alive && now >= c.intervalEnd })
	// What was restored goes with the slot, not with its own age: the slot's history would
	// be short all of a sudden.
	expired := func(u *usage) bool { return u != nil && u.seen != 0 && now.sub(u.seen) >= window }
	if expired(r.restored) && (r.live == nil || r.live.seen == 0 || expired(r.live)) {
		r.restored = nil
	}
	if expired(r.live) {
		r.live = nil
	}
	measured := r.restored != nil || r.live != nil && r.live.seen != 0
	return !measured && len(r.running) == 0
}
