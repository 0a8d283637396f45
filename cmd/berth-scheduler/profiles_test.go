// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryProfileKeepsRoom(t *testing.T) {
	const header = `{"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "profiles": [`
	everywhere := `{"schedulerName": "one", "plugins": {"multiPoint": {"enabled": [{"name": "SlotHold"}]}}}`
	tests := map[string]struct{ profiles, want string }{
		"enabled everywhere":       {everywhere, ""},
		"enabled where it acts":    {`{"plugins": {"preFilter": {"enabled": [{"name": "SlotHold"}]}, "filter": {"enabled": [{"name": "SlotHold"}]}, "reserve": {"enabled": [{"name": "SlotHold"}]}}}`, ""},
		"not enabled":              {`{"schedulerName": "two"}`, `profile "two" lacks plugin SlotHold at preFilter`},
		"in one of two":            {everywhere + `, {"schedulerName": "two"}`, `profile "two" lacks plugin SlotHold at preFilter`},
		"not in Filter":            {`{"schedulerName": "two", "plugins": {"multiPoint": {"enabled": [{"name": "SlotHold"}]}, "filter": {"disabled": [{"name": "SlotHold"}]}}}`, `lacks plugin SlotHold at filter`},
		"nothing in Reserve":       {`{"schedulerName": "two", "plugins": {"multiPoint": {"enabled": [{"name": "SlotHold"}]}, "reserve": {"disabled": [{"name": "*"}]}}}`, `lacks plugin SlotHold at reserve`},
		"moved to the front":       {`{"plugins": {"multiPoint": {"enabled": [{"name": "SlotHold"}]}, "filter": {"disabled": [{"name": "*"}], "enabled": [{"name": "SlotHold"}]}}}`, ""},
		"two ways to preempt":      {`{"schedulerName": "two", "plugins": {"multiPoint": {"enabled": [{"name": "SlotHold"}, {"name": "QuorumGuard"}]}}}`, `profile "two" has both QuorumGuard and DefaultPreemption`},
		"upstream's preemption":    {everywhere, ""},
		"ours":                     {`{"plugins": {"multiPoint": {"enabled": [{"name": "SlotHold"}, {"name": "QuorumGuard"}], "disabled": [{"name": "DefaultPreemption"}]}}}`, ""},
		"ours where it acts":       {`{"plugins": {"multiPoint": {"enabled": [{"name": "SlotHold"}]}, "postFilter": {"enabled": [{"name": "QuorumGuard"}], "disabled": [{"name": "*"}]}}}`, ""},
		"a profile that is broken": {`{"plugin": {}}`, `unknown field "profiles[0].plugin"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(header+tt.profiles+"]}"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := checkFile(path)
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
	if err := checkFile(filepath.Join(manifests, "config.yaml")); err != nil {
		t.Errorf("the configuration that is shipped: %v", err)
	}
	if err := checkFile(""); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("without a configuration: error %v", err)
	}
}
