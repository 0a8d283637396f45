// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var holdEpoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func cpu(amount string) Needs {
	return Needs{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(amount)}}
}

// TestHold tells short stories of one slot: what is seen of it, one look after
// the other, and what comes of the last one.
func TestHold(t *testing.T) {
	there := Aboard{Node: "n1", UID: "u1", Needs: cpu("2")}
	going := there
	going.Leaving = true
	elsewhere := Aboard{Node: "n2", UID: "u2", Needs: cpu("2")}
	here := Sight{Pod: there}
	away := Sight{Wanted: true, NodeThere: true, HoldFor: 10 * time.Minute}
	with := func(s Sight, changes ...func(*Sight)) Sight {
		for _, change := range changes {
			change(&s)
		}
		return s
	}
	after := func(d time.Duration) func(*Sight) { return func(s *Sight) { s.Now = holdEpoch.Add(d) } }
	leaves := func(s *Sight) { s.Pod = going }
	fixed := func(s *Sight) { s.Fixed = true }
	unwanted := func(s *Sight) { s.Wanted = false }
	cordoned := func(s *Sight) { s.NodeLeaving = true }
	gone := func(s *Sight) { s.NodeThere, s.Fixed = false, false }
	undecided := func(s *Sight) { s.HoldFor, s.Undecided = 0, true }
	noHold := func(s *Sight) { s.HoldFor = 0 }
	next := func(n Needs) func(*Sight) { return func(s *Sight) { s.Next = n } }
	note := func(n Note) func(*Sight) { return func(s *Sight) { s.Note = &n } }
	began := metav1.NewTime(holdEpoch.Add(-time.Minute))

	for name, tc := range map[string]struct {
		looks []Sight
		held  string // the CPU that is held, empty for none
		why   Release
		late  bool
	}{
		"its pod is there":                        {looks: []Sight{here}},
		"nobody knows where it was":               {looks: []Sight{away}},
		"its pod begins to leave":                 {looks: []Sight{here, with(away, leaves)}, held: "2"},
		"its pod leaves when it is seen first":    {looks: []Sight{with(away, leaves)}, held: "2"},
		"its pod left, and is gone":               {looks: []Sight{here, with(away, leaves), away}, held: "2"},
		"its pod is gone at once":                 {looks: []Sight{here, away}, held: "2", late: true},
		"it is back":                              {looks: []Sight{here, away, here}, why: Bound},
		"it is elsewhere":                         {looks: []Sight{here, away, {Pod: elsewhere}}, why: Bound},
		"it is back, and leaves":                  {looks: []Sight{here, away, here, with(away, leaves)}, held: "2"},
		"scaled down while it leaves":             {looks: []Sight{here, with(away, leaves), with(away, leaves, unwanted)}, why: Unwanted},
		"scaled down while it is gone":            {looks: []Sight{here, away, with(away, unwanted)}, why: Unwanted},
		"scaled down, and up while it leaves":     {looks: []Sight{here, with(away, leaves, unwanted), with(away, leaves)}, held: "2"},
		"scaled down, gone, and up":               {looks: []Sight{here, with(away, unwanted), away}},
		"scaled down before it goes":              {looks: []Sight{here, with(away, unwanted)}},
		"the node goes":                           {looks: []Sight{here, with(away, fixed), with(away, gone)}, why: NodeGone},
		"its only node goes and comes":            {looks: []Sight{here, with(away, fixed), with(away, gone), with(away, fixed)}, held: "2"},
		"its node goes and comes, and others are": {looks: []Sight{here, away, with(away, gone), away}},
		"cordoned":                                {looks: []Sight{here, away, with(away, cordoned)}, why: NodeLeaving},
		"cordoned before it leaves":               {looks: []Sight{here, with(away, leaves, cordoned)}},
		"cordoned, and uncordoned":                {looks: []Sight{here, away, with(away, cordoned), away}},
		"cordoned, and it has no other node":      {looks: []Sight{here, with(away, fixed), with(away, fixed, cordoned)}, held: "2"},
		"a moment before it expires":              {looks: []Sight{here, away, with(away, after(10*time.Minute-1))}, held: "2"},
		"expired":                                 {looks: []Sight{here, away, with(away, after(10*time.Minute))}, why: Expired},
		"time passes while it leaves":             {looks: []Sight{here, with(away, leaves), with(away, leaves, after(time.Hour)), with(away, after(time.Hour))}, held: "2"},
		"expired after it left for long":          {looks: []Sight{here, with(away, leaves), with(away, after(time.Hour)), with(away, after(70*time.Minute))}, why: Expired},
		"expired, and looked at once more":        {looks: []Sight{here, away, with(away, after(time.Hour)), away}},
		"expired, back, and gone again":           {looks: []Sight{here, away, with(away, after(time.Hour)), here, with(away, after(time.Hour))}, held: "2", late: true},
		"has no other node, for a day":            {looks: []Sight{here, with(away, fixed), with(away, fixed, after(24*time.Hour))}, held: "2"},
		"gets another node to run on after a day": {looks: []Sight{here, with(away, fixed), with(away, after(24*time.Hour))}, why: Expired},
		"nothing is to be kept":                   {looks: []Sight{here, with(away, noHold)}},
		"nothing is to be kept from now on":       {looks: []Sight{here, away, with(away, noHold)}, why: Expired},
		"nothing is to be kept, but of its node":  {looks: []Sight{here, with(away, noHold, fixed)}, held: "2", late: true},
		"the next pod is larger":                  {looks: []Sight{here, with(away, next(cpu("3")))}, held: "3", late: true},
		"the next pod is smaller":                 {looks: []Sight{here, with(away, next(cpu("1")))}, held: "2", late: true},
		"the next pod is not so large after all":  {looks: []Sight{here, with(away, next(cpu("4"))), with(away, next(cpu("3")))}, held: "3"},
		"noted as gone":                           {looks: []Sight{with(away, note(Note{Node: "n1", PodUID: "u1", Requests: cpu("2").Requests, HoldStart: &began}))}, held: "2"},
		"noted as there":                          {looks: []Sight{with(away, note(Note{Node: "n1", PodUID: "u1", Requests: cpu("2").Requests}))}, held: "2"},
		"noted as given up":                       {looks: []Sight{with(away, note(Note{Node: "n1", Requests: cpu("2").Requests}))}},
		"noted, and not wanted":                   {looks: []Sight{with(away, unwanted, note(Note{Node: "n1", PodUID: "u1", HoldStart: &began}))}},
		"noted, and its policy is not known yet":  {looks: []Sight{with(away, after(9*time.Minute), undecided, note(Note{Node: "n1", PodUID: "u1", Requests: cpu("2").Requests, HoldStart: &began}))}, held: "2"},
		"the policy is known by now, and keeps it": {looks: []Sight{
			with(away, after(9*time.Minute), undecided, note(Note{Node: "n1", PodUID: "u1", Requests: cpu("2").Requests, HoldStart: &began})),
			with(away, after(9*time.Minute), func(s *Sight) { s.HoldFor = time.Hour }),
		}, held: "2"},
		"unknown to all but who saw it go": {looks: []Sight{with(away, func(s *Sight) { s.Gone = here.Pod })}, held: "2"},
		"noted, and expired by now":        {looks: []Sight{with(away, after(9*time.Minute), note(Note{Node: "n1", PodUID: "u1", HoldStart: &began}))}},
	} {
		t.Run(name, func(t *testing.T) {
			ledger := begun()
			var last []HoldChange
			for _, look := range tc.looks {
				if look.Now.IsZero() {
					look.Now = holdEpoch
				}
				last = ledger.Look([]Slot{dbSlot(0)}, func(Slot, Berth) Sight { return look })
			}
			held := ""
			for _, hold := range ledger.On("n1") {
				held = hold.Needs.Requests.Cpu().String()
				if got := hold.StandIn.Spec.Containers[0].Resources.Requests.Cpu().String(); got != held {
					t.Errorf("who stands in takes %s, want %s", got, held)
				}
			}
			if held != tc.held {
				t.Errorf("held %q, want %q", held, tc.held)
			}
			var why Release
			late := false
			for _, change := range last {
				why, late = change.Released, late || change.Late
			}
			if why != tc.why {
				t.Errorf("released for %q, want %q", why, tc.why)
			}
			if late != tc.late {
				t.Errorf("late: %t, want %t", late, tc.late)
			}
		})
	}
}

