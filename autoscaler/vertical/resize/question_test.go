// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// What is asked depends on nothing that is not known, and nothing goes on before it is
// answered for the very size that was asked about.
func TestQuestions(t *testing.T) {
	all := pods(3, list("1", "1Gi"), nil)
	in := resize.Input{Now: noon, Config: resize.DefaultConfig(), Targets: []resize.Target{set(orRecreate, advice("2", "2Gi"), all...)}}
	out := resize.Decide(in)
	if len(out.Actions) > 0 || len(out.Questions) != 1 || out.Questions[0].Pod.Name != "db-2" || out.Questions[0].Move {
		t.Fatalf("asks %+v and does %+v", out.Questions, out.Actions)
	}
	if diff := cmp.Diff([]string{"db-2 Asks InPlace", "db-1 Waits InPlace", "db-0 Waits InPlace"}, summary(out)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	in.Answers = []resize.Answer{{Pod: all[2].UID, Sizes: resize.Sizes{"db": {Requests: list("1500m", "2Gi")}}, Fits: true}}
	if out := resize.Decide(in); len(out.Actions) > 0 || len(out.Questions) != 1 {
		t.Errorf("an answer about another size counts: %+v", out.Actions)
	}
	in.Answers = []resize.Answer{{Pod: all[2].UID, Sizes: out.Questions[0].Sizes}}
	if out := resize.Decide(in); len(out.Questions) != 1 || !out.Questions[0].Move {
		t.Errorf("asks %+v, want whether it may move", out.Questions)
	}
	// A shrink needs no room, and asks for none.
	in.Answers, in.Targets = nil, []resize.Target{set(orRecreate, advice("500m", "512Mi"), all...)}
	if out := resize.Decide(in); len(out.Questions) > 0 || len(out.Actions) != 1 {
		t.Errorf("asks %+v for a shrink", out.Questions)
	}
}

// A refusal is remembered, doubles, and goes with its pod.
func TestRefusals(t *testing.T) {
	all := pods(1, list("1", "1Gi"), nil)
	in := resize.Input{Now: noon, Config: resize.DefaultConfig(), Targets: []resize.Target{set(inPlace, advice("2", "2Gi"), all...)},
		Refused: []resize.Refused{{Pod: all[0].UID, Kind: resize.Patch, Message: "no"}}}
	out := resize.Decide(in)
	in.History, in.Now = out.History, noon.Add(9*time.Minute)
	out = resize.Decide(in)
	want := resize.History{Refusals: map[resize.Write]resize.Refusal{{Pod: all[0].UID, Kind: resize.Patch}: {At: noon.Add(9 * time.Minute), Tries: 2, Message: "no"}}}
	if diff := cmp.Diff(want, out.History); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	in.History, in.Refused, in.Now = out.History, nil, noon.Add(28*time.Minute)
	if out := resize.Decide(in); len(out.Questions) > 0 || !strings.Contains(out.Pods[0].Waits, "not tried again before 2026-06-01T12:29:00Z") {
		t.Errorf("waits for %q", out.Pods[0].Waits)
	}
	in.Now = noon.Add(29 * time.Minute)
	if out := resize.Decide(in); len(out.Questions) != 1 {
		t.Errorf("is not tried again: %s", out.Pods[0].Waits)
	}
	in.Refused = []resize.Refused{{Pod: all[0].UID, Kind: resize.Evict}, {Pod: all[0].UID, Kind: resize.Revert}}
	if out := resize.Decide(in); len(out.Questions) != 1 {
		t.Errorf("is not tried again after another write was refused: %s", out.Pods[0].Waits)
	}
	in.Refused, in.Targets[0].Pods = nil, nil
	if out := resize.Decide(in); len(out.History.Refusals) > 0 {
		t.Errorf("remembers %+v of a pod that is gone", out.History)
	}
}
