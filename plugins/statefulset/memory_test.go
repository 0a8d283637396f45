// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLastNode(t *testing.T) {
	w, p := newWorld(3)
	w.set(db, 3, "data")
	if got := p.LastNode(dbSlot(0)); got != "" {
		t.Errorf("a slot that was never bound was on %q", got)
	}
	w.bind("data-db-0", zone, "a")
	w.claims["data-db-0"].Annotations = map[string]string{LastNode: `{"node":"a1","podUID":"x"}`}
	if got := p.LastNode(dbSlot(0)); got != "a1" {
		t.Errorf("the claim says a1, and the last node is %q", got)
	}
	p.PodBound(dbSlot(0), "db-0", "a2")
	if got := p.LastNode(dbSlot(0)); got != "a2" {
		t.Errorf("it was seen on a2, and the last node is %q", got)
	}
	p.PodGone(dbSlot(0), "db-0")
	if got := p.LastNode(dbSlot(0)); got != "a2" {
		t.Errorf("its pod is gone, and the last node is %q, want a2", got)
	}
	now := metav1.Now()
	w.claims["data-db-0"].DeletionTimestamp = &now
	w.set(db, 0, "data")
	p.SetChanged(db)
	if got := p.LastNode(dbSlot(0)); got != "" {
		t.Errorf("unwanted, with a claim that goes, it was on %q", got)
	}
}

// A simulation leaves no memory of where it put slots.
func TestCheckpointRestoresMemory(t *testing.T) {
	w, p := newWorld(3)
	w.set(db, 3)
	p.PodBound(dbSlot(0), "db-0", "a1")
	outer := p.Checkpoint()
	p.PodBound(dbSlot(0), "simulated", "b1")
	inner := p.Checkpoint()
	p.PodBound(dbSlot(0), "simulated too", "c1")
	p.PodBound(dbSlot(1), "simulated", "c1")
	inner()
	if got := []string{p.LastNode(dbSlot(0)), p.LastNode(dbSlot(1))}; !slices.Equal(got, []string{"b1", ""}) {
		t.Errorf("after the inner one the last nodes are %q, want b1 and none", got)
	}
	outer()
	if got := p.LastNode(dbSlot(0)); got != "a1" {
		t.Errorf("after the outer one the last node is %q, want a1", got)
	}
	p.PodBound(dbSlot(0), "db-0", "c1")
	if len(p.undo) > 0 {
		t.Error("what is remembered outside of simulations is kept for undoing")
	}
}

// What happens outside of a simulation meanwhile stays.
func TestCheckpointKeepsWhatReallyHappened(t *testing.T) {
	w, p := newWorld(3)
	w.set(db, 3)
	restore := p.Checkpoint()
	p.PodBound(dbSlot(0), "db-0", "a1")
	p.PodBound(dbSlot(1), "simulated", "b1")
	w.pods["db-0"] = pod(dbSlot(0), "a1")
	restore()
	if got := []string{p.LastNode(dbSlot(0)), p.LastNode(dbSlot(1))}; !slices.Equal(got, []string{"a1", ""}) {
		t.Errorf("the last nodes are %q, want a1, where db-0 runs, and none", got)
	}
}

// New claims have no data on the old node.
func TestLastNodeGoesWithTheClaims(t *testing.T) {
	w, p := newWorld(3)
	w.set(db, 3, "data", "wal")
	w.bind("data-db-0", zone, "a")
	w.bind("wal-db-0", zone, "a")
	p.PodBound(dbSlot(0), "db-0", "a1")
	w.claims["wal-db-0"] = &corev1.PersistentVolumeClaim{}
	if got := p.LastNode(dbSlot(0)); got != "a1" {
		t.Errorf("one claim is new, and the last node is %q, want a1", got)
	}
	w.claims["data-db-0"] = &corev1.PersistentVolumeClaim{}
	if got := p.LastNode(dbSlot(0)); got != "" {
		t.Errorf("all claims are new, and the last node is %q", got)
	}
}