// TestFree: whoever waits for room is woken when some is free, and not when the
// slot is where it was.
func TestFree(t *testing.T) {
	on := func(node, amount string) Sight { return Sight{Pod: Aboard{Node: node, UID: "u", Needs: cpu(amount)}} }
	away := Sight{Wanted: true, NodeThere: true, HoldFor: 10 * time.Minute}
	larger, unwanted := away, away
	larger.Next, unwanted.Wanted = cpu("4"), false
	for name, tc := range map[string]struct {
		then, last Sight
		free       bool
	}{
		"back":                               {then: away, last: on("n1", "2")},
		"back, and larger":                   {then: away, last: on("n1", "3")},
		"back, and smaller":                  {then: away, last: on("n1", "1"), free: true},
		"back, and not as large as was kept": {then: larger, last: on("n1", "3"), free: true},
		"elsewhere":                          {then: away, last: on("n2", "2"), free: true},
		"given up":                           {then: away, last: unwanted, free: true},
		"away still":                         {then: away, last: away},
		"away, and to take more":             {then: away, last: larger},
		"away, and to take less":             {then: larger, last: away, free: true},
	} {
		t.Run(name, func(t *testing.T) {
			ledger := begun()
			var changes []HoldChange
			for _, look := range []Sight{on("n1", "2"), tc.then, tc.last} {
				look.Now = holdEpoch
				changes = ledger.Look([]Slot{dbSlot(0)}, func(Slot, Berth) Sight { return look })
			}
			if free := slices.ContainsFunc(changes, func(c HoldChange) bool { return c.Free }); free != tc.free {
				t.Errorf("free: %t, want %t", free, tc.free)
			}
		})
	}
}

