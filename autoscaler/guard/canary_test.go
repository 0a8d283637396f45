// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const patience = 30 * time.Second

// look is one look at the canary in a story, and what is expected of it. The step that is expected is done.
type look struct {
	after  time.Duration
	sight  CanarySight
	master Master
	step   CanaryStep
	failed bool // the step was not done
}

func TestJudgeCanary(t *testing.T) {
	const s = time.Second
	takenOver := []look{
		{0, CanaryMissing, Unjudged, MakeCanary, false},
		{29 * s, CanaryQuiet, Unjudged, LeaveCanary, false},
		{1 * s, CanaryQuiet, Ours, LeaveCanary, false},
	}
	answered := []look{
		{0, CanaryMissing, Unjudged, MakeCanary, false},
		{14 * s, CanaryAnswered, Theirs, LeaveCanary, false},
	}
	for name, story := range map[string][]look{
		"nobody answers": takenOver,
		"nobody answers for hours": append(takenOver[:3:3],
			look{time.Hour, CanaryQuiet, Ours, LeaveCanary, false}),
		"a quiet canary of an earlier leader is asked anew": {
			{0, CanaryQuiet, Unjudged, AskCanary, false},
			{30 * s, CanaryQuiet, Ours, LeaveCanary, false},
		},
		"an old answer is no answer": {
			{0, CanaryAnswered, Unjudged, AskCanary, false},
			{15 * s, CanaryQuiet, Unjudged, LeaveCanary, false},
			{15 * s, CanaryQuiet, Ours, LeaveCanary, false},
		},
		"an answer that cannot be cleared away is old for ever": {
			{0, CanaryAnswered, Unjudged, AskCanary, true},
			{60 * s, CanaryAnswered, Unjudged, AskCanary, true},
		},
		"somebody answers": answered,
		"somebody is asked now and then, and answers": append(answered[:2:2],
			look{29 * s, CanaryAnswered, Theirs, LeaveCanary, false},
			look{1 * s, CanaryAnswered, Theirs, AskCanary, false},
			look{15 * s, CanaryQuiet, Theirs, LeaveCanary, false},
			look{1 * s, CanaryAnswered, Theirs, LeaveCanary, false},
			look{15 * s, CanaryAnswered, Theirs, LeaveCanary, false}),
		"somebody is asked, and is gone": append(answered[:2:2],
			look{30 * s, CanaryAnswered, Theirs, AskCanary, false},
			look{29 * s, CanaryQuiet, Theirs, LeaveCanary, false},
			look{1 * s, CanaryQuiet, Ours, LeaveCanary, false}),
		"somebody comes": append(takenOver[:3:3],
			look{time.Hour, CanaryAnswered, Theirs, LeaveCanary, false}),
		"who is slow gets twice the time": append(takenOver[:3:3],
			look{20 * s, CanaryAnswered, Theirs, LeaveCanary, false}, // 50 s after it was asked
			look{99 * s, CanaryAnswered, Theirs, LeaveCanary, false},
			look{1 * s, CanaryAnswered, Theirs, AskCanary, false},
			look{99 * s, CanaryQuiet, Theirs, LeaveCanary, false},
			look{1 * s, CanaryQuiet, Ours, LeaveCanary, false}),
		"silence while the API server is silent proves nothing": {
			{0, CanaryMissing, Unjudged, MakeCanary, false},
			{10 * s, CanaryUnseen, Unjudged, LeaveCanary, false},
			{20 * s, CanaryQuiet, Unjudged, AskCanary, false},
			{29 * s, CanaryQuiet, Unjudged, LeaveCanary, false},
			{1 * s, CanaryQuiet, Ours, LeaveCanary, false},
		},
		"a short blindness changes nothing": append(takenOver[:3:3],
			look{29 * s, CanaryUnseen, Ours, LeaveCanary, false},
			look{1 * s, CanaryQuiet, Ours, LeaveCanary, false}),
		"a long blindness ends the mastery": append(takenOver[:3:3],
			look{30 * s, CanaryUnseen, Unjudged, LeaveCanary, false},
			look{1 * s, CanaryQuiet, Unjudged, AskCanary, false},
			look{30 * s, CanaryQuiet, Ours, LeaveCanary, false}),
		"a canary that somebody deletes is made again": append(takenOver[:3:3],
			look{time.Minute, CanaryQuiet, Ours, LeaveCanary, false},
			look{5 * s, CanaryMissing, Ours, MakeCanary, false},
			look{5 * s, CanaryQuiet, Ours, LeaveCanary, false}),
		"without the right to make it, nobody knows": append(takenOver[:3:3],
			look{15 * s, CanaryMissing, Ours, MakeCanary, true},
			look{15 * s, CanaryMissing, Unjudged, MakeCanary, true},
			look{15 * s, CanaryMissing, Unjudged, MakeCanary, false},
			look{30 * s, CanaryQuiet, Ours, LeaveCanary, false}),
		"one that is deleted was not answered": append(answered[:2:2],
			look{5 * s, CanaryMissing, Theirs, MakeCanary, false},
			look{15 * s, CanaryQuiet, Theirs, LeaveCanary, false},
			look{1 * s, CanaryAnswered, Theirs, LeaveCanary, false}),
	} {
		t.Run(name, func(t *testing.T) {
			now, history := epoch, CanaryHistory{}
			for i, l := range story {
				now = now.Add(l.after)
				d := JudgeCanary(CanaryInput{Now: now, Sight: l.sight, Patience: patience, History: history})
				if d.Master != l.master || d.Step != l.step {
					t.Fatalf("look %d: master %d and step %d, want %d and %d: %+v", i, d.Master, d.Step, l.master, l.step, d)
				}
				history = d.History
				if d.Step != LeaveCanary && !l.failed {
					history = history.Asked(now)
				}
			}
		})
	}
}

