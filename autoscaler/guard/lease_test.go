// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestJudgeLease(t *testing.T) {
	const s = time.Second
	// look is one look: after the one before, by Berth's clock; the times of the Lease are ago, by that clock too.
	type look struct {
		after            time.Duration
		sight            LeaseSight
		created, renewed time.Duration
		want             Holder
	}
	const never = -time.Hour // a time ago that stands for no renewal
	for name, story := range map[string][]look{
		"there is no Lease":                    {{0, LeaseMissing, 0, 0, HolderGone}},
		"a Lease is renewed":                   {{0, LeaseSeen, time.Hour, 9 * s, HolderActive}},
		"at the end of its life":               {{0, LeaseSeen, time.Hour, 59 * s, HolderActive}, {1 * s, LeaseSeen, time.Hour, 60 * s, HolderGone}},
		"a Lease that nobody has renewed":      {{0, LeaseSeen, 59 * s, never, HolderActive}, {1 * s, LeaseSeen, 60 * s, never, HolderGone}},
		"a Lease that is made anew":            {{0, LeaseSeen, time.Hour, 50 * s, HolderActive}, {1 * s, LeaseMissing, 0, 0, HolderGone}, {1 * s, LeaseSeen, 0, never, HolderActive}},
		"a Lease that is left from long ago":   {{0, LeaseSeen, 48 * time.Hour, 47 * time.Hour, HolderGone}, {15 * s, LeaseSeen, 48 * time.Hour, 47*time.Hour + 15*s, HolderGone}},
		"a clock that is behind by five hours": {{0, LeaseSeen, 9 * time.Hour, 5 * time.Hour, HolderGone}, {15 * s, LeaseSeen, 9 * time.Hour, 5 * time.Hour, HolderActive}, {59 * s, LeaseSeen, 9 * time.Hour, 5*time.Hour + 59*s, HolderActive}, {1 * s, LeaseSeen, 9 * time.Hour, 5*time.Hour + 60*s, HolderGone}},
		"a clock that is ahead is believed":    {{0, LeaseSeen, time.Hour, -5 * s, HolderActive}, {64 * s, LeaseSeen, time.Hour, 59 * s, HolderActive}, {1 * s, LeaseSeen, time.Hour, 60 * s, HolderGone}},
		"out of sight from the beginning":      {{0, LeaseUnseen, 0, 0, HolderUnknown}, {time.Hour, LeaseUnseen, 0, 0, HolderUnknown}},
		"out of sight while it was fresh":      {{0, LeaseSeen, time.Hour, 0, HolderActive}, {1 * s, LeaseUnseen, 0, 0, HolderUnknown}, {time.Hour, LeaseUnseen, 0, 0, HolderUnknown}},
		"out of sight while there was none":    {{0, LeaseMissing, 0, 0, HolderGone}, {59 * s, LeaseUnseen, 0, 0, HolderGone}, {1 * s, LeaseUnseen, 0, 0, HolderUnknown}, {1 * s, LeaseMissing, 0, 0, HolderGone}},
		"out of sight while it was stale":      {{0, LeaseSeen, time.Hour, time.Hour, HolderGone}, {59 * s, LeaseUnseen, 0, 0, HolderGone}, {1 * s, LeaseUnseen, 0, 0, HolderUnknown}},
		"absent before it was fresh":           {{0, LeaseMissing, 0, 0, HolderGone}, {15 * s, LeaseSeen, 0, 0, HolderActive}, {15 * s, LeaseUnseen, 0, 0, HolderUnknown}},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			var h LeaseHistory
			for i, l := range story {
				now = now.Add(l.after)
				in := LeaseInput{Now: now, Sight: l.sight, History: h}
				if l.sight == LeaseSeen {
					in.Created = now.Add(-l.created)
					if l.renewed != never {
						in.Renewed = now.Add(-l.renewed)
					}
				}
				d := JudgeLease(in)
				if h = d.History; d.Holder != l.want {
					t.Errorf("look %d: holder %d, want %d (age %s)", i, d.Holder, l.want, d.Age)
				}
			}
		})
	}
}

// Upstream's rule, word for word of its own (isStatusValid in pkg/utils/status): where it calls the Lease valid, nothing is ever decided but
// that it may act, and where nothing has been seen for a lifetime, nobody says that it cannot.
func TestJudgeLeaseNeverActsBesideIt(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seconds := func(n int) time.Duration { return time.Duration(r.IntN(n)) * time.Second }
	for range 2000 {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		created, renewed := now.Add(-seconds(300)), time.Time{}
		var h LeaseHistory
		lastQuiet := time.Time{}
		for range 50 {
			now = now.Add(seconds(40))
			if r.IntN(3) == 0 {
				renewed = now.Add(-seconds(90))
			}
			in := LeaseInput{Now: now, Sight: LeaseSight(r.IntN(3)), Created: created, Renewed: renewed, History: h}
			d := JudgeLease(in)
			h = d.History
			valid := created.Add(LeaseLife).After(now) || !renewed.IsZero() && renewed.Add(LeaseLife).After(now)
			switch {
			case in.Sight == LeaseSeen && valid && d.Holder != HolderActive:
				t.Fatalf("valid for upstream, and Berth says %d: %+v", d.Holder, in)
			case in.Sight == LeaseUnseen && d.Holder == HolderGone && (lastQuiet.IsZero() || now.Sub(lastQuiet) >= LeaseLife):
				t.Fatalf("out of sight for a lifetime, and Berth acts: %+v", in)
			}
			if in.Sight != LeaseUnseen {
				lastQuiet = time.Time{}
				if d.Holder == HolderGone {
					lastQuiet = now
				}
			}
		}
	}
}
