// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// policy is one of namespace prod, made at a second.
func policy(name string, second int64, spec v1alpha1.PlacementPolicySpec) *v1alpha1.PlacementPolicy {
	return &v1alpha1.PlacementPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, CreationTimestamp: metav1.Unix(second, 0), Generation: 1},
		Spec:       spec,
	}
}

func forSet(name, set string, second int64) *v1alpha1.PlacementPolicy {
	return policy(name, second, v1alpha1.PlacementPolicySpec{
		TargetRef: &v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "StatefulSet", Name: set},
	})
}

func forLabels(name string, second int64, labels map[string]string) *v1alpha1.PlacementPolicy {
	return policy(name, second, v1alpha1.PlacementPolicySpec{Selector: &metav1.LabelSelector{MatchLabels: labels}})
}

func forPods(name string, second int64, labels map[string]string, ordinal v1alpha1.OrdinalSource) *v1alpha1.PlacementPolicy {
	p := forLabels(name, second, labels)
	p.Spec.Ordinal = &ordinal
	return p
}

func invalid(p *v1alpha1.PlacementPolicy) *v1alpha1.PlacementPolicy {
	p.Spec.SeparateNodes = "Sometimes"
	return p
}

func statefulSet(namespace, name string, labels map[string]string) *appsv1.StatefulSet {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	set.Spec.Template.Labels = labels
	return set
}

func pod(name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, Labels: labels}}
}

func bookOf(policies ...*v1alpha1.PlacementPolicy) *Book {
	book := NewBook()
	for _, p := range policies {
		book.Set(p)
	}
	return book
}

func TestOfSet(t *testing.T) {
	labels := map[string]string{"app": "db"}
	for name, tc := range map[string]struct {
		policies []*v1alpha1.PlacementPolicy
		want     string
	}{
		"none":                       {want: ""},
		"by name":                    {policies: []*v1alpha1.PlacementPolicy{forSet("p", "db", 1)}, want: "p"},
		"of another set":             {policies: []*v1alpha1.PlacementPolicy{forSet("p", "db-2", 1)}, want: ""},
		"by labels":                  {policies: []*v1alpha1.PlacementPolicy{forLabels("p", 1, labels)}, want: "p"},
		"by other labels":            {policies: []*v1alpha1.PlacementPolicy{forLabels("p", 1, map[string]string{"app": "web"})}, want: ""},
		"the older name":             {policies: []*v1alpha1.PlacementPolicy{forSet("a", "db", 2), forSet("b", "db", 1)}, want: "b"},
		"labels older than a name":   {policies: []*v1alpha1.PlacementPolicy{forSet("a", "db", 2), forLabels("b", 1, labels)}, want: "b"},
		"a name older than labels":   {policies: []*v1alpha1.PlacementPolicy{forSet("b", "db", 1), forLabels("a", 2, labels)}, want: "b"},
		"the older labels":           {policies: []*v1alpha1.PlacementPolicy{forLabels("a", 2, labels), forLabels("b", 1, labels)}, want: "b"},
		"as old, first by name":      {policies: []*v1alpha1.PlacementPolicy{forSet("b", "db", 1), forLabels("a", 1, labels)}, want: "a"},
		"an invalid one never":       {policies: []*v1alpha1.PlacementPolicy{invalid(forSet("a", "db", 1)), forSet("b", "db", 2)}, want: "b"},
		"invalid labels never":       {policies: []*v1alpha1.PlacementPolicy{invalid(forLabels("a", 1, labels))}, want: ""},
		"selected pods and sets too": {policies: []*v1alpha1.PlacementPolicy{forPods("a", 1, labels, v1alpha1.OrdinalSource{Label: "i"})}, want: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			book := bookOf(tc.policies...)
			got := ""
			if p := book.OfSet(statefulSet("prod", "db", labels)); p != nil {
				got = p.Name
			}
			if got != tc.want {
				t.Errorf("policy %q, want %q", got, tc.want)
			}
			if p := book.OfSet(statefulSet("test", "db", labels)); p != nil {
				t.Errorf("policy %q of another namespace counts", p.Name)
			}
		})
	}
}

