// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"errors"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (w *world) start(key SetKey, first int32) {
	w.sets[key].Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: first}
}

// rule admits nodes with the label capacity=on-demand, and names zones.
func rule(ordinals string, zones ...string) Rule {
	parsed, _ := ParseOrdinals(ordinals) // one that is none names nobody, and its test fails
	return Rule{
		Ordinals: parsed,
		Selects:  func(node *corev1.Node) bool { return node.Labels["capacity"] == "on-demand" },
		Values:   func(string) []string { return zones },
		Text:     "capacity In (on-demand)",
	}
}

func TestRulesNarrowDomains(t *testing.T) {
	onDemand := func(w *world, node string) { w.nodes[node].Labels["capacity"] = "on-demand" }
	tests := map[string]struct {
		nodes  func(*world)
		policy func(*Policy)
		want   string
	}{
		"only where its nodes are":     {func(w *world) { onDemand(w, "b1") }, func(p *Policy) { p.Rules = []Rule{rule("0")} }, "b a c"},
		"nowhere":                      {func(*world) {}, func(p *Policy) { p.Rules = []Rule{rule("0")} }, " a b"},
		"the first rule counts":        {func(w *world) { onDemand(w, "b1") }, func(p *Policy) { p.Rules = []Rule{rule("0-1"), rule("0", "c")} }, "b b a"},
		"named domains, nodes to come": {func(*world) {}, func(p *Policy) { p.Rules, p.Spread.Domains = []Rule{rule("0")}, []string{"a", "b", "c"} }, "a b c"},
		"named domains, named by the rule": {func(*world) {}, func(p *Policy) {
			p.Rules, p.Spread.Domains = []Rule{rule("0", "c", "z")}, []string{"a", "b", "c"}
		}, "c a b"},
		"named domains, a node that is there counts more": {func(w *world) { onDemand(w, "b1") }, func(p *Policy) {
			p.Rules, p.Spread.Domains = []Rule{rule("0")}, []string{"a", "b", "c"}
		}, "b a c"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, p := newWorld(3)
			tt.nodes(w)
			w.policy = byZone(tt.policy)
			if got := places(t, p, 0, 1, 2); got != tt.want {
				t.Errorf("places %q, want %q", got, tt.want)
			}
		})
	}
}

// Whoever is told a domain by a rule is woken when its nodes come and go.
func TestNodesOfRulesWake(t *testing.T) {
	for name, domains := range map[string][]string{"domains of the nodes": nil, "named domains": {"a", "b", "c"}} {
		t.Run(name, func(t *testing.T) {
			w, p := newWorld(2)
			w.policy = byZone(func(p *Policy) { p.Rules, p.Spread.Domains = []Rule{rule("0")}, domains })
			before := places(t, p, 0)
			w.node("c2", "c").Labels["capacity"] = "on-demand"
			if got := names(p.NodeChanged("c2")); got != "db-0" {
				t.Errorf("woken by the first node of the rule: %q, want db-0", got)
			}
			if got := places(t, p, 0); got != "c" {
				t.Errorf("places %q, want c", got)
			}
			delete(w.nodes, "c2")
			if got := names(p.NodeChanged("c2")); got != "db-0" {
				t.Errorf("woken by the end of its last node: %q, want db-0", got)
			}
			if got := places(t, p, 0); got != before {
				t.Errorf("places %q, want %q", got, before)
			}
		})
	}
}

func (w *world) readiness(node string, ready bool) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	changed := w.nodes[node].DeepCopy()
	changed.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, LastTransitionTime: metav1.NewTime(w.now)}}
	w.nodes[node] = changed
}

func losable(domains ...string) func(*Policy) {
	return func(p *Policy) { p.Spread.LossAfter, p.Spread.Domains = 5*time.Minute, domains }
}

func TestDomainLoss(t *testing.T) {
	w, p := newWorld(3)
	w.policy = byZone(losable())
	for _, node := range []string{"a1", "b1", "c1"} {
		w.readiness(node, true)
	}
	w.bind("data-db-2", zone, "c")
	if got := places(t, p, 0, 1, 2); got != "a b c" {
		t.Fatalf("places %q", got)
	}
	w.readiness("b1", false)
	w.readiness("c1", false)
	p.NodeChanged("b1")
	p.NodeChanged("c1")
	w.now = w.now.Add(5*time.Minute - time.Second)
	if got := names(p.Expired()); got != "" {
		t.Errorf("woken before the domains are lost: %q", got)
	}
	w.now = w.now.Add(time.Second)
	if got := names(p.Expired()); got != "db-1" {
		t.Errorf("woken when the domains are lost: %q, want db-1", got)
	}
	if got := places(t, p, 0, 1, 2); got != "a a c" {
		t.Errorf("places %q, want a a c: the slot with a volume stays", got)
	}
	w.readiness("b1", true)
	if got := names(p.NodeChanged("b1")); got != "db-1" {
		t.Errorf("woken when b is back: %q, want db-1", got)
	}
	if got := places(t, p, 0, 1, 2); got != "a b c" {
		t.Errorf("places %q, want a b c", got)
	}
}

