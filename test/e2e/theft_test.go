// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

const (
	theftSeed  = 5
	theftKills = 10
)

// TestTheft restarts a set on 30 full nodes twice, while 200 pods wait for the
// room of its slots: with the stock scheduler, which lets slots be robbed, and with
// ours. It runs alone, as it measures.
func TestTheft(t *testing.T) {
	var all outcomes
	stock := newContest("theft-stock", corev1.DefaultSchedulerName)
	t.Run("stock", func(t *testing.T) {
		testenv.Test(t, stock.feature(t, &all).
			Assess("slots are lost", step(func(_ context.Context, t *testing.T, _ scene) {
				if last := all[len(all)-1]; last.stolen == 0 {
					t.Error("no slot was stolen: that ours keeps them would prove nothing")
				}
			})).
			Feature())
	})
	ours := newContest("theft-ours", fixture.SchedulerName)
	t.Run("ours", func(t *testing.T) {
		testenv.Test(t, ours.feature(t, &all).
			Assess("nothing is stolen", ours.nothingStolen()).
			Assess("the room is free once the set gives it up", ours.givesUp()).
			Feature())
	})
	t.Logf("acceptance: a set of %d on full nodes, and %d pods that wait for its room:\n%s", contestSlots, contestRivals, all)
}

// TestTheftWhileKilled: the same, and the scheduler dies again and again.
func TestTheftWhileKilled(t *testing.T) {
	c := newContest("theft-killed", fixture.SchedulerName)
	testenv.Test(t, features.New("a set restarts, others wait for its room, and the scheduler dies").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, endsComponents)
			t.Cleanup(func() { s.start(context.WithoutCancel(ctx), t, fixture.Scheduler) })
		})).
		Setup(c.ground.lay(t, c.nodes...)).
		Setup(c.fill()).
		Assess("at random moments", step(func(ctx context.Context, t *testing.T, s scene) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			t.Logf("seed %d", theftSeed)
			random := rand.New(rand.NewPCG(theftSeed, 0))
			enough, ends := make(chan struct{}), make(chan error, 1)
			go func() { ends <- c.restartUntil(ctx, enough) }()
			away := 0
			for kill := range theftKills {
				select {
				case <-c.register.hears(random.IntN(2 * contestSlots)):
				case err := <-ends:
					t.Fatal(errors.Join(errors.New("the restarts have ended"), err))
				}
				s.kill(ctx, t, fixture.Scheduler)
				is := c.state(t)
				away += is.away
				t.Logf("kill %d: %s", kill+1, is)
				s.start(ctx, t, fixture.Scheduler)
			}
			close(enough)
			if err := <-ends; err != nil {
				t.Fatal(err)
			}
			is := c.state(t)
			t.Logf("acceptance: the scheduler was killed %d times during %d returns: %s", theftKills, len(is.returns), is)
			if away == 0 {
				t.Error("no slot was absent when the scheduler died")
			}
		})).
		Assess("nothing is stolen", c.nothingStolen()).
		Assess("the room is free once the set gives it up", c.givesUp()).
		Feature())
}
