// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// FuzzOrdinals: what validation takes compiles, keeps its bounds, and reads
// back as written.
func FuzzOrdinals(f *testing.F) {
	for _, text := range []string{"0", "0-2,5", "3-", "01", "5-2", "", ",", "1--2", "999999999-", "1-1,1-1", " 1", "1,", "99999999999"} {
		f.Add(text)
	}
	grammar := regexp.MustCompile(`^(0|[1-9][0-9]{0,8})(-(0|[1-9][0-9]{0,8})?)?(,(0|[1-9][0-9]{0,8})(-(0|[1-9][0-9]{0,8})?)?)*$`)
	f.Fuzz(func(t *testing.T, text string) {
		placement := &v1alpha1.Placement{Rules: []v1alpha1.Rule{{Ordinals: text, NodeSelectorTerms: []v1alpha1.NodeSelectorTerm{{
			MatchExpressions: []v1alpha1.NodeLabelRequirement{{Key: "a", Operator: "Exists"}},
		}}}}}
		policy, errs := Compile("db", placement, nil)
		if len(errs) > 0 {
			return
		}
		if !grammar.MatchString(text) {
			t.Fatalf("%q is taken", text)
		}
		ordinals := policy.Rules[0].Ordinals
		for _, r := range ordinals {
			if r.First < 0 || r.Last < r.First || !ordinals.Has(r.First) || !ordinals.Has(r.Last) {
				t.Errorf("%q has the range %v", text, r)
			}
		}
		placement.Rules[0].Ordinals = ordinals.String()
		again, errs := Compile("db", placement, nil)
		if len(errs) > 0 && len(text) < 200 {
			t.Fatalf("%q is written as %q, which is refused: %v", text, ordinals, errs.ToAggregate())
		}
		if len(errs) == 0 && again.Rules[0].Ordinals.String() != ordinals.String() {
			t.Errorf("%q reads as %q", ordinals, again.Rules[0].Ordinals)
		}
	})
}

// FuzzNamePattern: a pattern that validation takes finds an ordinal only in a
// whole name, and only digits as they are written.
func FuzzNamePattern(f *testing.F) {
	for _, pattern := range []string{"db-([0-9]+)", "(?:data-)?db-([0-9]+)", "([0-9]*)", "(.*)", "a)(b", "(", "db", `\Qa(\E(.)`, "(a)|b", "(?i)DB-(.+)", `(?m)^db-(\d+)$`} {
		f.Add(pattern, "db-7")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		e := newEntry(forPods("p", 1, map[string]string{"app": "db"}, v1alpha1.OrdinalSource{NamePattern: pattern}))
		if e.policy == nil {
			if pattern != "" && len(e.errs) == 0 {
				t.Fatal("refused without a reason")
			}
			return
		}
		slot, ok := e.slot(&metav1.ObjectMeta{Namespace: "prod", Name: name, Labels: map[string]string{"app": "db"}})
		if !ok {
			return
		}
		if slot.Ordinal < 0 || !strings.Contains(name, strconv.Itoa(slot.Ordinal)) {
			t.Errorf("%q finds ordinal %d in %q", pattern, slot.Ordinal, name)
		}
	})
}
