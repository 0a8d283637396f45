// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"math/rand"
	"testing"
	"time"
)

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
	recorded bool // the canary says that Berth is master
	history  CanaryHistory
	last     CanaryDecision
	writes   []time.Duration
	blind    time.Duration // when the canary was not in sight last
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
	if sight == CanaryUnseen || sight == CanaryMissing {
		y.blind = y.now
	}
	y.last = JudgeCanary(CanaryInput{Now: epoch.Add(y.now), Sight: sight, Recorded: y.recorded && sight >= CanaryQuiet, Patience: patience, History: y.history})
	y.history = y.last.History
	if y.failures && y.Intn(5) == 0 {
		return
	}
	if sight >= CanaryQuiet {
		y.recorded = y.last.Master == Ours
	}
	if y.last.Step == LeaveCanary {
		return
	}
	y.there, y.spoken = true, false
	y.history = y.history.Asked(epoch.Add(y.now))
	y.writes = append(y.writes, y.now)
}

// succeed lets a new leader begin, at times long after the last one.
func (y *yard) succeed() {
	y.history = CanaryHistory{}
	if y.Intn(3) == 0 {
		y.pass(y.now + time.Duration(y.Intn(600))*time.Second)
	}
}

// turn switches the other controller on or off. One that starts looks at all HPAs within its period.
func (y *yard) turn() {
	y.on, y.next = !y.on, y.now+time.Duration(y.Int63n(int64(y.period)))
}

// hour looks for an hour, at times as events and ticks give them, and calls each after every look.
func (y *yard) hour(each func()) {
	for end := y.now + time.Hour; y.now < end; {
		y.pass(y.now + time.Duration(1+y.Intn(15))*time.Second)
		if y.failures && y.Intn(50) == 0 {
			y.there, y.spoken, y.recorded = false, false, false // somebody deletes it
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
			if y.Intn(100) == 0 {
				y.succeed()
			}
			if y.last.Master == Ours {
				t.Fatalf("seed %d: Berth is master at %s, beside a controller that answers within %s: %+v", seed, y.now, patience, y.last)
			}
		})
	}
}

// TestLeadersStandBackAsOneWould: whatever leaders come and go, and the other controller with
// them, there are two masters only until the other one has come to its first answer.
func TestLeadersStandBackAsOneWould(t *testing.T) {
	inherited := 0
	for seed := range int64(300) {
		y := newYard(seed, patience/2)
		y.failures = true
		var came time.Duration
		first := false
		for range 3 {
			y.hour(func() {
				if first && y.last.Master == Ours {
					inherited++
				}
				// An attempt that fails, one that does not, and the look that sees it.
				if y.on && y.last.Master == Ours && y.now > max(came, y.blind)+2*y.period+15*time.Second {
					t.Fatalf("seed %d: Berth is master at %s, the other has come at %s: %+v", seed, y.now, came, y.last)
				}
				if y.Intn(60) == 0 {
					y.turn()
					came = y.now
				}
				if first = y.Intn(20) == 0; first {
					y.succeed()
				}
			})
		}
	}
	if inherited < 1000 {
		t.Errorf("%d leaders of many took over at their first look", inherited)
	}
}

func TestALeaderGoesOnWhereTheLastOneWasMaster(t *testing.T) {
	for seed := range int64(100) {
		y := newYard(seed, patience/2)
		y.hour(func() {})
		for range 10 {
			y.succeed()
			y.look()
			if y.last.Master != Ours || y.last.Step != LeaveCanary {
				t.Fatalf("seed %d: the next leader begins with %+v", seed, y.last)
			}
		}
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

// TestASlowControllerIsTakenForGoneAFewTimesAtMost: as often as the patience must be doubled.
func TestASlowControllerIsTakenForGoneAFewTimesAtMost(t *testing.T) {
	for seed := range int64(300) {
		r := rand.New(rand.NewSource(seed))
		for doublings, periods := range map[int]float64{1: 1 + r.Float64(), 2: 2 + 2*r.Float64(), 3: 4 + 4*r.Float64(), 4: 8 + 2*r.Float64()} {
			y := newYard(seed, time.Duration(periods*float64(patience)))
			y.on = true
			mistakes, before := 0, Unjudged
			for range 5 {
				y.hour(func() {
					if y.last.Master == Ours && before != Ours {
						mistakes++
					}
					before = y.last.Master
					if y.last.Patience > longest*patience {
						t.Fatalf("seed %d: a patience of %s", seed, y.last.Patience)
					}
				})
			}
			if mistakes > doublings {
				t.Errorf("seed %d: a controller with a period of %s was taken for gone %d times, want %d at most", seed, y.period, mistakes, doublings)
			}
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
