// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

func TestHistory(t *testing.T) {
	a := zoneGroup("a", 0, 10, 2)
	a1, a2 := nodeIn(a, "a1"), nodeIn(a, "a2", podOf("web", "2").Node("a2").Obj())
	in := Input{Now: start, Config: Defaults(), Groups: []Group{a}, Nodes: []Node{a1, a2}}
	in.History = History{
		UnneededSince: map[types.UID]time.Time{"uid-a1": start.Add(-time.Minute), "uid-a2": start.Add(-time.Minute), "gone": start},
		Backoff:       map[string]Backoff{"gone": {Until: start.Add(-4 * time.Hour)}, "zone-a": {Until: start.Add(-4 * time.Hour)}},
	}
	want := History{
		UnneededSince: map[types.UID]time.Time{"uid-a1": start.Add(-time.Minute)},
		Unremovable:   map[types.UID]Unremovable{},
		WasReady:      map[types.UID]bool{"uid-a1": true, "uid-a2": true},
		MissingSince:  map[string][]time.Time{},
		Backoff:       map[string]Backoff{},
	}
	if diff := cmp.Diff(want, Decide(in, newToy(in)).History); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	// A pod that is about to need the node starts its time anew.
	in.Forecast = podsOf(1, "web", "1")
	if got := Decide(in, newToy(in)).History.UnneededSince; len(got) != 0 {
		t.Errorf("under-used nodes %v, want none: a pod was placed on it", got)
	}
}

// A group that its provider does not tell of for a moment is not asked again for the same, nor before its time.
func TestHistoryOfAnAbsentGroup(t *testing.T) {
	g := zoneGroup("a", 0, 10, 0)
	for name, history := range map[string]func(Input) History{
		"it was asked to grow": func(in Input) History { return Decide(in, newToy(in)).History },
		"it failed to grow":    func(in Input) History { return History{}.Failed(g.Name, "no", in.Now, in.Config) },
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Now: start, Config: Defaults(), Groups: []Group{g}, Pending: podsOf(1, "web", "1")}
			in.History = history(in)
			in.Groups = nil
			in.History, in.Groups = Decide(in, newToy(in)).History, []Group{g}
			if d := Decide(in, newToy(in)); len(d.Adds) > 0 {
				t.Errorf("asked for %v", d.Adds)
			}
			in.Groups, in.Now = nil, start.Add(24*time.Hour)
			if h := Decide(in, newToy(in)).History; len(h.Backoff)+len(h.Asked) > 0 {
				t.Errorf("after a day %v and %v are remembered", h.Backoff, h.Asked)
			}
		})
	}
}

func TestBackoffDoublesAndResets(t *testing.T) {
	config, now, h := Defaults(), start, History{}
	for _, want := range []time.Duration{5, 10, 20, 30, 30} {
		h = h.Failed("a", "out of stock", now, config)
		if got := h.Backoff["a"]; got.For != want*time.Minute || got.Until != now.Add(got.For) {
			t.Fatalf("got %+v, want %dm", got, want)
		}
		now = h.Backoff["a"].Until
	}
	h = h.Failed("a", "out of stock", now.Add(config.BackoffReset), config)
	if got := h.Backoff["a"].For; got != config.Backoff {
		t.Errorf("back-off %s after the reset, want %s", got, config.Backoff)
	}
}
