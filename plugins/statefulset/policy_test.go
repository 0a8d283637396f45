// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestPolicy(t *testing.T) {
	tests := map[string]struct {
		spread *Spread
		want   []string
	}{
		"none":     {nil, nil},
		"defaults": {&Spread{}, nil},
		"all":      {&Spread{TopologyKey: "example.com/rack", Domains: []string{"r1", "r2"}, Arrangement: Interleaved, Enforcement: Required}, nil},
		"key":      {&Spread{TopologyKey: "not a label"}, []string{"FieldValueInvalid policy.spread.topologyKey"}},
		"domains": {&Spread{Domains: []string{"a", "", "a", "not a value"}}, []string{
			"FieldValueRequired policy.spread.domains[1]", "FieldValueDuplicate policy.spread.domains[2]", "FieldValueInvalid policy.spread.domains[3]",
		}},
		"arrangement": {&Spread{Arrangement: "Random"}, []string{"FieldValueNotSupported policy.spread.arrangement"}},
		"enforcement": {&Spread{Enforcement: "Maybe"}, []string{"FieldValueNotSupported policy.spread.enforcement"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			policy := Policy{Spread: tt.spread}
			policy.Default()
			var got []string
			for _, err := range policy.Validate(field.NewPath("policy")) {
				got = append(got, string(err.Type)+" "+err.Field)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}
