// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"cmp"
	"slices"
)

// event is a sample or an OOM on its way into the history.
type event struct {
	place
	at  moment
	oom bool
	cpu MilliCPU
	// memory is what was used, or for an OOM what was requested.
	memory Bytes
}

// learn takes in what happened to the containers that have a place, in order of time.
func learn(in Input, places map[containerKey]place) {
	events := make([]event, 0, len(in.Samples)+len(in.OOMs))
	for _, s := range in.Samples {
		if p, ok := places[containerKey{s.Pod, s.Container}]; ok {
			events = append(events, event{place: p, at: momentOf(s.Time), cpu: s.CPU, memory: s.Memory})
		}
	}
	for _, o := range in.OOMs {
		if p, ok := places[containerKey{o.Pod, o.Container}]; ok {
			events = append(events, event{place: p, at: momentOf(o.Time), oom: true, memory: o.Request})
		}
	}
	slices.SortFunc(events, compareEvents)
	for _, e := range events {
		switch {
		case e.at == 0:
		case e.oom:
			e.addOOM(e.at, e.memory)
		default:
			e.addCPU(e.at, e.cpu)
			e.addMemory(e.at, e.memory)
		}
	}
}

// compareEvents makes the order of the events of one history total, since floating point
// sums depend on it. A sample goes before the OOM of its moment: it is part of what led
// there.
func compareEvents(a, b event) int {
	if c := cmp.Compare(a.at, b.at); c != 0 {
		return c
	}
	if c := cmp.Compare(a.pod, b.pod); c != 0 {
		return c
	}
	if a.oom != b.oom {
		if b.oom {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.cpu, b.cpu), cmp.Compare(a.memory, b.memory))
}
