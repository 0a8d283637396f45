// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import (
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
		"who answers soon after Berth took over gets twice the time": append(takenOver[:3:3],
			look{299 * s, CanaryAnswered, Theirs, LeaveCanary, false},
			look{59 * s, CanaryAnswered, Theirs, LeaveCanary, false},
			look{1 * s, CanaryAnswered, Theirs, AskCanary, false},
			look{59 * s, CanaryQuiet, Theirs, LeaveCanary, false},
			look{1 * s, CanaryQuiet, Ours, LeaveCanary, false},
			look{299 * s, CanaryAnswered, Theirs, LeaveCanary, false},
			look{120 * s, CanaryAnswered, Theirs, AskCanary, false},
			look{119 * s, CanaryQuiet, Theirs, LeaveCanary, false},
			look{1 * s, CanaryQuiet, Ours, LeaveCanary, false}),
		"who answers late has come meanwhile": append(takenOver[:3:3],
			look{300 * s, CanaryAnswered, Theirs, LeaveCanary, false},
			look{30 * s, CanaryAnswered, Theirs, AskCanary, false},
			look{30 * s, CanaryQuiet, Ours, LeaveCanary, false}),
		"who may be slow is not acted beside for longer without seeing": append(takenOver[:3:3],
			look{60 * s, CanaryAnswered, Theirs, LeaveCanary, false},
			look{60 * s, CanaryAnswered, Theirs, AskCanary, false},
			look{60 * s, CanaryQuiet, Ours, LeaveCanary, false},
			look{29 * s, CanaryUnseen, Ours, LeaveCanary, false},
			look{1 * s, CanaryUnseen, Unjudged, LeaveCanary, false}),
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
		t.Run(name, func(t *testing.T) { tell(t, story, false) })
	}
}

// tell looks as the story says. The canary says all the time that Berth is master, or never.
func tell(t *testing.T, story []look, recorded bool) {
	t.Helper()
	now, history := epoch, CanaryHistory{}
	for i, l := range story {
		now = now.Add(l.after)
		d := JudgeCanary(CanaryInput{Now: now, Sight: l.sight, Recorded: recorded, Patience: patience, History: history})
		if d.Master != l.master || d.Step != l.step {
			t.Fatalf("look %d: master %d and step %d, want %d and %d: %+v", i, d.Master, d.Step, l.master, l.step, d)
		}
		history = d.History
		if d.Step != LeaveCanary && !l.failed {
			history = history.Asked(now)
		}
	}
}

// TestWhatAnEarlierLeaderProved: a canary that says that Berth is master.
func TestWhatAnEarlierLeaderProved(t *testing.T) {
	const s = time.Second
	for name, story := range map[string][]look{
		"is true while the canary is quiet": {
			{0, CanaryQuiet, Ours, LeaveCanary, false},
			{time.Hour, CanaryQuiet, Ours, LeaveCanary, false},
		},
		"is true once the canary is in sight": {
			{0, CanaryUnseen, Unjudged, LeaveCanary, false},
			{5 * s, CanaryQuiet, Ours, LeaveCanary, false},
		},
		"is over where somebody has answered since": {
			{0, CanaryAnswered, Unjudged, AskCanary, true},
			{5 * s, CanaryQuiet, Unjudged, AskCanary, false},
			{29 * s, CanaryQuiet, Unjudged, LeaveCanary, false},
			{1 * s, CanaryQuiet, Ours, LeaveCanary, false},
		},
		"is over with the first answer": {
			{0, CanaryQuiet, Ours, LeaveCanary, false},
			{15 * s, CanaryAnswered, Theirs, LeaveCanary, false},
			{15 * s, CanaryQuiet, Theirs, AskCanary, false}, // somebody has cleared it
		},
		"is over where this leader has lost the canary from sight": {
			{0, CanaryQuiet, Ours, LeaveCanary, false},
			{30 * s, CanaryUnseen, Unjudged, LeaveCanary, false},
			{1 * s, CanaryQuiet, Unjudged, AskCanary, false},
		},
		"is no more than somebody's word once this leader has asked": {
			{0, CanaryMissing, Unjudged, MakeCanary, false},
			{5 * s, CanaryQuiet, Unjudged, LeaveCanary, false},
		},
	} {
		t.Run(name, func(t *testing.T) { tell(t, story, true) })
	}
}

// TestPatienceHasAnEnd: somebody switches the other controller on and off, each time soon after Berth took over.
func TestPatienceHasAnEnd(t *testing.T) {
	const s = time.Second
	var story []look
	for _, patience := range []time.Duration{30 * s, 60 * s, 120 * s, 240 * s, 480 * s, 480 * s, 480 * s} {
		story = append(story,
			look{patience, CanaryAnswered, Theirs, AskCanary, false},
			look{patience - s, CanaryQuiet, Theirs, LeaveCanary, false},
			look{s, CanaryQuiet, Ours, LeaveCanary, false},
			look{60 * s, CanaryAnswered, Theirs, LeaveCanary, false})
	}
	tell(t, append([]look{{0, CanaryMissing, Unjudged, MakeCanary, false}, {0, CanaryAnswered, Theirs, LeaveCanary, false}}, story...), false)
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
