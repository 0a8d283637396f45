// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWrite(t *testing.T) {
	run := func(name, profile string, rate float64, cpu, cycle time.Duration) Run {
		return Run{Case: name, Profile: profile, PodsPerSecond: rate, CPU: cpu * time.Microsecond, Cycle: cycle * time.Microsecond}
	}
	tests := map[string]struct {
		runs []Run
		want []string
	}{
		"nothing ran": {nil, nil},
		"one run each": {
			[]Run{run("Local", "stock", 100, 4000, 2000), run("Local", "berth", 250, 1000, 500), run("Basic", "stock", 10, 20, 30), run("Basic", "berth", 10, 20, 30)},
			[]string{"Local 1 100 250 2.50 4000 1000 0.25 2000 500 0.25", "Basic 1 10 10 1.00 20 20 1.00 30 30 1.00"},
		},
		"the median of the pairs, whichever profile ran first": {
			[]Run{
				run("Local", "stock", 100, 10, 10), run("Local", "berth", 200, 10, 10),
				run("Local", "berth", 80, 40, 20), run("Local", "stock", 10, 10, 10),
				run("Local", "stock", 50, 20, 10), run("Local", "berth", 150, 10, 30),
			},
			[]string{"Local 3 50 150 3.00 10 10 1.00 10 20 2.00"},
		},
		"the mean of the middle two of an even number": {
			[]Run{run("Local", "stock", 100, 10, 10), run("Local", "berth", 200, 10, 10), run("Local", "stock", 100, 10, 10), run("Local", "berth", 400, 10, 10)},
			[]string{"Local 2 100 300 3.00 10 10 1.00 10 10 1.00"},
		},
		"half a pair is none": {
			[]Run{run("Local", "stock", 100, 10, 10)},
			[]string{"Local 0 0 0 0.00 0 0 0.00 0 0 0.00"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := Write(&out, "stock", "berth", tt.runs); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n")[2:] {
				got = append(got, strings.Join(strings.Fields(strings.ReplaceAll(line, "|", " ")), " "))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
		})
	}
}