func TestSlotOf(t *testing.T) {
	labels := map[string]string{"app": "kafka"}
	byLabel := v1alpha1.OrdinalSource{Label: "example.com/index"}
	byName := v1alpha1.OrdinalSource{NamePattern: "kafka(?:-data)?-([0-9]+)"}
	indexed := func(value string) map[string]string {
		return map[string]string{"app": "kafka", "example.com/index": value}
	}
	owned := pod("kafka-7", labels)
	isController := true
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "kafka", Controller: &isController}}
	podSet := owned.DeepCopy()
	podSet.OwnerReferences[0].APIVersion, podSet.OwnerReferences[0].Kind = "core.strimzi.io/v1beta2", "StrimziPodSet"
	for name, tc := range map[string]struct {
		policies []*v1alpha1.PlacementPolicy
		pod      *corev1.Pod
		want     string
	}{
		"no policy":                 {pod: pod("kafka-7", labels)},
		"a policy without ordinals": {policies: []*v1alpha1.PlacementPolicy{forLabels("k", 1, labels)}, pod: pod("kafka-7", labels)},
		"the label":                 {policies: []*v1alpha1.PlacementPolicy{forPods("k", 1, labels, byLabel)}, pod: pod("x", indexed("7")), want: "ordinal 7 of prod/k"},
		"no label":                  {policies: []*v1alpha1.PlacementPolicy{forPods("k", 1, labels, byLabel)}, pod: pod("kafka-7", labels)},
		"a label with a zero":       {policies: []*v1alpha1.PlacementPolicy{forPods("k", 1, labels, byLabel)}, pod: pod("x", indexed("07"))},
		"a negative label":          {policies: []*v1alpha1.PlacementPolicy{forPods("k", 1, labels, byLabel)}, pod: pod("x", indexed("-7"))},
		"a word":                    {policies: []*v1alpha1.PlacementPolicy{forPods("k", 1, labels, byLabel)}, pod: pod("x", indexed("seven"))},
		"the name":                  {policies: []*v1alpha1.PlacementPolicy{forPods("k", 1, labels, byName)}, pod: pod("kafka-7", labels), want: "ordinal 7 of prod/k"},
		"the whole name only":       {policies: []*v1alpha1.PlacementPolicy{forPods("k", 1, labels, byName)}, pod: pod("my-kafka-7", labels)},
		"to its end":                {policies: []*v1alpha1.PlacementPolicy{forPods("k", 1, labels, byName)}, pod: pod("kafka-7-init", labels)},
		"other labels":              {policies: []*v1alpha1.PlacementPolicy{forPods("k", 1, labels, byName)}, pod: pod("kafka-7", nil)},
		"a pod of a StatefulSet":    {policies: []*v1alpha1.PlacementPolicy{forPods("k", 1, labels, byName)}, pod: owned},
		"a pod of something else":   {policies: []*v1alpha1.PlacementPolicy{forPods("k", 1, labels, byName)}, pod: podSet, want: "ordinal 7 of prod/k"},
		"an invalid policy":         {policies: []*v1alpha1.PlacementPolicy{invalid(forPods("k", 1, labels, byName))}, pod: pod("kafka-7", labels)},
		"the older": {policies: []*v1alpha1.PlacementPolicy{forPods("a", 2, labels, byName), forPods("b", 1, labels, byName)},
			pod: pod("kafka-7", labels), want: "ordinal 7 of prod/b"},
		"the older that finds an ordinal": {policies: []*v1alpha1.PlacementPolicy{forPods("a", 2, labels, byName), forPods("b", 1, labels, byLabel)},
			pod: pod("kafka-7", labels), want: "ordinal 7 of prod/a"},
	} {
		t.Run(name, func(t *testing.T) {
			book := bookOf(tc.policies...)
			got := ""
			if slot, ok := book.SlotOf(tc.pod); ok {
				got = slot.String()
				if !slot.Set.Selected {
					t.Error("the set is not marked as selected")
				}
				if p := book.OfSelected(slot.Set); p == nil || p.Name != slot.Set.Name {
					t.Errorf("the set is placed by %v", p)
				}
			}
			if got != tc.want {
				t.Errorf("slot %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSlotOfClaim(t *testing.T) {
	labels := map[string]string{"app": "kafka"}
	book := bookOf(forPods("k", 1, labels, v1alpha1.OrdinalSource{NamePattern: "(?:data-)?kafka-([0-9]+)"}))
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "data-kafka-3", Labels: labels}}
	want := statefulset.Slot{Set: statefulset.SetKey{Namespace: "prod", Name: "k", Selected: true}, Ordinal: 3}
	if slot, ok := book.SlotOfClaim(claim); !ok || slot != want {
		t.Errorf("slot %v %v, want %v", slot, ok, want)
	}
	book.Delete("prod", "k")
	if slot, ok := book.SlotOfClaim(claim); ok {
		t.Errorf("slot %v without a policy", slot)
	}
	if p := book.OfSelected(want.Set); p != nil {
		t.Errorf("policy %v after it was deleted", p)
	}
}

func TestOfSelectedIsNoStatefulSet(t *testing.T) {
	book := bookOf(forPods("k", 1, map[string]string{"app": "kafka"}, v1alpha1.OrdinalSource{Label: "i"}))
	if p := book.OfSelected(statefulset.SetKey{Namespace: "prod", Name: "k"}); p != nil {
		t.Error("a StatefulSet of the name is placed by a policy that does not select it")
	}
}

func TestKnown(t *testing.T) {
	book := NewBook()
	wantKnown(t, book, false, "not been read yet")
	book.MarkReady(fmt.Errorf("no route to host"))
	wantKnown(t, book, false, "can not be read: no route to host")
	book.MarkReady(nil)
	wantKnown(t, book, true, "")
	book.MarkReady(fmt.Errorf("no route to host"))
	wantKnown(t, book, true, "")
}

// recorded collects changes.
func recorded(book *Book) func() []Change {
	var mu sync.Mutex
	var all []Change
	book.Subscribe(func(c Change) {
		book.Known() // a subscriber may ask
		book.OfSet(statefulSet("prod", "db", nil))
		mu.Lock()
		defer mu.Unlock()
		all = append(all, c)
	})
	return func() []Change {
		mu.Lock()
		defer mu.Unlock()
		found := all
		all = nil
		slices.SortFunc(found, func(a, b Change) int { return strings.Compare(a.Namespace+"/"+a.Set, b.Namespace+"/"+b.Set) })
		return found
	}
}

func TestChanges(t *testing.T) {
	book := NewBook()
	changes := recorded(book)
	want := func(step string, want ...Change) {
		t.Helper()
		if diff := cmp.Diff(want, changes()); diff != "" {
			t.Errorf("%s: changes (-want +got):\n%s", step, diff)
		}
	}
	everything, db := Change{}, Change{Namespace: "prod", Set: "db"}
	book.MarkReady(nil)
	want("known", everything)
	book.MarkReady(nil)
	want("known again")

	p := forSet("p", "db", 1)
	book.Set(p)
	want("added", db)
	before := book.OfSet(statefulSet("prod", "db", nil))

	reported := p.DeepCopy()
	reported.ResourceVersion = "2"
	reported.Status.ObservedGeneration = 1
	book.Set(reported)
	want("status written")
	if after := book.OfSet(statefulSet("prod", "db", nil)); after != before {
		t.Error("a status made another policy")
	}
	if v := book.Verdicts(nil)[0]; v.object != reported {
		t.Error("the verdict is about a former state of the object")
	}

	book.Set(forSet("p", "db", 2))
	want("made again, younger", db)
	edited := forSet("p", "db", 2)
	edited.Spec.SeparateNodes = v1alpha1.SeparateRequired
	book.Set(edited)
	want("edited", db)
	book.Set(forSet("p", "queue", 1))
	want("aimed elsewhere", db, Change{Namespace: "prod", Set: "queue"})
	book.Set(forLabels("p", 1, map[string]string{"app": "db"}))
	want("aimed by labels", Change{Namespace: "prod"})
	book.Delete("prod", "p")
	want("deleted", Change{Namespace: "prod"})
	book.Delete("prod", "p")
	want("deleted again")
	book.Set(invalid(forSet("q", "db", 1)))
	want("an invalid one", db)
	book.Replace([]*v1alpha1.PlacementPolicy{forSet("r", "queue", 1)})
	want("replaced", db, Change{Namespace: "prod", Set: "queue"})
	book.Replace([]*v1alpha1.PlacementPolicy{forSet("r", "queue", 1)})
	want("replaced by the same")
	book.Replace(nil)
	want("emptied", Change{Namespace: "prod", Set: "queue"})
}

func TestChangeConcerns(t *testing.T) {
	db := statefulset.SetKey{Namespace: "prod", Name: "db"}
	selected := statefulset.SetKey{Namespace: "prod", Name: "db", Selected: true}
	for name, tc := range map[string]struct {
		change        Change
		set, selected bool
	}{
		"everything":        {change: Change{}, set: true, selected: true},
		"the namespace":     {change: Change{Namespace: "prod"}, set: true, selected: true},
		"another namespace": {change: Change{Namespace: "test"}},
		"the set":           {change: Change{Namespace: "prod", Set: "db"}, set: true},
		"another set":       {change: Change{Namespace: "prod", Set: "db-2"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.change.Concerns(db) != tc.set || tc.change.Concerns(selected) != tc.selected {
				t.Errorf("concerns %v %v, want %v %v", tc.change.Concerns(db), tc.change.Concerns(selected), tc.set, tc.selected)
			}
		})
	}
}

// answers is all that readers can learn of a few sets and pods.
func answers(book *Book) string {
	var b strings.Builder
	var sets []*appsv1.StatefulSet
	for i := range 4 {
		labels := map[string]string{"app": fmt.Sprint(i % 2)}
		set := statefulSet("prod", fmt.Sprintf("s%d", i), labels)
		sets = append(sets, set)
		if p := book.OfSet(set); p != nil {
			fmt.Fprintf(&b, "%s: %s %+v\n", set.Name, p.Name, p.Spread)
		}
		slot, ok := book.SlotOf(pod(fmt.Sprintf("s%d-%d", i, i), labels))
		fmt.Fprintln(&b, slot, ok)
	}
	for _, v := range book.Verdicts(sets) {
		fmt.Fprintln(&b, v.Name, v.Accepted, v.AcceptedMessage, v.Conflicted, v.ConflictedMessage)
	}
	return b.String()
}

func randomPolicy(r *rand.Rand, name string) *v1alpha1.PlacementPolicy {
	second := int64(r.IntN(3))
	labels := map[string]string{"app": fmt.Sprint(r.IntN(2))}
	var p *v1alpha1.PlacementPolicy
	switch r.IntN(3) {
	case 0:
		p = forSet(name, fmt.Sprintf("s%d", r.IntN(4)), second)
	case 1:
		p = forLabels(name, second, labels)
	default:
		p = forPods(name, second, labels, v1alpha1.OrdinalSource{NamePattern: "s[0-9]-([0-9]+)"})
	}
	if r.IntN(4) == 0 {
		return invalid(p)
	}
	if r.IntN(2) == 0 {
		p.Spec.Spread = &v1alpha1.Spread{TopologyKey: "rack"}
	}
	return p
}

// TestOrderDoesNotMatter: books that heard of the same policies in any order,
// with detours, and by any means, give the same answers.
func TestOrderDoesNotMatter(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		final := map[string]*v1alpha1.PlacementPolicy{}
		var names []string
		for i := range 1 + r.IntN(6) {
			name := fmt.Sprintf("p%d", i)
			names, final[name] = append(names, name), randomPolicy(r, name)
		}
		straight := NewBook()
		var all []*v1alpha1.PlacementPolicy
		for _, name := range names {
			straight.Set(final[name])
			all = append(all, final[name])
		}
		want := answers(straight)

		detour := NewBook()
		for range 20 {
			name := fmt.Sprintf("p%d", r.IntN(8))
			if r.IntN(3) == 0 {
				detour.Delete("prod", name)
			} else {
				detour.Set(randomPolicy(r, name))
			}
		}
		whole := NewBook()
		whole.Set(randomPolicy(r, "p9"))
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		whole.Replace(all)
		for i := range 8 {
			name := fmt.Sprintf("p%d", i)
			if final[name] == nil {
				detour.Delete("prod", name)
			}
		}
		for _, p := range all {
			detour.Set(p)
		}
		for how, book := range map[string]*Book{"with detours": detour, "at once": whole} {
			if diff := cmp.Diff(want, answers(book)); diff != "" {
				t.Fatalf("seed %d, %s: answers (-want +got):\n%s", seed, how, diff)
			}
			if book.sources.Load() != straight.sources.Load() {
				t.Fatalf("seed %d, %s: %d sources, want %d", seed, how, book.sources.Load(), straight.sources.Load())
			}
		}
	}
}

// TestReadersAndWriters is for the race detector.
func TestReadersAndWriters(t *testing.T) {
	book := NewBook()
	var group sync.WaitGroup
	for seed := range uint64(4) {
		group.Go(func() {
			r := rand.New(rand.NewPCG(seed, 2))
			for range 100 {
				book.Set(randomPolicy(r, fmt.Sprintf("p%d", r.IntN(4))))
				book.Delete("prod", fmt.Sprintf("p%d", r.IntN(4)))
			}
		})
		group.Go(func() {
			for range 100 {
				answers(book)
			}
		})
	}
	group.Wait()
}

func TestVerdicts(t *testing.T) {
	labels := map[string]string{"app": "db"}
	sets := []*appsv1.StatefulSet{statefulSet("prod", "db", labels), statefulSet("prod", "db-2", labels), statefulSet("test", "db", labels)}
	old := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Unix()
	type verdict struct{ Name, Accepted, Conflicted string }
	for name, tc := range map[string]struct {
		policies []*v1alpha1.PlacementPolicy
		want     []verdict
	}{
		"alone": {
			policies: []*v1alpha1.PlacementPolicy{forSet("db", "db", old)},
			want:     []verdict{{Name: "db"}},
		},
		"two names": {
			policies: []*v1alpha1.PlacementPolicy{forSet("db-new", "db", old+1), forSet("db-old", "db", old)},
			want: []verdict{
				{Name: "db-new", Conflicted: `StatefulSet db is placed by PlacementPolicy "db-old", which is older (2026-01-02T03:04:05Z); this one has no effect on it`},
				{Name: "db-old"},
			},
		},
		"as old": {
			policies: []*v1alpha1.PlacementPolicy{forSet("b", "db", old), forSet("a", "db", old)},
			want: []verdict{
				{Name: "a"},
				{Name: "b", Conflicted: `StatefulSet db is placed by PlacementPolicy "a", which is as old (2026-01-02T03:04:05Z) and comes first by name; this one has no effect on it`},
			},
		},
		"labels over several sets": {
			policies: []*v1alpha1.PlacementPolicy{forLabels("new", old+1, labels), forLabels("old", old, labels)},
			want: []verdict{
				{Name: "new", Conflicted: `StatefulSet db is placed by PlacementPolicy "old", which is older (2026-01-02T03:04:05Z); this one has no effect on it, nor on 1 more that older policies place`},
				{Name: "old"},
			},
		},
		"a set that does not exist": {
			policies: []*v1alpha1.PlacementPolicy{forSet("new", "gone", old+1), forSet("old", "gone", old)},
			want: []verdict{
				{Name: "new", Conflicted: `StatefulSet gone is placed by PlacementPolicy "old", which is older (2026-01-02T03:04:05Z); this one has no effect on it`},
				{Name: "old"},
			},
		},
		"an invalid one is in nobody's way": {
			policies: []*v1alpha1.PlacementPolicy{forSet("new", "db", old+1), invalid(forSet("old", "db", old))},
			want: []verdict{
				{Name: "new"},
				{Name: "old", Accepted: `spec.separateNodes: Unsupported value: "Sometimes": supported values: "Required", "Preferred", "None"; the policy has no effect`},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []verdict
			for _, v := range bookOf(tc.policies...).Verdicts(sets) {
				short := verdict{Name: v.Name}
				if !v.Accepted {
					short.Accepted = v.AcceptedMessage
				}
				if v.Conflicted {
					short.Conflicted = v.ConflictedMessage
				}
				got = append(got, short)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestJudged(t *testing.T) {
	first, later := time.Unix(100, 0), time.Unix(200, 0)
	book := bookOf(forSet("db", "db", 1))
	one, changed := book.Verdicts(nil)[0].Judged(first)
	if !changed || len(one.Status.Conditions) != 2 || one.Status.ObservedGeneration != 1 {
		t.Fatalf("first verdict: changed %v, status %+v", changed, one.Status)
	}
	book.Set(one)
	if _, changed := book.Verdicts(nil)[0].Judged(later); changed {
		t.Error("the same verdict is news")
	}
	for lost, lose := range map[string]func(*v1alpha1.PlacementPolicyStatus){
		"the generation":  func(s *v1alpha1.PlacementPolicyStatus) { s.ObservedGeneration = 0 },
		"one condition":   func(s *v1alpha1.PlacementPolicyStatus) { s.Conditions = s.Conditions[1:] },
		"other condition": func(s *v1alpha1.PlacementPolicyStatus) { s.Conditions = s.Conditions[:1] },
	} {
		without := one.DeepCopy()
		lose(&without.Status)
		if _, changed := bookOf(without).Verdicts(nil)[0].Judged(later); !changed {
			t.Errorf("no news although the status lacks %s", lost)
		}
	}
	edited := invalid(one.DeepCopy())
	edited.Generation = 2
	book.Set(edited)
	two, changed := book.Verdicts(nil)[0].Judged(later)
	if !changed || two.Status.ObservedGeneration != 2 {
		t.Errorf("an invalid edit: changed %v, status %+v", changed, two.Status)
	}
	got := map[string]string{}
	for _, c := range two.Status.Conditions {
		got[c.Type] = fmt.Sprintf("%s %s since %d", c.Status, c.Reason, c.LastTransitionTime.Unix())
	}
	want := map[string]string{"Accepted": "False Invalid since 200", "Conflicted": "False NoConflict since 100"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	if len(edited.Status.Conditions) == 2 && edited.Status.Conditions[0].Status != metav1.ConditionTrue {
		t.Error("the object in the book was changed")
	}
}
