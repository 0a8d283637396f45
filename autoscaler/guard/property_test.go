// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"
)

// world makes random autoscalers on few targets, so that most of them collide.
type world struct{ *rand.Rand }

func (w world) pick(of ...string) string { return of[w.Intn(len(of))] }

func (w world) target() Target {
	return Target{
		APIVersion: w.pick("apps/v1", "apps/v1", "apps/v1beta1", "example.com/v1", ""),
		Kind:       w.pick("Deployment", "StatefulSet"),
		Name:       w.pick("a", "b"),
	}
}

func (w world) autoscaler(name int) Autoscaler {
	a := Autoscaler{
		Key:           Key{Kind: HPA, Namespace: w.pick("x", "y"), Name: fmt.Sprint(name)},
		UID:           UID(fmt.Sprint(w.Int63())),
		Created:       epoch.Add(time.Duration(w.Intn(3)) * time.Second),
		Target:        w.target(),
		Acting:        w.Intn(2) == 0,
		RecommendOnly: w.Intn(4) == 0,
	}
	if w.Intn(2) == 0 {
		a.Kind = VPA
	} else {
		a.RecommendOnly = false
	}
	if w.Intn(4) == 0 {
		a.Owner = w.target()
	}
	if w.Intn(4) == 0 {
		for range 1 + w.Intn(3) {
			a.Selects = append(a.Selects, w.target())
		}
	}
	return a
}

func (w world) autoscalers() []Autoscaler {
	out := make([]Autoscaler, w.Intn(12))
	for i := range out {
		out[i] = w.autoscaler(i)
	}
	return out
}

func (w world) options() Options {
	o := Options{AllowRecommendOnly: w.Intn(2) == 0}
	if w.Intn(4) == 0 {
		o.OptedOut = sets.New("x")
	}
	return o
}

// collide is the rule of the package comment, written for two autoscalers alone.
func collide(a, b Autoscaler, o Options) bool {
	left := func(a Autoscaler) bool { return a.Kind == VPA && a.RecommendOnly && o.AllowRecommendOnly }
	places := func(a Autoscaler) []Target {
		if a.Owner.Name != "" {
			return append(a.Selects, a.Owner)
		}
		return append(a.Selects, a.Target)
	}
	groups := map[string]string{"apps/v1": "apps", "apps/v1beta1": "apps", "example.com/v1": "example.com"}
	one := func(p, q Target) bool {
		return p.Kind == q.Kind && p.Name == q.Name && (p.APIVersion == "" || q.APIVersion == "" || groups[p.APIVersion] == groups[q.APIVersion])
	}
	meet := slices.ContainsFunc(places(a), func(p Target) bool {
		return slices.ContainsFunc(places(b), func(q Target) bool { return one(p, q) })
	})
	switch {
	case a.Key == b.Key || a.Namespace != b.Namespace || left(a) || left(b) || !meet:
		return false
	case a.Kind != b.Kind:
		return !o.OptedOut.Has(a.Namespace)
	default:
		return a.Kind == VPA
	}
}

// No two that collide are allowed, and whoever is refused collides with one that is
// allowed: nobody is refused for nothing, and no target is left to nobody.
func TestExactlyOneActs(t *testing.T) {
	w := world{rand.New(rand.NewSource(1))}
	for range 3000 {
		objects, options := w.autoscalers(), w.options()
		d := Decide(Input{Autoscalers: objects, Options: options})
		for _, a := range objects {
			rivals := 0
			for _, b := range objects {
				if collide(a, b, options) && d.Verdicts[b.Key].Allowed {
					rivals++
				}
			}
			v := d.Verdicts[a.Key]
			if v.Allowed != (rivals == 0) {
				t.Fatalf("%v is allowed: %t, beside %d rivals that act\n%+v", a.Key, v.Allowed, rivals, objects)
			}
			if !v.Allowed && len(v.Others) != rivals {
				t.Fatalf("%v names %v of %d rivals that act", a.Key, v.Others, rivals)
			}
		}
	}
}

func TestBothSidesNameEachOther(t *testing.T) {
	w := world{rand.New(rand.NewSource(2))}
	for range 1000 {
		d := Decide(Input{Autoscalers: w.autoscalers(), Options: w.options()})
		for k, v := range d.Verdicts {
			for _, other := range v.Others {
				back := d.Verdicts[other]
				if back.Allowed == v.Allowed || !contains(back.Others, k) || back.Message == "" {
					t.Fatalf("%v says %+v, its other %v says %+v", k, v, other, back)
				}
			}
			if (v.Reason == NoConflict) != (len(v.Others) == 0) {
				t.Fatalf("%v has reason %q beside %v", k, v.Reason, v.Others)
			}
		}
	}
}

func contains(keys []Key, k Key) bool {
	for _, o := range keys {
		if o == k {
			return true
		}
	}
	return false
}

func TestOrderDoesNotMatter(t *testing.T) {
	w := world{rand.New(rand.NewSource(3))}
	for range 1000 {
		objects, options := w.autoscalers(), w.options()
		want := Decide(Input{Autoscalers: objects, Options: options})
		w.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
		if diff := cmp.Diff(want, Decide(Input{Autoscalers: objects, Options: options})); diff != "" {
			t.Fatalf("decision after a shuffle (-want +got):\n%s", diff)
		}
	}
}

// Whoever holds a target keeps it while statuses flap and rivals come and go, in this
// process and in one that knows only the conditions.
func TestHoldersAreSticky(t *testing.T) {
	w := world{rand.New(rand.NewSource(4))}
	for range 500 {
		objects, options := w.autoscalers(), w.options()
		d := Decide(Input{Autoscalers: objects, Options: options})
		for next := range 8 {
			holders := map[UID]Key{}
			for _, a := range objects {
				if d.Verdicts[a.Key].Reason == HoldsTarget {
					holders[a.UID] = a.Key
				}
			}
			restarted := w.Intn(3) == 0
			for i := range objects {
				objects[i].Recorded = Unknown
				objects[i].Acting = w.Intn(2) == 0
				if restarted {
					objects[i].Recorded = StandingOf(d.Verdicts[objects[i].Key].Reason)
				}
			}
			history := d.History
			if restarted {
				history = nil
			}
			objects = append(objects, w.autoscaler(100+next))
			d = Decide(Input{Autoscalers: objects, Options: options, History: history})
			for _, k := range holders {
				if !d.Verdicts[k].Allowed {
					t.Fatalf("%v lost its target (restarted: %t): %+v", k, restarted, d.Verdicts[k])
				}
			}
		}
	}
}

// When all that act are deleted, some of those they refused act in the same decision.
func TestDeletionEndsTheRefusal(t *testing.T) {
	w := world{rand.New(rand.NewSource(5))}
	for range 1000 {
		objects, options := w.autoscalers(), w.options()
		d := Decide(Input{Autoscalers: objects, Options: options})
		var rest []Autoscaler
		for _, a := range objects {
			if !d.Verdicts[a.Key].Allowed {
				rest = append(rest, a)
			}
		}
		after := Decide(Input{Autoscalers: rest, Options: options, History: d.History})
		for k, v := range after.Verdicts {
			for _, other := range v.Others {
				if _, exists := after.Verdicts[other]; !exists {
					t.Fatalf("%v is still in conflict with %v, which is gone", k, other)
				}
			}
		}
		if len(rest) > 0 && len(allowed(after)) == 0 {
			t.Fatalf("nobody acts among %+v", rest)
		}
		if len(after.History) != len(rest) {
			t.Fatalf("%d records are kept for %d autoscalers", len(after.History), len(rest))
		}
	}
}