// Where no node but the last will do, its domain is the slot's home; else the
// slot is free.
func TestLastNodeTiesWhereItIsRequired(t *testing.T) {
	for name, tc := range map[string]struct {
		returns Return
		want    string
	}{"required": {ReturnRequired, "c"}, "preferred": {ReturnPreferred, "a"}, "nowhere": {ReturnNowhere, "a"}} {
		t.Run(name, func(t *testing.T) {
			w, p := newWorld(3)
			w.set(db, 3)
			w.policy = byZone(func(policy *Policy) { policy.Home.Return = tc.returns })
			p.PodBound(dbSlot(0), "db-0", "c1")
			p.PodGone(dbSlot(0), "db-0")
			if got := places(t, p, 0); got != tc.want {
				t.Errorf("it was in c and belongs in %s, want %s", got, tc.want)
			}
		})
	}
	w, p := newWorld(3)
	w.set(db, 3)
	w.policy = byZone(func(policy *Policy) { policy.Home.Return = ReturnRequired })
	p.PodBound(dbSlot(0), "db-0", "c1")
	p.PodGone(dbSlot(0), "db-0")
	places(t, p, 0)
	delete(w.nodes, "c1")
	if got := names(p.NodeChanged("c1")); got != "db-0" {
		t.Errorf("its node went, and %q is woken, want db-0", got)
	}
}

func TestWants(t *testing.T) {
	w, p := newWorld(3)
	w.sets[db].Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 1}
	selected := SetKey{Namespace: "prod", Name: "kafka", Selected: true}
	w.members = map[int]member{4: {pod: "kafka-x"}}
	going := SetKey{Namespace: "prod", Name: "going"}
	w.set(going, 3)
	now := metav1.Now()
	w.sets[going].DeletionTimestamp = &now
	for slot, want := range map[Slot]bool{
		dbSlot(0): false, dbSlot(1): true, dbSlot(3): true, dbSlot(4): false,
		{Set: selected, Ordinal: 4}: true, {Set: selected, Ordinal: 3}: false,
		{Set: going}: false, {Set: SetKey{Namespace: "prod", Name: "none"}}: false,
	} {
		if got := p.Wants(slot); got != want {
			t.Errorf("%s is wanted: %t, want %t", slot, got, want)
		}
	}
}

func TestGiven(t *testing.T) {
	of := func(start, replicas int32) *appsv1.StatefulSet {
		return &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: &replicas, Ordinals: &appsv1.StatefulSetOrdinals{Start: start}}}
	}
	for name, tc := range map[string]struct {
		before, after *appsv1.StatefulSet
		want          []int
	}{
		"new":            {nil, of(0, 2), []int{0, 1}},
		"gone":           {of(0, 2), nil, []int{0, 1}},
		"fewer":          {of(0, 4), of(0, 2), []int{2, 3}},
		"more":           {of(0, 2), of(0, 4), []int{2, 3}},
		"moved":          {of(0, 3), of(2, 3), []int{0, 1, 3, 4}},
		"as it was":      {of(1, 3), of(1, 3), nil},
		"somewhere else": {of(0, 1), of(5, 1), []int{0, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Given(tc.before, tc.after)
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("ordinals (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNextNote(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	begun := metav1.NewTime(now)
	small := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	is := Note{Node: "n1", PodUID: "u1", Priority: 5, Requests: small}
	away := Note{Node: "n1", PodUID: "u1", Priority: 5, Requests: small, HoldStart: &begun}
	over := Note{Node: "n1", Priority: 5, Requests: small}
	there := Aboard{Node: "n1", UID: "u1", Priority: 5, Needs: Needs{Requests: small}}
	going := there
	going.Leaving = true
	for name, tc := range map[string]struct {
		was   *Note
		berth Berth
		want  *Note
	}{
		"never anywhere":               {},
		"its pod is there":             {berth: Berth{Aboard: there}, want: &is},
		"it is there again":            {was: &away, berth: Berth{Aboard: there}, want: &is},
		"it begins to go":              {was: &is, berth: Berth{Aboard: going, Hold: &Hold{Since: now}}, want: &away},
		"it is gone":                   {was: &is, berth: Berth{Aboard: there, gone: now, Hold: &Hold{Since: now}}, want: &away},
		"nothing is kept any more":     {was: &away, berth: Berth{Aboard: there, gone: now, forfeit: true}, want: &over},
		"it goes, and nobody wants it": {was: &is, berth: Berth{Aboard: going}, want: &over},
		"nobody knows it any more":     {was: &away, want: &Note{Node: "n1", Priority: 5, Requests: small}},
		"nobody knew it, nor wants it": {was: &over, want: &over},
	} {
		t.Run(name, func(t *testing.T) {
			var was Note
			if tc.was != nil {
				was = *tc.was
			}
			got, any := NextNote(was, tc.was != nil, tc.berth)
			if any != (tc.want != nil) {
				t.Fatalf("there is a note: %t (%v)", any, got)
			}
			if tc.want != nil && got.String() != tc.want.String() {
				t.Errorf("note %s\nwant %s", got, *tc.want)
			}
		})
	}
}