// TestCanaryNumbers: a decision says how long was waited, and for how long to wait.
func TestCanaryNumbers(t *testing.T) {
	history := CanaryHistory{}.Asked(epoch)
	d := JudgeCanary(CanaryInput{Now: epoch.Add(12 * time.Second), Sight: CanaryQuiet, Patience: patience, History: history})
	if diff := cmp.Diff([]time.Duration{12 * time.Second, patience}, []time.Duration{d.Silence, d.Patience}); diff != "" {
		t.Errorf("silence and patience (-want +got):\n%s", diff)
	}
	// 1,000 HPAs on one metric each: scale, metric, status.
	if got := CanaryPatience(patience, 3000); got != 3*time.Minute {
		t.Errorf("patience with 3,000 requests of theirs is %s, want 3m0s", got)
	}
}

// yard is a canary with an API server that fails now and then, and another controller, which may be on.
type yard struct {
	*rand.Rand
	now    time.Duration
	there  bool
	spoken bool // somebody has answered

	on       bool
	period   time.Duration
	next     time.Duration // attempt of theirs
	conflict bool          // the last attempt failed

	failures bool
	history  CanaryHistory
	last     CanaryDecision
	writes   []time.Duration
}

// pass lets the other controller do what it does until then.
func (y *yard) pass(until time.Duration) {
	for y.next <= until {
		if y.on && y.there && !y.spoken {
			y.conflict = y.failures && !y.conflict && y.Intn(4) == 0
			y.spoken = !y.conflict
		}
		y.next += y.period
	}
	y.now = until
}

// look looks at the canary once, and does what is decided.
func (y *yard) look() {
	sight := CanaryQuiet
	switch {
	case y.failures && y.Intn(10) == 0:
		sight = CanaryUnseen
	case !y.there:
		sight = CanaryMissing
	case y.spoken:
		sight = CanaryAnswered
	}
	y.last = JudgeCanary(CanaryInput{Now: epoch.Add(y.now), Sight: sight, Patience: patience, History: y.history})
	y.history = y.last.History
	if y.last.Step == LeaveCanary || y.failures && y.Intn(5) == 0 {
		return
	}
	y.there, y.spoken = true, false
	y.history = y.history.Asked(epoch.Add(y.now))
	y.writes = append(y.writes, y.now)
}

// hour looks for an hour, at times as events and ticks give them, and calls each after every look.
func (y *yard) hour(each func()) {
	for end := y.now + time.Hour; y.now < end; {
		y.pass(y.now + time.Duration(1+y.Intn(15))*time.Second)
		if y.failures && y.Intn(50) == 0 {
			y.there, y.spoken = false, false // somebody deletes it
		}
		y.look()
		each()
	}
}

func newYard(seed int64, period time.Duration) *yard {
	y := &yard{Rand: rand.New(rand.NewSource(seed)), period: period}
	y.there, y.next = y.Intn(2) == 0, time.Duration(y.Int63n(int64(period)))
	y.spoken = y.there && y.Intn(2) == 0
	return y
}

func TestBerthIsNeverMasterBesideAnotherController(t *testing.T) {
	for seed := range int64(300) {
		y := newYard(seed, patience/2)
		y.on, y.failures = true, true
		y.hour(func() {
			if y.last.Master == Ours {
				t.Fatalf("seed %d: Berth is master at %s, beside a controller that answers within %s: %+v", seed, y.now, patience, y.last)
			}
		})
	}
}

func TestBerthIsMasterOnceTheOtherIsGone(t *testing.T) {
	for seed := range int64(300) {
		y := newYard(seed, patience/2)
		y.on, y.failures = y.Intn(2) == 0, true
		y.hour(func() {})
		y.on, y.failures = false, false
		gone := y.now
		y.hour(func() {
			// A time until it is asked, a time of silence, and the looks between.
			if y.last.Master != Ours && y.now > gone+2*y.last.Patience+time.Minute {
				t.Fatalf("seed %d: %s after the other has gone, Berth is not master: %+v", seed, y.now-gone, y.last)
			}
		})
		y.writes = nil
		y.hour(func() {})
		if len(y.writes) > 0 {
			t.Fatalf("seed %d: a canary that nobody answers for is written: %v", seed, y.writes)
		}
		y.on = true
		on := y.now
		y.hour(func() {
			if y.last.Master == Ours && y.now > on+y.period+15*time.Second {
				t.Fatalf("seed %d: %s after the other has come, Berth is still master: %+v", seed, y.now-on, y.last)
			}
		})
	}
}

func TestASlowControllerIsTakenForGoneOnceAtMost(t *testing.T) {
	for seed := range int64(300) {
		period := patience + time.Duration(rand.New(rand.NewSource(seed)).Int63n(int64(patience/2)))
		y := newYard(seed, period)
		y.on = true
		mistakes, before := 0, Unjudged
		for range 5 {
			y.hour(func() {
				if y.last.Master == Ours && before != Ours {
					mistakes++
				}
				before = y.last.Master
			})
		}
		if mistakes > 1 {
			t.Fatalf("seed %d: a controller with a period of %s was taken for gone %d times", seed, period, mistakes)
		}
	}
}

func TestTheCanaryIsWrittenRarely(t *testing.T) {
	for seed := range int64(100) {
		y := newYard(seed, patience/2)
		y.on = true
		y.hour(func() {})
		for i := 2; i < len(y.writes); i++ { // the first two may make it, and clear it
			if gap := y.writes[i] - y.writes[i-1]; gap < patience {
				t.Fatalf("seed %d: written twice within %s: %v", seed, gap, y.writes)
			}
		}
	}
}
