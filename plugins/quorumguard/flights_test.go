// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package quorumguard

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

func TestFlights(t *testing.T) {
	tests := map[string]struct {
		events string // of preemptor p and victims a, b
		want   string
	}{
		"chosen":                                 {"begins chosen-a chosen-b", "a b"},
		"chosen and deleted":                     {"begins chosen-a deleted-a", "a"},
		"seen to terminate":                      {"begins chosen-a deleted-a landed-a", ""},
		"deleted before the cycle ends":          {"begins asks-a deleted-a chosen-a", "a"},
		"seen to terminate before it ends":       {"begins asks-a landed-a deleted-a chosen-a", ""},
		"requeued":                               {"begins chosen-a asks-a requeued-a deleted-a", ""},
		"requeued before the cycle ends":         {"begins asks-a requeued-a deleted-a chosen-a", ""},
		"requeued, and chosen by the next":       {"begins asks-a requeued-a deleted-a chosen-a begins chosen-a", "a"},
		"requeued, and chosen by another one":    {"begins asks-a requeued-a deleted-a other-a", "a"},
		"asked for before the cycle ends":        {"begins asks-a", "a"},
		"a failure drops who failed":             {"begins chosen-a asks-a fails-a", ""},
		"and who was never asked for":            {"begins chosen-a chosen-b asks-a fails-a", ""},
		"and keeps who is asked for":             {"begins chosen-a chosen-b asks-a asks-b fails-a", "b"},
		"before the cycle ends, too":             {"begins asks-a asks-b fails-a chosen-a chosen-b", "b"},
		"until that fails":                       {"begins chosen-a chosen-b asks-a asks-b fails-a fails-b", ""},
		"and who is deleted":                     {"begins chosen-a chosen-b deleted-a asks-b fails-b", "a"},
		"and who is deleted after it":            {"begins chosen-a chosen-b asks-b fails-a deleted-b", "b"},
		"a failure before the cycle ends":        {"begins asks-a fails-a chosen-a", ""},
		"which does not outlive the next":        {"begins asks-a fails-a chosen-a begins chosen-a", "a"},
		"who is deleted can fail no more":        {"begins asks-a deleted-a begins chosen-a asks-a fails-a", "a"},
		"a failure leaves other preemptors'":     {"other-b begins chosen-a asks-a fails-a", "b"},
		"a victim of both stays the other one's": {"other-b begins chosen-b asks-b fails-b", "b"},
		"until both have failed":                 {"other-b begins chosen-b asks-b fails-b lost-b", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := NewFlights()
			for event := range strings.FieldsSeq(tt.events) {
				what, victim, _ := strings.Cut(event, "-")
				switch what {
				case "begins":
					f.begins("p")
				case "chosen":
					f.chosen("p", types.UID(victim))
				case "other":
					f.chosen("q", types.UID(victim))
				case "lost":
					f.fails("q", types.UID(victim))
				case "asks":
					f.asks("p", types.UID(victim))
				case "deleted":
					f.deleted("p", types.UID(victim))
				case "requeued":
					f.requeued(types.UID(victim))
				case "landed":
					f.Landed(types.UID(victim))
				case "fails":
					f.fails("p", types.UID(victim))
				}
			}
			var got []string
			for _, uid := range []types.UID{"a", "b"} {
				if f.Has(uid) {
					got = append(got, string(uid))
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("in flight (-want +got):\n%s", diff)
			}
		})
	}
}
