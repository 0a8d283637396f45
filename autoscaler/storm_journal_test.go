// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
)

// stormJournal judges what happens in a storm. It is written under the lock of the cluster, but for the events.
type stormJournal struct {
	came     map[string]time.Time // nodes, by name
	wrong    map[string]int       // what must not be, and how often it was seen
	slowest  time.Duration        // the longest time that a pod was pending, and whose
	slow     string
	pendings int
	evicted  int
	refused  int
	nodes    struct{ added, removed int }

	mu     sync.Mutex
	events map[string]int // of the autoscaler, by their reason and the first words
}

func newStormJournal() *stormJournal {
	return &stormJournal{came: map[string]time.Time{}, wrong: map[string]int{}, events: map[string]int{}}
}

func (j *stormJournal) say(format string, args ...any) { j.wrong[fmt.Sprintf(format, args...)]++ }

// reset forgets figures, not what was wrong.
func (j *stormJournal) reset() {
	j.slowest, j.slow, j.pendings, j.evicted, j.refused = 0, "", 0, 0, 0
}

// judge looks at what the last second has done to the sets.
func (j *stormJournal) judge(sets []*stormSet) {
	for _, s := range sets {
		healthy, desired := s.healthy()
		if healthy < desired {
			j.say("budget %s: fewer pods are healthy than it wants", s.name)
		}
		if quorum := s.wanted/2 + 1; s.quorum && healthy < quorum {
			j.say("set %s is below its quorum", s.name)
		}
	}
}

// ran notes how long a pod was pending.
func (j *stormJournal) ran(p *stormPod, now time.Time) {
	j.pendings++
	if took := now.Sub(p.born); took > j.slowest {
		j.slowest, j.slow = took, p.pod.Name
	}
}

// stuck notes that the scheduler found no node for a pod.
func (j *stormJournal) stuck(p *stormPod, why string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events["unschedulable "+p.set.name+": "+why]++
}

func (j *stormJournal) left(node string) {
	j.nodes.removed++
	if came, ok := j.came[node]; ok {
		if stayed := time.Since(came); stayed < 10*time.Minute {
			j.say("node %s was added and removed within %s", node, stayed)
		}
	}
}

// Event, Eventf and AnnotatedEventf make the journal the recorder of the autoscaler.
func (j *stormJournal) Event(_ runtime.Object, _, reason, message string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events[reason+" "+strings.Join(strings.Fields(message)[:min(4, len(strings.Fields(message)))], " ")]++
}

func (j *stormJournal) Eventf(o runtime.Object, kind, reason, format string, args ...any) {
	j.Event(o, kind, reason, fmt.Sprintf(format, args...))
}

func (j *stormJournal) AnnotatedEventf(o runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	j.Event(o, kind, reason, fmt.Sprintf(format, args...))
}

// told are the events, most frequent first.
func (j *stormJournal) told() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b strings.Builder
	for _, e := range slices.SortedFunc(maps.Keys(j.events), func(a, b string) int { return j.events[b] - j.events[a] }) {
		fmt.Fprintf(&b, "\n%5d %s", j.events[e], e)
	}
	return b.String()
}