// Where all domains are lost, nothing is won by leaving them.
func TestAllDomainsLost(t *testing.T) {
	w, p := newWorld(3)
	w.policy = byZone(losable())
	for _, node := range []string{"a1", "b1", "c1"} {
		w.readiness(node, false)
	}
	w.now = w.now.Add(time.Hour)
	if got := places(t, p, 0, 1, 2); got != "a b c" {
		t.Errorf("places %q, want a b c", got)
	}
}

// A named domain without any node is lost as long after it was seen empty; for
// somebody who looks once, at once.
func TestEmptyDomainIsLost(t *testing.T) {
	w, p := newWorld(3)
	w.policy = byZone(losable("a", "b", "z"))
	w.readiness("a1", true)
	w.readiness("b1", true)
	if got := places(t, p, 0, 1, 2); got != "a b z" {
		t.Errorf("places %q, want a b z", got)
	}
	w.now = w.now.Add(5 * time.Minute)
	if got := names(p.Expired()); got != "db-2" {
		t.Errorf("woken: %q, want db-2", got)
	}
	p.rules.EmptyIsLost = true
	once := NewPlanner(w, p.rules)
	if got := places(t, once, 0, 1, 2); got != "a b a" {
		t.Errorf("for who looks once %q, want a b a", got)
	}
}

func TestPolicyUnknown(t *testing.T) {
	w, p := newWorld(3)
	w.unread = errors.New("PlacementPolicies are being read")
	_, err := p.Place(dbSlot(1), pod(dbSlot(1), ""))
	var unknown *PolicyUnknownError
	if !errors.As(err, &unknown) || err.Error() != "ordinal 1 of prod/db has no place yet: PlacementPolicies are being read" {
		t.Fatalf("got %v, want a PolicyUnknownError with the reason", err)
	}
	w.unread, w.policy = nil, nil
	if got := names(p.PolicyChanged(func(key SetKey) bool { return key == db })); got != "db-1" {
		t.Errorf("woken, as nothing places it: %q, want db-1", got)
	}
}

func TestPolicyChangeWakesWhoIsTold(t *testing.T) {
	w, p := newWorld(6)
	places(t, p, 0, 1, 2, 3)
	w.policy = byZone(func(p *Policy) { p.Spread.BlockSize = 2 })
	woken := names(p.PolicyChanged(func(key SetKey) bool { return key == db }))
	if woken != "db-0 db-1 db-2 db-3" { // another policy may mean another rule or separation, too
		t.Errorf("woken: %q", woken)
	}
	if got := places(t, p, 0, 1, 2, 3); got != "a a b b" {
		t.Errorf("places %q, want a a b b", got)
	}
}

func TestSelectedSet(t *testing.T) {
	w, p := newWorld(0)
	key := SetKey{Namespace: "prod", Name: "pg", Selected: true}
	w.members = map[int]member{2: {pod: "pg-2", claims: []string{"pg-2", "pg-2-wal"}}, 5: {pod: "pg-5"}, 9: {}}
	w.bind("pg-2", zone, "b")
	asked := pod(Slot{Set: key, Ordinal: 9}, "")
	asked.OwnerReferences = nil
	plan, _, err := p.PlanOf(Slot{Set: key, Ordinal: 9}, asked)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for placement := range plan.All() {
		got = append(got, placement.Domain)
	}
	if want := []string{"b", "a", "c"}; !slices.Equal(got, want) {
		t.Errorf("places %v, want %v", got, want)
	}
}

func TestSuits(t *testing.T) {
	w, p := newWorld(3)
	w.policy = byZone(func(p *Policy) { p.Rules = []Rule{rule("1")} })
	w.nodes["b1"].Labels["capacity"] = "on-demand"
	places(t, p, 1)
	for name, tt := range map[string]struct {
		node  *corev1.Node
		suits bool
	}{
		"planned domain and rule": {w.nodes["b1"], true},
		"another domain":          {w.nodes["a1"], false},
		"not of the rule":         {(&world{nodes: map[string]*corev1.Node{}}).node("b2", "b"), false},
	} {
		if suits, known := p.Suits(dbSlot(1), "db-1", tt.node); !known || suits != tt.suits {
			t.Errorf("%s: %t, %t, want %t", name, suits, known, tt.suits)
		}
	}
	if _, known := p.Suits(dbSlot(2), "db-2", w.nodes["b1"]); known {
		t.Error("a pod that does not wait is known")
	}
}

func TestParseOrdinals(t *testing.T) {
	for text, want := range map[string]string{"0": "0", "0-2,5": "0-2,5", "3-": "3-", " 7, 1-1 ": "1,7"} {
		if got, err := ParseOrdinals(text); err != nil || got.String() != want {
			t.Errorf("%q is %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", ",", "a", "-1", "2-1", "01", "1-x", "1,,2", "99999999999"} {
		if got, err := ParseOrdinals(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
	ordinals, err := ParseOrdinals("0-2,5,8-")
	if err != nil {
		t.Fatal(err)
	}
	for ordinal, want := range map[int]bool{0: true, 2: true, 3: false, 5: true, 7: false, 8: true, 2_000_000: true} {
		if ordinals.Has(ordinal) != want {
			t.Errorf("%d is one of %s: %t, want %t", ordinal, ordinals, !want, want)
		}
	}
}
