// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"math/rand"
	"slices"
	"testing"
)

// FuzzHistories lives through what happens to a set: it is scaled, its pods
// come and go with and without their claims, domains and caps change. Each two
// bytes are an event.
func FuzzHistories(f *testing.F) {
	// Up to five, all placed and with volumes, down to two, a domain more, up
	// to nine; a shard and a cap; the start is raised.
	f.Add([]byte{0, 5, 2, 0, 2, 1, 2, 2, 2, 3, 2, 4, 3, 0, 3, 1, 3, 4, 1, 3, 6, 3, 0, 7, 2, 8, 9, 3, 8, 4, 10, 2, 2, 5, 2, 6})
	// Four with shards, placed elsewhere, volumes, a claim goes with its pod.
	f.Add([]byte{9, 2, 11, 0, 0, 4, 2, 17, 2, 34, 3, 1, 5, 1, 2, 1, 4, 0, 2, 0, 7, 0, 2, 3})
	for seed := range int64(50) {
		events := make([]byte, 200)
		rand.New(rand.NewSource(seed)).Read(events)
		f.Add(events)
	}
	f.Fuzz(func(t *testing.T, events []byte) {
		h := history{asked: asked{n: 1, allowed: []string{"a", "b", "c"}, rules: []ruled{{"1,4", []string{"b", "c"}}}}, seen: map[int]Home{}}
		for ; len(events) >= 2; events = events[2:] {
			h.happen(t, events[0], int(events[1]))
			h.check(t)
		}
	})
}

// history is a set while things happen to it.
type history struct {
	asked
	// seen are the homes by ordinal, of slots that are not wanted now, too.
	seen map[int]Home
}

func (h *history) happen(t *testing.T, event byte, arg int) {
	ordinal := h.first + arg%16%max(h.n, 1)
	home, there := h.seen[ordinal]
	spread := &h.spread
	switch event % 12 {
	case 0:
		h.n = min(h.n+arg%8, 16)
	case 1:
		h.n = max(h.n-arg%8, 0)
		for gone := h.first + h.n; gone < h.first+32; gone++ {
			h.kill(gone) // the claims stay
		}
	case 2:
		h.place(t, ordinal, arg/16)
	case 3:
		if there {
			h.seen[ordinal] = Home{Domain: home.Domain, Tie: BoundVolume, Claim: "data", Volume: "pv"}
		}
	case 4:
		h.kill(ordinal)
	case 5:
		delete(h.seen, ordinal)
	case 6:
		if domain := letters[arg%6]; !slices.Contains(h.allowed, domain) {
			h.allowed = append(slices.Clone(h.allowed), domain)
		}
	case 7:
		h.allowed = slices.DeleteFunc(slices.Clone(h.allowed), func(d string) bool { return d == letters[arg%6] })
	case 8:
		h.first, h.n = h.first+arg%3, max(h.n-arg%3, 0)
	case 9:
		spread.MaxPerDomain = arg % 5
	case 10:
		spread.ShardSize, spread.BlockSize = arg%4, 0
	case 11:
		spread.Preferred = arg%2 == 0
		if arg%4 > 1 {
			spread.ShardSize, spread.BlockSize = 0, arg%5
		}
	}
}

// kill takes a slot's pod; what its claim holds stays.
func (h *history) kill(ordinal int) {
	if h.seen[ordinal].Tie == RunningPod {
		delete(h.seen, ordinal)
	}
}

// place binds the pod of a slot: where the plan says, or in one of the others
// that it names.
func (h *history) place(t *testing.T, ordinal, choice int) {
	in := h.facts(t)
	p, ok := in.Plan().Of(ordinal)
	if !ok || p.Domain == "" || p.Home.Domain != "" {
		return
	}
	domain := slices.Concat([]string{p.Domain}, p.Fallback)[choice%(1+len(p.Fallback))]
	n := 0
	for _, slot := range in.Slots {
		if slot.Home == nil || slot.Home.Domain != domain {
			continue
		}
		if n++; h.spread.ShardSize > 0 && groupOf(int(slot.Ordinal), h.spread.ShardSize) == p.Shard {
			t.Fatalf("%s, and may go to %q, beside ordinal %d of its shard", p, p.Fallback, slot.Ordinal)
		}
	}
	if h.spread.MaxPerDomain > 0 && n >= h.spread.MaxPerDomain {
		t.Fatalf("%s, and may go to %q, but %s holds %d of at most %d", p, p.Fallback, domain, n, h.spread.MaxPerDomain)
	}
	h.seen[ordinal] = Home{Domain: domain, Tie: RunningPod, Node: "n"}
}

// facts is the input that the set gives now.
func (h *history) facts(t *testing.T) PlanInput {
	h.homes = map[int]*Home{}
	for ordinal, home := range h.seen {
		h.homes[ordinal] = &home
	}
	return h.input(t)
}

// check looks for what must be true at any time.
func (h *history) check(t *testing.T) {
	in := h.facts(t)
	plan := in.Plan()
	keeps(t, in, plan)
	for ordinal, home := range h.homes {
		if p, ok := plan.Of(ordinal); ok && (p.Domain != home.Domain || p.Home.Tie != home.Tie) {
			t.Fatalf("%s left its home in %s", p, home.Domain)
		}
	}
	slices.Reverse(h.allowed)
	if got, want := written(h.facts(t).Plan()), written(plan); got != want {
		t.Fatalf("the plan is %s, and %s with the domains the other way round", want, got)
	}
}