func TestNeeds(t *testing.T) {
	many := Needs{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")},
		Ports:    []Port{{Protocol: "TCP", Number: 80}}, Claims: []string{"data"},
	}
	other := Needs{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), "gpu": resource.MustParse("1")},
		Ports:    []Port{{Protocol: "TCP", Number: 80}, {Protocol: "UDP", Number: 53}}, Claims: []string{"wal", "data"},
	}
	both := Needs{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi"), "gpu": resource.MustParse("1")},
		Ports:    []Port{{Protocol: "UDP", Number: 53}, {Protocol: "TCP", Number: 80}}, Claims: []string{"data", "wal"},
	}
	for _, pair := range [][2]Needs{{many, other}, {other, many}, {both, Needs{}}, {Needs{}, both}, {both, many}} {
		got := pair[0].Larger(pair[1])
		if diff := cmp.Diff(both, got); diff != "" {
			t.Errorf("larger of %v and %v (-want +got):\n%s", pair[0], pair[1], diff)
		}
		if !got.Cover(pair[0]) || !got.Cover(pair[1]) {
			t.Errorf("%v does not cover what it was made of", got)
		}
	}
	for name, tc := range map[string]struct{ is, was Needs }{
		"less of a resource": {cpu("1"), cpu("2")},
		"without a resource": {Needs{}, cpu("2")},
		"without a port":     {Needs{}, Needs{Ports: many.Ports}},
		"without a claim":    {Needs{Claims: []string{"wal"}}, Needs{Claims: []string{"data"}}},
	} {
		if tc.is.Cover(tc.was) {
			t.Errorf("%s: nothing is said to be free", name)
		}
	}
}
