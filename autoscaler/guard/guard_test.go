// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"
)

var (
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	web   = Target{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
	db    = Target{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}
)

// hpa and vpa make an autoscaler of that name on Deployment/web, as old as age says.
func hpa(name string, age time.Duration, edits ...func(*Autoscaler)) Autoscaler {
	return autoscaler(HPA, name, age, edits)
}

func vpa(name string, age time.Duration, edits ...func(*Autoscaler)) Autoscaler {
	return autoscaler(VPA, name, age, edits)
}

func autoscaler(kind Kind, name string, age time.Duration, edits []func(*Autoscaler)) Autoscaler {
	a := Autoscaler{
		Key:     Key{Kind: kind, Namespace: "prod", Name: name},
		UID:     UID(string(kind) + "-" + name),
		Created: epoch.Add(-age),
		Target:  web,
	}
	if kind == VPA {
		a.Recommender = "berth"
	}
	for _, edit := range edits {
		edit(&a)
	}
	return a
}

func isActing(a *Autoscaler)  { a.Acting = true }
func off(a *Autoscaler)       { a.RecommendOnly = true }
func wasHolder(a *Autoscaler) { a.Recorded = Holds }
func wasRefused(a *Autoscaler) {
	a.Recorded, a.Acting = Refused, true
}

func on(t Target) func(*Autoscaler)      { return func(a *Autoscaler) { a.Target = t } }
func ownedBy(t Target) func(*Autoscaler) { return func(a *Autoscaler) { a.Owner = t } }
func selecting(owners ...Target) func(*Autoscaler) {
	return func(a *Autoscaler) { a.Selects = owners }
}
func madeBy(t Target) func(*Autoscaler)     { return func(a *Autoscaler) { a.Maker = t } }
func in(namespace string) func(*Autoscaler) { return func(a *Autoscaler) { a.Namespace = namespace } }
func uid(u UID) func(*Autoscaler)           { return func(a *Autoscaler) { a.UID = u } }
func by(recommender string) func(*Autoscaler) {
	return func(a *Autoscaler) { a.Recommender = recommender }
}

// allowed lists who may act, as "HPA/name" and "VPA/name".
func allowed(d Decision) []string {
	var out []string
	for k, v := range d.Verdicts {
		if v.Allowed {
			out = append(out, short(k))
		}
	}
	slices.Sort(out)
	return out
}

func short(k Key) string {
	if k.Kind == HPA {
		return "HPA/" + k.Name
	}
	return "VPA/" + k.Name
}

func TestDecide(t *testing.T) {
	recommendOnly := Options{AllowRecommendOnly: true}
	optedOut := Options{OptedOut: sets.New("prod")}
	withVersion := func(v string) Target { w := web; w.APIVersion = v; return w }
	replicaSet := Target{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-5d9"}
	operator := Target{APIVersion: "db.example.com/v1", Kind: "Cluster", Name: "db"}
	crew := Target{APIVersion: "example.com/v1", Kind: "Crew", Name: "crew"}

	tests := map[string]struct {
		objects []Autoscaler
		options Options
		want    []string
	}{
		"nothing":                           {},
		"an HPA alone":                      {objects: []Autoscaler{hpa("h", 1)}, want: []string{"HPA/h"}},
		"a VPA alone":                       {objects: []Autoscaler{vpa("v", 1)}, want: []string{"VPA/v"}},
		"an older HPA and a VPA":            {objects: []Autoscaler{hpa("h", 2), vpa("v", 1)}, want: []string{"HPA/h"}},
		"an HPA and an older VPA":           {objects: []Autoscaler{hpa("h", 1), vpa("v", 2)}, want: []string{"VPA/v"}},
		"of one age: first by UID":          {objects: []Autoscaler{hpa("h", 1, uid("b")), vpa("v", 1, uid("a"))}, want: []string{"VPA/v"}},
		"of one age: first by UID, swapped": {objects: []Autoscaler{hpa("h", 1, uid("a")), vpa("v", 1, uid("b"))}, want: []string{"HPA/h"}},
		"an acting HPA and an older VPA":    {objects: []Autoscaler{hpa("h", 1, isActing), vpa("v", 2)}, want: []string{"HPA/h"}},
		"an older HPA and an acting VPA":    {objects: []Autoscaler{hpa("h", 2), vpa("v", 1, isActing)}, want: []string{"VPA/v"}},
		"both act, the HPA is older":        {objects: []Autoscaler{hpa("h", 2, isActing), vpa("v", 1, isActing)}, want: []string{"HPA/h"}},
		"both act, the VPA is older":        {objects: []Autoscaler{hpa("h", 1, isActing), vpa("v", 2, isActing)}, want: []string{"VPA/v"}},
		"different names":                   {objects: []Autoscaler{hpa("h", 2), vpa("v", 1, on(Target{"apps/v1", "Deployment", "web-2"}))}, want: []string{"HPA/h", "VPA/v"}},
		"different kinds":                   {objects: []Autoscaler{hpa("h", 2), vpa("v", 1, on(Target{"apps/v1", "StatefulSet", "web"}))}, want: []string{"HPA/h", "VPA/v"}},
		"different groups":                  {objects: []Autoscaler{hpa("h", 2), vpa("v", 1, on(withVersion("example.com/v1")))}, want: []string{"HPA/h", "VPA/v"}},
		"different namespaces":              {objects: []Autoscaler{hpa("h", 2), vpa("v", 1, in("test"))}, want: []string{"HPA/h", "VPA/v"}},
		"different versions of one group":   {objects: []Autoscaler{hpa("h", 2, on(withVersion("apps/v1beta1"))), vpa("v", 1)}, want: []string{"HPA/h"}},
		"VPA without apiVersion":            {objects: []Autoscaler{hpa("h", 2), vpa("v", 1, on(withVersion("")))}, want: []string{"HPA/h"}},
		"HPA without apiVersion":            {objects: []Autoscaler{hpa("h", 1, on(withVersion(""))), vpa("v", 2)}, want: []string{"VPA/v"}},
		"core group against a named one":    {objects: []Autoscaler{hpa("h", 2, on(withVersion("v1"))), vpa("v", 1)}, want: []string{"HPA/h", "VPA/v"}},
		"core group in both":                {objects: []Autoscaler{hpa("h", 2, on(withVersion("v1"))), vpa("v", 1, on(withVersion("v1")))}, want: []string{"HPA/h"}},
		"HPA on a ReplicaSet, VPA on its Deployment": {
			objects: []Autoscaler{hpa("h", 1, on(replicaSet), ownedBy(web)), vpa("v", 2)}, want: []string{"VPA/v"}},
		"HPA on a Deployment, VPA on its ReplicaSet": {
			objects: []Autoscaler{hpa("h", 2), vpa("v", 1, on(replicaSet), ownedBy(web))}, want: []string{"HPA/h"}},
		"a custom resource owns the targets of both": {
			objects: []Autoscaler{hpa("h", 2, on(db), ownedBy(operator)), vpa("v", 1, on(operator))}, want: []string{"HPA/h"}},
		"an operator's object selects the pods of a set": {
			objects: []Autoscaler{hpa("h", 1, on(operator), selecting(db)), vpa("v", 2, on(db))}, want: []string{"VPA/v"}},
		"and the other way round": {
			objects: []Autoscaler{hpa("h", 2, on(db)), vpa("v", 1, on(operator), selecting(db))}, want: []string{"HPA/h"}},
		"it selects the pods of a set that another object owns": {
			objects: []Autoscaler{hpa("h", 2, on(crew), selecting(operator)), vpa("v", 1, on(db), ownedBy(operator))}, want: []string{"HPA/h"}},
		"two objects select the pods of one set": {
			objects: []Autoscaler{hpa("h", 2, on(crew), selecting(web, db)), vpa("v", 1, on(operator), selecting(db))}, want: []string{"HPA/h"}},
		"two objects select pods of their own": {
			objects: []Autoscaler{hpa("h", 2, on(crew), selecting(web)), vpa("v", 1, on(operator), selecting(db))}, want: []string{"HPA/h", "VPA/v"}},
		"what is selected is of another group": {
			objects: []Autoscaler{hpa("h", 2, on(crew), selecting(db)), vpa("v", 1, on(Target{"example.com/v1", "StatefulSet", "db"}))}, want: []string{"HPA/h", "VPA/v"}},
		"what is selected is in another namespace": {
			objects: []Autoscaler{hpa("h", 2, on(crew), selecting(db)), vpa("v", 1, on(db), in("test"))}, want: []string{"HPA/h", "VPA/v"}},
		"two HPAs that select the same pods are not ours to judge": {
			objects: []Autoscaler{hpa("h", 2, on(crew), selecting(db)), hpa("i", 1, on(db))}, want: []string{"HPA/h", "HPA/i"}},
		"one HPA in the way of the VPAs of two sets": {
			objects: []Autoscaler{hpa("h", 3, on(crew), selecting(web, db)), vpa("v", 1, on(db)), vpa("w", 2, on(web))}, want: []string{"HPA/h"}},
		"the VPA of one of two sets in the way of an HPA, which is in nobody's way then": {
			objects: []Autoscaler{hpa("h", 2, on(crew), selecting(web, db)), vpa("v", 3, on(db)), vpa("w", 1, on(web))}, want: []string{"VPA/v", "VPA/w"}},
		"two VPAs, the older works":         {objects: []Autoscaler{vpa("v", 1), vpa("w", 2)}, want: []string{"VPA/w"}},
		"two VPAs, the one that acts works": {objects: []Autoscaler{vpa("v", 1, isActing), vpa("w", 2)}, want: []string{"VPA/v"}},
		"two VPAs of two recommenders":      {objects: []Autoscaler{vpa("v", 1), vpa("w", 2, by(""))}, want: []string{"VPA/w"}},
		"two HPAs are not ours to judge":    {objects: []Autoscaler{hpa("h", 1), hpa("i", 2)}, want: []string{"HPA/h", "HPA/i"}},
		"two HPAs against a VPA":            {objects: []Autoscaler{hpa("h", 3), hpa("i", 1), vpa("v", 2)}, want: []string{"HPA/h", "HPA/i"}},
		"a VPA against two HPAs":            {objects: []Autoscaler{hpa("h", 1), hpa("i", 2), vpa("v", 3)}, want: []string{"VPA/v"}},
		"two VPAs against an HPA":           {objects: []Autoscaler{hpa("h", 3), vpa("v", 1), vpa("w", 2)}, want: []string{"HPA/h"}},
		"an HPA against two older VPAs":     {objects: []Autoscaler{hpa("h", 1), vpa("v", 3), vpa("w", 2)}, want: []string{"VPA/v"}},
		"VPA Off counts":                    {objects: []Autoscaler{hpa("h", 2), vpa("v", 1, off)}, want: []string{"HPA/h"}},
		"VPA Off with allowRecommendOnly":   {objects: []Autoscaler{hpa("h", 2), vpa("v", 1, off)}, options: recommendOnly, want: []string{"HPA/h", "VPA/v"}},
		"VPA Auto with allowRecommendOnly":  {objects: []Autoscaler{hpa("h", 2), vpa("v", 1)}, options: recommendOnly, want: []string{"HPA/h"}},
		"VPA Off beside a VPA, allowed":     {objects: []Autoscaler{vpa("v", 2, off), vpa("w", 1)}, options: recommendOnly, want: []string{"VPA/v", "VPA/w"}},
		"opted out":                         {objects: []Autoscaler{hpa("h", 2), vpa("v", 1)}, options: optedOut, want: []string{"HPA/h", "VPA/v"}},
		"opted out elsewhere": {
			objects: []Autoscaler{hpa("h", 2, in("test")), vpa("v", 1, in("test"))}, options: optedOut, want: []string{"HPA/h"}},
		"opting out allows no second VPA": {objects: []Autoscaler{vpa("v", 2), vpa("w", 1)}, options: optedOut, want: []string{"VPA/v"}},
		"a new process believes the condition of the holder": {
			objects: []Autoscaler{hpa("h", 1, wasHolder), vpa("v", 2, isActing)}, want: []string{"HPA/h"}},
		"a new process believes the condition of the refused": {
			objects: []Autoscaler{hpa("h", 1, isActing), vpa("v", 2, wasRefused)}, want: []string{"HPA/h"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := Decide(Input{Autoscalers: tc.objects, Options: tc.options})
			if diff := cmp.Diff(tc.want, allowed(d)); diff != "" {
				t.Errorf("who may act (-want +got):\n%s", diff)
			}
			if len(d.Verdicts) != len(tc.objects) {
				t.Errorf("%d verdicts for %d autoscalers", len(d.Verdicts), len(tc.objects))
			}
		})
	}
}

// Each story is a sequence of observations, history handed from one to the next.
func TestDecideOverTime(t *testing.T) {
	h, v := hpa("h", 1), vpa("v", 2)
	crew := Target{APIVersion: "example.com/v1", Kind: "Crew", Name: "crew"}
	type step struct {
		objects []Autoscaler
		options Options
		want    []string
	}
	recommendOnly := Options{AllowRecommendOnly: true}
	tests := map[string][]step{
		"the holder stays though the refused shows signs of work": {
			{objects: []Autoscaler{h, v}, want: []string{"VPA/v"}},
			{objects: []Autoscaler{hpa("h", 1, isActing), v}, want: []string{"VPA/v"}},
		},
		"the holder stays though an older rival arrives": {
			{objects: []Autoscaler{h, v}, want: []string{"VPA/v"}},
			{objects: []Autoscaler{h, v, vpa("w", 9)}, want: []string{"VPA/v"}},
		},
		"deleting the holder ends the refusal": {
			{objects: []Autoscaler{h, v}, want: []string{"VPA/v"}},
			{objects: []Autoscaler{h}, want: []string{"HPA/h"}},
		},
		"a holder that is made again is new": {
			{objects: []Autoscaler{h, v}, want: []string{"VPA/v"}},
			{objects: []Autoscaler{h, vpa("v", 0, uid("second"))}, want: []string{"HPA/h"}},
		},
		"an HPA that acts keeps its target from an older VPA that turns to it": {
			{objects: []Autoscaler{hpa("h", 1, isActing), vpa("v", 2, isActing, on(db))}, want: []string{"HPA/h", "VPA/v"}},
			{objects: []Autoscaler{hpa("h", 1, isActing), vpa("v", 2, isActing)}, want: []string{"HPA/h"}},
			{objects: []Autoscaler{hpa("h", 1), vpa("v", 2, isActing)}, want: []string{"HPA/h"}},
		},
		"turning the holder away ends the refusal, and it returns as a newcomer": {
			{objects: []Autoscaler{h, v}, want: []string{"VPA/v"}},
			{objects: []Autoscaler{h, vpa("v", 2, on(db))}, want: []string{"HPA/h", "VPA/v"}},
			{objects: []Autoscaler{hpa("h", 1, isActing), vpa("v", 2, on(db))}, want: []string{"HPA/h", "VPA/v"}},
			{objects: []Autoscaler{h, v}, want: []string{"HPA/h"}},
		},
		"another version of the same reference is no new target": {
			{objects: []Autoscaler{hpa("h", 1, isActing), v}, want: []string{"HPA/h"}},
			{objects: []Autoscaler{hpa("h", 1, on(Target{"apps/v1beta2", "Deployment", "web"})), v}, want: []string{"HPA/h"}},
		},
		"a recommender that was left out held nothing": {
			{objects: []Autoscaler{hpa("h", 1, isActing), vpa("v", 2, off, isActing)}, options: recommendOnly, want: []string{"HPA/h", "VPA/v"}},
			{objects: []Autoscaler{hpa("h", 1, isActing), vpa("v", 2, isActing)}, options: recommendOnly, want: []string{"HPA/h"}},
		},
		"and its recommendation is no sign of work": {
			{objects: []Autoscaler{hpa("h", 3), vpa("v", 2, off, isActing)}, options: recommendOnly, want: []string{"HPA/h", "VPA/v"}},
			{objects: []Autoscaler{hpa("h", 3), vpa("v", 2, isActing)}, options: recommendOnly, want: []string{"HPA/h"}},
		},
		"an Off VPA that holds its target still holds it when it is switched on": {
			{objects: []Autoscaler{h, vpa("v", 2, off)}, want: []string{"VPA/v"}},
			{objects: []Autoscaler{hpa("h", 1, isActing), v}, want: []string{"VPA/v"}},
		},
		"switching the younger VPA off ends the conflict where that is allowed": {
			{objects: []Autoscaler{hpa("h", 3), v}, options: recommendOnly, want: []string{"HPA/h"}},
			{objects: []Autoscaler{hpa("h", 3), vpa("v", 2, off)}, options: recommendOnly, want: []string{"HPA/h", "VPA/v"}},
		},
		"a holder that selects a set's pods later keeps its own from the set's VPA": {
			{objects: []Autoscaler{hpa("h", 1, isActing, on(crew)), vpa("v", 2, on(db))}, want: []string{"HPA/h", "VPA/v"}},
			{objects: []Autoscaler{hpa("h", 1, isActing, on(crew), selecting(db)), vpa("v", 2, on(db))}, want: []string{"HPA/h"}},
			{objects: []Autoscaler{hpa("h", 1, on(crew), selecting(db)), vpa("v", 2, on(db), isActing)}, want: []string{"HPA/h"}},
			{objects: []Autoscaler{hpa("h", 1, on(crew)), vpa("v", 2, on(db))}, want: []string{"HPA/h", "VPA/v"}},
		},
		"a namespace that opts out ends the conflict": {
			{objects: []Autoscaler{h, v}, want: []string{"VPA/v"}},
			{objects: []Autoscaler{h, v}, options: Options{OptedOut: sets.New("prod")}, want: []string{"HPA/h", "VPA/v"}},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var history History
			for i, s := range steps {
				d := Decide(Input{Autoscalers: s.objects, Options: s.options, History: history})
				if diff := cmp.Diff(s.want, allowed(d)); diff != "" {
					t.Fatalf("step %d: who may act (-want +got):\n%s", i, diff)
				}
				history = d.History
			}
		})
	}
}

func TestVerdictNamesTheOther(t *testing.T) {
	h, v := hpa("front", 2), vpa("sizes", 1)
	d := Decide(Input{Autoscalers: []Autoscaler{h, v}, Options: Options{Recommender: "berth"}})
	want := map[Key]Verdict{
		h.Key: {
			Allowed: true, Reason: HoldsTarget, Others: []Key{v.Key},
			Message: `target Deployment/web is also wanted by VerticalPodAutoscaler "sizes", not acted on while this HorizontalPodAutoscaler works: delete one of them or change its target`,
		},
		v.Key: {
			Reason: TargetHasHPA, Others: []Key{h.Key},
			Message: `target Deployment/web already has HorizontalPodAutoscaler "front"; this VerticalPodAutoscaler is not acted on until one of them is deleted or changes its target: HPA suits stateless workloads, VPA stateful ones`,
		},
	}
	if diff := cmp.Diff(want, d.Verdicts); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

func TestRefusalSays(t *testing.T) {
	tests := map[string]struct {
		winners, loser []Autoscaler
		reason         Reason
		want           []string
	}{
		"every HPA in the way": {
			winners: []Autoscaler{hpa("h", 3), hpa("i", 2)}, loser: []Autoscaler{vpa("v", 1)},
			reason: TargetHasHPA, want: []string{`"h" and HorizontalPodAutoscaler "i"`},
		},
		"the VPA before this one": {
			winners: []Autoscaler{vpa("v", 2)}, loser: []Autoscaler{vpa("w", 1)},
			reason: TargetHasVPA, want: []string{`VerticalPodAutoscaler "v"`, "one VPA sizes a workload"},
		},
		"the owner where both meet": {
			winners: []Autoscaler{vpa("v", 2)},
			loser:   []Autoscaler{hpa("h", 1, on(Target{"apps/v1", "ReplicaSet", "web-5d9"}), ownedBy(web))},
			reason:  TargetHasVPA, want: []string{"target ReplicaSet/web-5d9 (owned by Deployment/web) already"},
		},
		"the other's target, where it is another": {
			winners: []Autoscaler{vpa("v", 2)},
			loser:   []Autoscaler{hpa("h", 1, on(Target{"apps/v1", "ReplicaSet", "web-5d9"}), ownedBy(web))},
			reason:  TargetHasVPA, want: []string{`already has VerticalPodAutoscaler "v" on Deployment/web;`},
		},
		"whose pods both select": {
			winners: []Autoscaler{vpa("v", 2, on(db))},
			loser:   []Autoscaler{hpa("h", 1, on(Target{"example.com/v1", "Crew", "crew"}), selecting(web, db))},
			reason:  TargetHasVPA, want: []string{`target Crew/crew (which selects pods of StatefulSet/db) already has VerticalPodAutoscaler "v" on StatefulSet/db;`},
		},
		"what makes the HPA again": {
			winners: []Autoscaler{hpa("keda-hpa-web", 2, madeBy(Target{"keda.sh/v1alpha1", "ScaledObject", "queue"}))},
			loser:   []Autoscaler{vpa("v", 1)},
			reason:  TargetHasHPA, want: []string{`; HorizontalPodAutoscaler "keda-hpa-web" is made by ScaledObject "queue": delete or change that`},
		},
		"what makes the refused one again": {
			winners: []Autoscaler{vpa("v", 2)},
			loser:   []Autoscaler{hpa("keda-hpa-web", 1, madeBy(Target{"keda.sh/v1alpha1", "ScaledObject", "queue"}))},
			reason:  TargetHasVPA, want: []string{`is made by ScaledObject "queue": delete or change that`},
		},
		"that upstream's recommender does not listen": {
			winners: []Autoscaler{hpa("h", 2)}, loser: []Autoscaler{vpa("v", 1, by(""))},
			reason: TargetHasHPA, want: []string{`recommender "default" is not Berth's`},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := Decide(Input{
				Autoscalers: append(tc.loser, tc.winners...),
				Options:     Options{Recommender: "berth"},
			})
			v := d.Verdicts[tc.loser[0].Key]
			if v.Allowed || v.Reason != tc.reason {
				t.Errorf("allowed %t for reason %q, want a refusal for %q", v.Allowed, v.Reason, tc.reason)
			}
			for _, part := range tc.want {
				if !strings.Contains(v.Message, part) {
					t.Errorf("message %q does not say %q", v.Message, part)
				}
			}
		})
	}
}
