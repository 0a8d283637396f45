// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// at returns entries at these times after the start, named by their place.
func at(f fact, seconds ...float64) []entry {
	var entries []entry
	for i, s := range seconds {
		entries = append(entries, entry{at: when(s), fact: f, name: fmt.Sprint(i)})
	}
	return entries
}

func when(seconds float64) time.Time {
	return time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func decided(replicas int32, seconds float64) entry {
	return entry{at: when(seconds), fact: scaled, number: replicas}
}

func TestRise(t *testing.T) {
	for name, tc := range map[string]struct {
		decisions         []entry
		added, ready, run []entry
		told              int
		counts            string // decisions as replicas:nodes/pods
		wrong             string
	}{
		"one decision": {
			decisions: []entry{decided(9, 10)},
			added:     at(nodeAdded, 10.2, 10.3, 10.3, 10.4, 10.4, 10.5),
			ready:     at(nodeReady, 20.2, 20.3, 20.3, 20.4, 20.4, 20.5),
			run:       at(podRuns, 20.4, 20.5, 20.6, 20.7, 20.8, 21),
			counts:    "9:6/6",
		},
		"two decisions": {
			decisions: []entry{decided(6, 10), decided(9, 25)},
			added:     at(nodeAdded, 10.2, 10.3, 10.3, 25.4, 25.4, 25.5),
			ready:     at(nodeReady, 20.2, 20.3, 20.3, 35.4, 35.4, 35.5),
			run:       at(podRuns, 20.4, 20.5, 20.6, 35.7, 35.8, 36),
			counts:    "6:3/3 9:3/3",
		},
		"nodes after the pods": {
			decisions: []entry{decided(9, 10)},
			added:     at(nodeAdded, 10.9, 10.9, 11.1, 11.1, 11.1, 11.2),
			ready:     at(nodeReady, 20.2, 20.3, 20.3, 20.4, 20.4, 21.5),
			run:       at(podRuns, 20.4, 20.5, 20.6, 20.7, 20.8, 22),
			told:      6,
			counts:    "9:6/6",
			wrong:     "in the tick that decided them",
		},
		"a slow tick": {
			decisions: []entry{decided(9, 10)},
			added:     at(nodeAdded, 10.9, 10.9, 11.1, 11.1, 11.1, 11.2),
			ready:     at(nodeReady, 20.2, 20.3, 20.3, 20.4, 20.4, 21.5),
			run:       at(podRuns, 20.4, 20.5, 20.6, 20.7, 20.8, 22),
			told:      5,
			counts:    "9:6/6",
		},
		"pods that are made fast": {
			decisions: []entry{decided(9, 10)},
			added:     at(nodeAdded, 10.2, 10.3, 10.3, 10.4, 10.4, 10.5),
			ready:     at(nodeReady, 20.2, 20.3, 20.3, 20.4, 20.4, 20.5),
			run:       at(podRuns, 20.4, 20.5, 20.6, 20.7, 20.8, 21),
			told:      6,
			counts:    "9:6/6",
		},
		"pods long after their nodes": {
			decisions: []entry{decided(9, 10)},
			added:     at(nodeAdded, 10.2, 10.3, 10.3, 10.4, 10.4, 10.5),
			ready:     at(nodeReady, 20.2, 20.3, 20.3, 20.4, 20.4, 20.5),
			run:       at(podRuns, 20.4, 20.5, 20.6, 20.7, 20.8, 30),
			counts:    "9:6/6",
			wrong:     "run when their nodes are ready",
		},
		"pods before their nodes": {
			decisions: []entry{decided(9, 10)},
			added:     at(nodeAdded, 10.2, 10.3, 10.3, 10.4, 10.4, 10.5),
			ready:     at(nodeReady, 20.2, 20.3, 20.3, 20.4, 20.4),
			run:       at(podRuns, 10.4, 10.5, 10.6, 10.7, 10.8, 11),
			counts:    "9:6/6",
			wrong:     "when 5 of 6 nodes were",
		},
		"a node too many": {
			decisions: []entry{decided(9, 10)},
			added:     at(nodeAdded, 10.2, 10.3, 10.3, 10.4, 10.4, 10.5, 10.6),
			ready:     at(nodeReady, 20.2, 20.3, 20.3, 20.4, 20.4, 20.5, 20.6),
			run:       at(podRuns, 20.4, 20.5, 20.6, 20.7, 20.8, 21),
			counts:    "9:7/6",
			wrong:     "7 nodes",
		},
		"no decision": {wrong: "0 nodes"},
		"nodes before the decision": {
			decisions: []entry{decided(9, 10)},
			added:     at(nodeAdded, 9),
			counts:    "9:0/0",
			wrong:     "0 nodes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			rises := divide(tc.decisions, tc.added, tc.ready, tc.run)
			var counts []string
			for _, r := range rises {
				counts = append(counts, fmt.Sprintf("%d:%d/%d", r.replicas, len(r.added), len(r.run)))
			}
			if diff := cmp.Diff(tc.counts, strings.Join(counts, " ")); diff != "" {
				t.Errorf("replicas:nodes/pods (-want +got):\n%s", diff)
			}
			err := together(rises, tc.told)
			if (err != nil) != (tc.wrong != "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("error %v, want %q", err, tc.wrong)
			}
		})
	}
}

func TestBoots(t *testing.T) {
	// The third node never became ready; the second was ready before, under the same name.
	ready := append(at(nodeReady, 10, 0.5), entry{at: when(13), fact: nodeReady, name: "1"})
	got := boots(at(nodeAdded, 0, 1, 2), ready)
	want := []time.Duration{10 * time.Second, 12 * time.Second}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("boots (-want +got):\n%s", diff)
	}
}

func TestNear(t *testing.T) {
	for cpu, want := range map[int32]bool{0: false, 44: false, 45: true, 50: true, 55: true, 56: false} {
		if got := near(cpu, aim); got != want {
			t.Errorf("near(%d, %d) = %t, want %t", cpu, aim, got, want)
		}
	}
}
