// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal_test

import (
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-dev/berth/autoscaler/horizontal"
)

// A restart in the middle of a period changes nothing that a rate policy says.
func TestRateSurvivesARestart(t *testing.T) {
	forAnyInput(t, func(t *testing.T, _ *rand.Rand, in horizontal.Input) {
		recalled, err := horizontal.Recall(in.History.Keep(in.Now), in.Now)
		if err != nil {
			t.Fatal(err)
		}
		recalled.Recommendations = in.History.Recommendations // upstream forgets those, too
		before := horizontal.Decide(in)
		in.History = recalled
		if after := horizontal.Decide(in); after.DesiredReplicas != before.DesiredReplicas {
			t.Errorf("%d before the restart, %d after", before.DesiredReplicas, after.DesiredReplicas)
		}
	})
}

func TestRecall(t *testing.T) {
	ago := func(d time.Duration) time.Time { return noon.Add(-d).Local() }
	tests := map[string]struct {
		kept  string
		want  horizontal.History
		fails bool
	}{
		"nothing": {},
		"both ways": {kept: "+2@1767268799000 -30@1767268770500", want: horizontal.History{
			ScaleUps:   []horizontal.ScaleEvent{{Change: 2, Time: ago(time.Second)}},
			ScaleDowns: []horizontal.ScaleEvent{{Change: 30, Time: ago(29500 * time.Millisecond)}}}},
		"a clock that was ahead": {kept: "+2@1767268801000", want: horizontal.History{
			ScaleUps: []horizontal.ScaleEvent{{Change: 2, Time: noon}}}},
		"no sign":         {kept: "2@1767268799000", fails: true},
		"no time":         {kept: "+2", fails: true},
		"not a time":      {kept: "+2@noon", fails: true},
		"not a number":    {kept: "+two@1767268799000", fails: true},
		"two signs":       {kept: "+-2@1767268799000", fails: true},
		"too large":       {kept: "+2147483648@1767268799000", fails: true},
		"half of it good": {kept: "+2@1767268799000 x", fails: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := horizontal.Recall(tt.kept, noon)
			if diff := cmp.Diff(tt.want, got); diff != "" || (err != nil) != tt.fails {
				t.Errorf("error %v, history (-want +got):\n%s", err, diff)
			}
		})
	}
}

// What is too old for any policy is not kept; the rest does not change by being kept.
func TestKeep(t *testing.T) {
	h := horizontal.History{
		Recommendations: []horizontal.Recommendation{{Replicas: 9, Time: noon}},
		ScaleUps:        []horizontal.ScaleEvent{{Change: 1, Time: noon.Add(-30 * time.Minute)}, {Change: 2, Time: noon.Add(-29 * time.Minute), Outdated: true}},
		ScaleDowns:      []horizontal.ScaleEvent{{Change: 3, Time: noon}},
	}
	if got, want := h.Keep(noon), "+2@1767267060000 -3@1767268800000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzRecall(f *testing.F) {
	for _, kept := range []string{"", "+2@1767268800000", "+2@1767268800000 -30@1767268700500", "+@", "-1@-1", "+1@9223372036854775807"} {
		f.Add(kept)
	}
	f.Fuzz(func(t *testing.T, kept string) {
		h, err := horizontal.Recall(kept, noon)
		if err != nil {
			return
		}
		text := h.Keep(noon)
		again, err := horizontal.Recall(text, noon)
		if err != nil || again.Keep(noon) != text {
			t.Errorf("%q is kept as %q, and that as %q: %v", kept, text, again.Keep(noon), err)
		}
		for _, e := range append(h.ScaleUps, h.ScaleDowns...) {
			if e.Change < 0 || e.Time.After(noon) {
				t.Errorf("%q: event %v", kept, e)
			}
		}
	})
}
