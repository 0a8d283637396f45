// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseNamesWhatDoesNotFitItsField(t *testing.T) {
	const duration, quantity = "must be a duration such as 90s, 10m or 1h30m", "must be a quantity such as 500m, 4 or 16Gi"
	for name, tc := range map[string]struct {
		config string
		want   []string
	}{
		"no unit":          {"nodes: {unneededTime: 10}", []string{`nodes.unneededTime: Invalid value: 10: ` + duration}},
		"no such unit":     {"nodes: {unneededTime: 10 minutes}", []string{`nodes.unneededTime: Invalid value: "10 minutes": ` + duration}},
		"not a pointer":    {"syncPeriod: often", []string{`syncPeriod: Invalid value: "often": ` + duration}},
		"deep in others'":  {"leaderElection: {leaseDuration: 15}", []string{`leaderElection.leaseDuration: Invalid value: 15: ` + duration}},
		"a percentage":     {"nodes: {utilizationThreshold: 50%}", []string{`nodes.utilizationThreshold: Invalid value: "50%": must be a number such as 0.5`}},
		"a quantity":       {"nodes: {groups: [{name: a}, {name: b, template: {capacity: {cpu: 4 cores}}}]}", []string{`nodes.groups[1].template.capacity[cpu]: Invalid value: "4 cores": ` + quantity}},
		"a bound":          {"nodes: {cores: {max: many}}", []string{`nodes.cores.max: Invalid value: "many": ` + quantity}},
		"a map for a list": {"nodes: {groups: {a: {}}}", []string{`nodes.groups: Invalid value: {"a":{}}: must be a list`}},
		"a list for a map": {"nodes: [kwok]", []string{`nodes: Invalid value: ["kwok"]: must be a map, of fields and their values`}},
		"a name":           {"nodes: {groups: [a]}", []string{`nodes.groups[0]: Invalid value: "a": must be a map, of fields and their values`}},
		"a boolean":        {"horizontal: {scaleToZero: 'on'}", []string{`horizontal.scaleToZero: Invalid value: "on": must be true or false`}},
		"YAML's boolean":   {"horizontal: {mode: off}", []string{`horizontal.mode: Invalid value: false: must be a string; put it in quotes`}},
		"half a node":      {"nodes: {maxDrains: 0.5}", []string{`nodes.maxDrains: Invalid value: 0.5: must be a whole number of 32 bits`}},
		"too many nodes":   {"nodes: {maxDrains: 3000000000}", []string{`nodes.maxDrains: Invalid value: 3000000000: must be a whole number of 32 bits`}},
		"a time":           {"nodes: {groups: [{name: a, template: {capacity: {}, taints: [{key: a, timeAdded: now}]}}]}", []string{`nodes.groups[0].template.taints[0].timeAdded: Invalid value: "now": must be a time such as 2006-01-02T15:04:05Z`}},
		"a long story":     {"nodes: {groups: " + strings.Repeat("long ", 50) + "}", []string{`nodes.groups: Invalid value: "\"` + strings.Repeat("long ", 15) + `long…": must be a list`}},
		"all of them":      {"nodes: {unreadyTime: 1, maxDrains: x}\nsyncPeriod: 2", []string{`nodes.maxDrains: Invalid value: "x"`, `nodes.unreadyTime: Invalid value: 1`, `syncPeriod: Invalid value: 2`}},
		"beside unknown":   {"nodes: {unreadyTime: 1, maxDrain: x}", []string{`nodes.maxDrain: Forbidden: unknown field`, `nodes.unreadyTime: Invalid value: 1`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(minimal + tc.config))
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// A file that is no configuration at all has no field to name.
func TestParseRefusesWhatIsNoMap(t *testing.T) {
	_, err := Parse([]byte("- apiVersion"))
	if err == nil {
		t.Fatal("accepted")
	}
	if diff := cmp.Diff(`reading AutoscalerConfiguration: AutoscalerConfiguration: Invalid value: ["apiVersion"]: must be a map, of fields and their values`, err.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}
