// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import "testing"

func TestQuorum(t *testing.T) {
	majority := Quorum{Majority: true}
	tests := map[string]struct {
		quorum Quorum
		wanted int
		needs  int
		none   bool
		text   string
	}{
		"none":                          {Quorum{}, 3, 0, true, "None"},
		"a majority of none":            {majority, 0, 1, false, "Majority"},
		"of one":                        {majority, 1, 1, false, "Majority"},
		"of two, which is both":         {majority, 2, 2, false, "Majority"},
		"of three":                      {majority, 3, 2, false, "Majority"},
		"of four, which is not half":    {majority, 4, 3, false, "Majority"},
		"of five":                       {majority, 5, 3, false, "Majority"},
		"a number":                      {Quorum{Slots: 2}, 9, 2, false, "2"},
		"a number that is never enough": {Quorum{Slots: 5}, 3, 5, false, "5"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.quorum.Of(tt.wanted); got != tt.needs {
				t.Errorf("needs %d of %d, want %d", got, tt.wanted, tt.needs)
			}
			if got := tt.quorum.None(); got != tt.none {
				t.Errorf("None() = %v, want %v", got, tt.none)
			}
			if got := tt.quorum.String(); got != tt.text {
				t.Errorf("String() = %q, want %q", got, tt.text)
			}
		})
	}
}
