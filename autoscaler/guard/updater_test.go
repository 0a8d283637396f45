// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestJudgeUpdater(t *testing.T) {
	const s = time.Second
	// look is one look: after the one before, by Berth's clock; the times of the Lease are ago, by that clock too.
	type look struct {
		after            time.Duration
		sight            LeaseSight
		created, renewed time.Duration
		want             Updater
	}
	const never = -time.Hour // a time ago that stands for no renewal
	for name, story := range map[string][]look{
		"there is no Lease":                    {{0, LeaseMissing, 0, 0, UpdaterGone}},
		"a Lease is renewed":                   {{0, LeaseSeen, time.Hour, 9 * s, UpdaterActive}},
		"at the end of its life":               {{0, LeaseSeen, time.Hour, 59 * s, UpdaterActive}, {1 * s, LeaseSeen, time.Hour, 60 * s, UpdaterGone}},
		"a Lease that nobody has renewed":      {{0, LeaseSeen, 59 * s, never, UpdaterActive}, {1 * s, LeaseSeen, 60 * s, never, UpdaterGone}},
		"a Lease that is made anew":            {{0, LeaseSeen, time.Hour, 50 * s, UpdaterActive}, {1 * s, LeaseMissing, 0, 0, UpdaterGone}, {1 * s, LeaseSeen, 0, never, UpdaterActive}},
		"a Lease that is left from long ago":   {{0, LeaseSeen, 48 * time.Hour, 47 * time.Hour, UpdaterGone}, {15 * s, LeaseSeen, 48 * time.Hour, 47*time.Hour + 15*s, UpdaterGone}},
		"a clock that is behind by five hours": {{0, LeaseSeen, 9 * time.Hour, 5 * time.Hour, UpdaterGone}, {15 * s, LeaseSeen, 9 * time.Hour, 5 * time.Hour, UpdaterActive}, {59 * s, LeaseSeen, 9 * time.Hour, 5*time.Hour + 59*s, UpdaterActive}, {1 * s, LeaseSeen, 9 * time.Hour, 5*time.Hour + 60*s, UpdaterGone}},
		"a clock that is ahead is believed":    {{0, LeaseSeen, time.Hour, -5 * s, UpdaterActive}, {64 * s, LeaseSeen, time.Hour, 59 * s, UpdaterActive}, {1 * s, LeaseSeen, time.Hour, 60 * s, UpdaterGone}},
		"out of sight from the beginning":      {{0, LeaseUnseen, 0, 0, UpdaterUnknown}, {time.Hour, LeaseUnseen, 0, 0, UpdaterUnknown}},
		"out of sight while it was fresh":      {{0, LeaseSeen, time.Hour, 0, UpdaterActive}, {1 * s, LeaseUnseen, 0, 0, UpdaterUnknown}, {time.Hour, LeaseUnseen, 0, 0, UpdaterUnknown}},
		"out of sight while there was none":    {{0, LeaseMissing, 0, 0, UpdaterGone}, {59 * s, LeaseUnseen, 0, 0, UpdaterGone}, {1 * s, LeaseUnseen, 0, 0, UpdaterUnknown}, {1 * s, LeaseMissing, 0, 0, UpdaterGone}},
		"out of sight while it was stale":      {{0, LeaseSeen, time.Hour, time.Hour, UpdaterGone}, {59 * s, LeaseUnseen, 0, 0, UpdaterGone}, {1 * s, LeaseUnseen, 0, 0, UpdaterUnknown}},
		"absent before it was fresh":           {{0, LeaseMissing, 0, 0, UpdaterGone}, {15 * s, LeaseSeen, 0, 0, UpdaterActive}, {15 * s, LeaseUnseen, 0, 0, UpdaterUnknown}},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			var h UpdaterHistory
			for i, l := range story {
				now = now.Add(l.after)
				in := UpdaterInput{Now: now, Sight: l.sight, History: h}
				if l.sight == LeaseSeen {
					in.Created = now.Add(-l.created)
					if l.renewed != never {
						in.Renewed = now.Add(-l.renewed)
					}
				}
				d := JudgeUpdater(in)
				if h = d.History; d.Updater != l.want {
					t.Errorf("look %d: updater %d, want %d (age %s)", i, d.Updater, l.want, d.Age)
				}
			}
		})
	}
}

// Upstream's rule, word for word of its own (isStatusValid in pkg/utils/status): where it calls the Lease valid, nothing is ever decided but
// that it may act, and where nothing has been seen for a lifetime, nobody says that it cannot.
func TestJudgeUpdaterNeverActsBesideIt(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seconds := func(n int) time.Duration { return time.Duration(r.IntN(n)) * time.Second }
	for range 2000 {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		created, renewed := now.Add(-seconds(300)), time.Time{}
		var h UpdaterHistory
		lastQuiet := time.Time{}
		for range 50 {
			now = now.Add(seconds(40))
			if r.IntN(3) == 0 {
				renewed = now.Add(-seconds(90))
			}
			in := UpdaterInput{Now: now, Sight: LeaseSight(r.IntN(3)), Created: created, Renewed: renewed, History: h}
			d := JudgeUpdater(in)
			h = d.History
			valid := created.Add(UpdaterLife).After(now) || !renewed.IsZero() && renewed.Add(UpdaterLife).After(now)
			switch {
			case in.Sight == LeaseSeen && valid && d.Updater != UpdaterActive:
				t.Fatalf("valid for upstream, and Berth says %d: %+v", d.Updater, in)
			case in.Sight == LeaseUnseen && d.Updater == UpdaterGone && (lastQuiet.IsZero() || now.Sub(lastQuiet) >= UpdaterLife):
				t.Fatalf("out of sight for a lifetime, and Berth acts: %+v", in)
			}
			if in.Sight != LeaseUnseen {
				lastQuiet = time.Time{}
				if d.Updater == UpdaterGone {
					lastQuiet = now
				}
			}
		}
	}
}
