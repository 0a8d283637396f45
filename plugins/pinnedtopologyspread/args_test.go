// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package pinnedtopologyspread

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
)

func TestArgs(t *testing.T) {
	tests := map[string]struct {
		args    string
		wantErr string
	}{
		"nothing":               {},
		"system":                {args: "defaultingType: System"},
		"kind and version":      {args: "apiVersion: kubescheduler.config.k8s.io/v1\nkind: PodTopologySpreadArgs\ndefaultingType: List"},
		"list":                  {args: "defaultingType: List\ndefaultConstraints: [{topologyKey: rack, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway}]"},
		"unknown field":         {args: "defaultType: List", wantErr: `unknown field "defaultType"`},
		"unknown inner field":   {args: "defaultingType: List\ndefaultConstraints: [{topologyKey: rack, maxSkev: 1, whenUnsatisfiable: ScheduleAnyway}]", wantErr: `unknown field "defaultConstraints[0].maxSkev"`},
		"unknown type":          {args: "defaultingType: Lists", wantErr: `args.defaultingType: Unsupported value: "Lists"`},
		"system with a list":    {args: "defaultConstraints: [{topologyKey: rack, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway}]", wantErr: "args.defaultingType: Invalid value"},
		"skew of nothing":       {args: "defaultingType: List\ndefaultConstraints: [{topologyKey: rack, whenUnsatisfiable: ScheduleAnyway}]", wantErr: "args.defaultConstraints[0].maxSkew"},
		"selector is forbidden": {args: "defaultingType: List\ndefaultConstraints: [{topologyKey: rack, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}]", wantErr: "args.defaultConstraints[0].labelSelector: Forbidden"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tryBuild(t, Name, tt.args, &pins{})
			switch {
			case tt.wantErr == "" && err != nil:
				t.Errorf("unexpected error: %v", err)
			case tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)):
				t.Errorf("got error %v, want one with %q", err, tt.wantErr)
			}
		})
	}
	a, err := decode(nil)
	if err != nil || a.DefaultingType != config.SystemDefaulting {
		t.Errorf("no args give %+v, %v; want the system's defaults", a, err)
	}
	if _, err := decode(&v1.Pod{}); err == nil {
		t.Error("a pod was taken for args")
	}
}
