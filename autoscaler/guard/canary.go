// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import "time"

// Master is who writes the scales and statuses of HPAs.
type Master int

const (
	// Unjudged: another controller may be there, so nobody's HPA is touched.
	Unjudged Master = iota
	// Ours: no other controller answers for the canary.
	Ours
	// Theirs: another controller has answered for the canary.
	Theirs
)

// The canary is an HPA without a target. Any controller of HPAs that is not Berth
// writes on it that the target cannot be read, once: an unchanged status is
// not written again. So an answer tells that another controller was there, and
// only an answer that was cleared away and does not come back tells that it is gone.
//
// What is promised, for any sequence of looks:
//
//   - Berth is master only after a time of patience without an answer, all of it with the canary in sight;
//   - that may have been an earlier leader's time: what it has proved, and wrote on the canary, is true
//     as long as the canary is quiet, for an answer given since would stand there;
//   - the first answer ends that at once, and so does a canary that is out of sight for as long;
//   - answers are cleared away while nobody knows who the master is, and once in a time of patience while
//     another is: never where Berth is. That it is, is written there once, and a canary that somebody has
//     deleted is made anew;
//   - a controller that answers so slowly that it is taken for gone is so no more than four times, if it
//     answers within ten times the patience.

// CanarySight is what one look at the canary has shown.
type CanarySight int

const (
	// CanaryUnseen: the API server has not said. Another controller may not have got through to it either.
	CanaryUnseen CanarySight = iota
	// CanaryMissing: there is none.
	CanaryMissing
	// CanaryQuiet: nobody has answered.
	CanaryQuiet
	// CanaryAnswered: somebody else has written its status.
	CanaryAnswered
)

// CanaryStep is what is to be done to the canary.
type CanaryStep int

const (
	// LeaveCanary as it is.
	LeaveCanary CanaryStep = iota
	// MakeCanary anew. Done, it asks, too.
	MakeCanary
	// AskCanary: clear away what others have written, if anything, and see whether it comes back.
	AskCanary
)

// CanaryInput is one look at the canary, and what the last one left.
type CanaryInput struct {
	// Now is the time before the look.
	Now   time.Time
	Sight CanarySight
	// Recorded tells that the canary says that Berth is master. Whoever clears an answer away takes
	// that back with the same write.
	Recorded bool
	// Patience is how long another controller may take to answer.
	Patience time.Duration
	// History is CanaryDecision.History of the last look, or what Asked made of it.
	History CanaryHistory
}

// CanaryDecision is who is master, and what to do to know it better.
type CanaryDecision struct {
	Master Master
	Step   CanaryStep
	// Silence is how long nobody has answered, zero where no question is open.
	Silence time.Duration
	// Patience is the silence that is enough.
	Patience time.Duration
	History  CanaryHistory
}

// CanaryHistory is what must be remembered between looks.
type CanaryHistory struct {
	master   Master
	seen     time.Time     // when the canary was there last
	asked    time.Time     // since when the open question is open; zero: none is
	answered time.Time     // when the last question was answered
	since    time.Time     // when Berth became master last
	slowest  time.Duration // that an answer took, as far as is known
}

// Asked tells that the step was done: the silence counts from now.
func (h CanaryHistory) Asked(now time.Time) CanaryHistory {
	h.asked = now
	return h
}

const (
	// slow answers take less than so many times the patience, and make Berth more
	// patient. What answers later may be a controller that was switched on meanwhile.
	slow = 2
	// Who answers so soon after Berth became master, in times of patience, may be that slow, or was
	// switched on: Berth becomes twice as patient, and not much more, since it cannot know.
	soon = 10
	// Berth is never more patient than so many times: one that is known to need soon is not taken for gone.
	longest = 16
)

// JudgeCanary decides who is master.
func JudgeCanary(in CanaryInput) CanaryDecision {
	h, step := in.History, LeaveCanary
	silence := time.Duration(0)
	if !h.asked.IsZero() {
		silence = in.Now.Sub(h.asked)
	}
	if in.Sight == CanaryAnswered {
		if h.master == Ours && in.Now.Sub(h.since) < soon*in.Patience {
			h.slowest = h.patience(in.Patience)
		}
		if silence < slow*in.Patience {
			h.slowest = max(h.slowest, silence)
		}
	}
	patience := h.patience(in.Patience)

	first := h.seen.IsZero() && h.asked.IsZero()
	switch in.Sight {
	case CanaryUnseen:
		h.asked, silence = time.Time{}, 0
	case CanaryMissing:
		h.asked, silence, step = time.Time{}, 0, MakeCanary
	case CanaryQuiet:
		h.seen = in.Now
		switch {
		case h.master == Ours:
		case silence >= patience, first && in.Recorded:
			h.master, h.since = Ours, in.Now
		case h.asked.IsZero():
			step = AskCanary
		}
	case CanaryAnswered:
		h.seen = in.Now
		switch {
		case h.master == Ours || !h.asked.IsZero():
			h.master, h.answered, h.asked, silence = Theirs, in.Now, time.Time{}, 0
		case h.master == Unjudged || in.Now.Sub(h.answered) >= patience:
			step = AskCanary
		}
	}
	if in.Now.Sub(h.seen) >= in.Patience {
		h.master = Unjudged
	}
	return CanaryDecision{Master: h.master, Step: step, Silence: silence, Patience: patience, History: h}
}

// patience is how long a silence is enough: twice what an answer took, for one attempt of theirs may meet a write of ours.
func (h CanaryHistory) patience(least time.Duration) time.Duration {
	return max(least, min(2*h.slowest, longest*least))
}

// theirPace is what kube-controller-manager's HPA controller takes for one request
// where it waits for its own rate limit: 20 a second, unless somebody raised it.
const theirPace = time.Second / 20

// CanaryPatience is how long another controller may take to answer that has
// so many requests to make for the HPAs that wait before the canary. Least is two
// sync periods of it: one for the answer, one because an attempt can fail.
func CanaryPatience(least time.Duration, requests int) time.Duration {
	return least + time.Duration(requests)*theirPace
}
