// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-dev/berth/test/fixture"
)

// of returns an entry about an object; the node is that of podBound.
func of(f fact, name string, seconds float64, node string) entry {
	return entry{at: when(seconds), fact: f, name: name, node: node}
}

func TestAway(t *testing.T) {
	before := fixture.Table{row(0, "a", "a"), row(1, "b", "b")}
	leave := []entry{of(podLeaves, "prod/db-1", 1, ""), of(podLeaves, "prod/db-0", 3, "")}
	gone := []entry{of(podGone, "prod/db-1", 1.25, ""), of(podGone, "prod/db-0", 3.5, "")}
	home := []entry{of(podBound, "prod/db-1", 1.5, "node-b"), of(podBound, "prod/db-0", 4, "node-a")}
	for name, tc := range map[string]struct {
		gone, bound, thefts []entry
		back                int
		table               [][]string
		wrong               string
	}{
		"all are back": {
			gone: gone, bound: home, back: 2,
			table: [][]string{{"1", "b", "node-b", "node-b", "0.50s", "0.25s"}, {"0", "a", "node-a", "node-a", "1.00s", "0.50s"}},
		},
		"one is away": {
			gone: gone, bound: home[:1], back: 1,
			table: [][]string{{"1", "b", "node-b", "node-b", "0.50s", "0.25s"}, {"0", "a", "node-a", "-", "-", "-"}},
		},
		"one only leaves": {
			gone: gone[:1], bound: home[:1], back: 1,
			table: [][]string{{"1", "b", "node-b", "node-b", "0.50s", "0.25s"}, {"0", "a", "node-a", "-", "-", "-"}},
		},
		"one is elsewhere": {
			gone: gone, bound: []entry{of(podBound, "prod/db-1", 1.5, "node-c")}, back: 1,
			table: [][]string{{"1", "b", "node-b", "node-c", "0.50s", "0.25s"}, {"0", "a", "node-a", "-", "-", "-"}},
			wrong: "it came to node node-c",
		},
		"a theft": {
			gone: gone[:1], thefts: []entry{of(podBound, "prod/rival-x", 1.4, "node-b")},
			table: [][]string{{"1", "b", "node-b", "-", "-", "-"}, {"0", "a", "node-a", "-", "-", "-"}},
			wrong: "prod/rival-x got some on node node-b, 1.4s after",
		},
		"a theft, and yet all are back": {
			gone: gone, bound: home, thefts: []entry{of(podBound, "prod/rival-x", 5, "node-a")}, back: 2,
			table: [][]string{{"1", "b", "node-b", "node-b", "0.50s", "0.25s"}, {"0", "a", "node-a", "node-a", "1.00s", "0.50s"}},
			wrong: "prod/rival-x",
		},
		// db-10 is not db-1.
		"a namesake": {
			gone: []entry{of(podGone, "prod/db-10", 1, "")}, bound: []entry{of(podBound, "prod/db-10", 1, "node-c")},
			table: [][]string{{"1", "b", "node-b", "-", "-", "-"}, {"0", "a", "node-a", "-", "-", "-"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			absences := away(before, "prod/db-", leave, tc.gone, tc.bound)
			if got := returned(absences); got != tc.back {
				t.Errorf("%d are back, want %d", got, tc.back)
			}
			if diff := cmp.Diff(tc.table, awayTable(absences)[1:]); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
			err := undisturbed(absences, tc.thefts, when(0))
			if (err != nil) != (tc.wrong != "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("error %v, want %q", err, tc.wrong)
			}
		})
	}
}

func TestNoneAdded(t *testing.T) {
	if err := noneAdded(nil); err != nil {
		t.Error(err)
	}
	if err := noneAdded(at(nodeAdded, 1, 2)); err == nil || !strings.Contains(err.Error(), "2 were") {
		t.Errorf("error %v, want one that counts 2", err)
	}
}

func TestSubjects(t *testing.T) {
	twice := []entry{of(podKeptOut, "x", 1, ""), of(podKeptOut, "y", 2, ""), of(podKeptOut, "x", 3, "")}
	if got := subjects(twice); got != 2 {
		t.Errorf("%d subjects, want 2", got)
	}
}
