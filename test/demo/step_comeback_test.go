// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/fixture"
)

func TestAbreast(t *testing.T) {
	zones := []string{"a", "b", "c"}
	each := map[string]int{"a": 1, "b": 1, "c": 1}
	for name, tc := range map[string]struct {
		added, ready []entry
		in           map[string]int
		wrong        string
	}{
		"at once":         {added: at(nodeAdded, 0.2, 0.3, 1), ready: at(nodeReady, 10.2, 10.3, 11), in: each},
		"one by one":      {added: at(nodeAdded, 0.2, 12, 24), ready: at(nodeReady, 10.2, 22, 34), in: each, wrong: "23.8s after the first"},
		"a zone without":  {added: at(nodeAdded, 0.2, 0.3), ready: at(nodeReady, 10), in: map[string]int{"a": 1, "b": 1}, wrong: "map[a:1 b:1]"},
		"a zone with two": {added: at(nodeAdded, 0.2, 0.3), ready: at(nodeReady, 10), in: map[string]int{"a": 2, "b": 1, "c": 1}, wrong: "a:2"},
	} {
		t.Run(name, func(t *testing.T) {
			note, err := abreast(when(0), tc.added, tc.ready, tc.in, zones)
			if (err != nil) != (tc.wrong != "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("error %v, want %q", err, tc.wrong)
			}
			if err == nil && !strings.Contains(note, "0.2s to 1.0s") {
				t.Errorf("note %q does not say when", note)
			}
		})
	}
}

func TestSameVolumes(t *testing.T) {
	before := fixture.Table{row(0, "a", "a"), row(1, "b", "b")}
	other := row(1, "b", "b")
	other.Volume = "another"
	for name, tc := range map[string]struct {
		after fixture.Table
		wrong bool
	}{
		"the same":        {after: before},
		"pods may go":     {after: fixture.Table{row(0, "", "a"), row(1, "", "b")}},
		"a claim went":    {after: fixture.Table{row(0, "a", "a")}, wrong: true},
		"a claim came":    {after: append(slices.Clone(before), row(2, "c", "c")), wrong: true},
		"another volume":  {after: fixture.Table{row(0, "a", "a"), other}, wrong: true},
		"nothing is left": {wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := sameVolumes(before, tc.after); (err != nil) != tc.wrong {
				t.Errorf("error %v, want one: %t", err, tc.wrong)
			}
		})
	}
}
