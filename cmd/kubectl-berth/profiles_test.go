// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

// TestConfiguration looks at the policy that a plan names, and its notes.
func TestConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scheduler.yaml")
	if err := os.WriteFile(file, []byte(configuration("berth-scheduler", "{separateNodes: Required}")), 0o600); err != nil {
		t.Fatal(err)
	}
	const defaults = "the defaults of profile berth-scheduler are taken; name the file by --config"
	broken := configMapOf("broken", "x", "{spreads: {}}")
	without := configMapOf("mounted", "berth-scheduler", "{}")
	without.Data["config.yaml"] = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
	elsewhere := configured("berth-scheduler-1", "berth-scheduler", "{}")
	for _, object := range elsewhere {
		switch o := object.(type) {
		case *v1.ConfigMap:
			o.Namespace = "kube-system"
		case *appsv1.Deployment:
			o.Namespace = "kube-system"
		}
	}
	tests := map[string]struct {
		objects []runtime.Object
		change  func(*fake.Clientset)
		args    string
		want    []string // after "Set:"
	}{
		"the ConfigMap that is mounted": {
			objects: append(configured("berth-scheduler-2", "berth-scheduler", "{}"), configMapOf("berth-scheduler-1", "berth-scheduler", "{spread: {}}")),
			want:    []string{"default policy of profile berth-scheduler in ConfigMap berth-system/berth-scheduler-2"},
		},
		"the only ConfigMap": {
			objects: []runtime.Object{configMapOf("berth-scheduler-1", "berth-scheduler", "{}")},
			want:    []string{"default policy of profile berth-scheduler in ConfigMap berth-system/berth-scheduler-1"},
		},
		"one of two, nobody knows which": {
			objects: []runtime.Object{configMapOf("berth-scheduler-1", "berth-scheduler", "{}"), configMapOf("berth-scheduler-2", "berth-scheduler", "{}")},
			want: []string{"default policy of the plugin OrdinalPlacement",
				`the scheduler's configuration was not found (2 ConfigMaps in namespace berth-system carry one, and which of them is mounted is not known: deployments.apps "berth-scheduler" not found): ` + defaults},
		},
		"none": {
			want: []string{"default policy of the plugin OrdinalPlacement",
				"the scheduler's configuration was not found (no ConfigMap in namespace berth-system has a profile that enables OrdinalPlacement): " + defaults},
		},
		"one that is mounted and does without the plugin": {
			objects: append(configured("mounted", "berth-scheduler", "{}")[1:], without),
			want: []string{"default policy of the plugin OrdinalPlacement",
				"the scheduler's configuration was not found (no ConfigMap that Deployment berth-system/berth-scheduler mounts has a profile that enables OrdinalPlacement): " + defaults},
		},
		"no right to look": {
			change: forbidden("configmaps", "berth-system"),
			want: []string{"default policy of the plugin OrdinalPlacement",
				`the scheduler's configuration was not found (configmaps is forbidden: User "jane" cannot list it): ` + defaults},
		},
		"one that is mounted and is broken": {
			objects: append(configured("broken", "x", "{}")[1:], broken),
			want: []string{"default policy of the plugin OrdinalPlacement",
				`the scheduler's configuration was not found (ConfigMap berth-system/broken: profile x: OrdinalPlacement: plugin args: unknown field "defaultPolicy.spreads"): ` + defaults},
		},
		"another namespace":                  {objects: elsewhere, args: "--scheduler-namespace kube-system", want: []string{"default policy of profile berth-scheduler in ConfigMap kube-system/berth-scheduler-1"}},
		"a file, whatever is in the cluster": {objects: configured("berth-scheduler-2", "other", "{}"), args: "--config " + file, want: []string{"default policy of profile berth-scheduler in file " + file}},
		"a profile of another name":          {objects: configured("berth-scheduler-2", "other", "{}"), want: []string{"none: another scheduler (berth-scheduler) places its pods", "Berth places pods whose schedulerName is other"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := zones(set("db", 1)).add(test.objects...).but(test.change).run(t, append([]string{"plan", "sts/db"}, strings.Fields(test.args)...)...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(out) {
				field, text, _ := strings.Cut(line, ":")
				if field == "Policy" || field == "Note" {
					got = append(got, strings.TrimSpace(text))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("policy and notes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPluginsOfAProfile(t *testing.T) {
	const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- {schedulerName: s, plugins: "
	tests := map[string]struct {
		plugins       string
		places, gates bool
	}{
		"at every point":     {plugins: "{multiPoint: {enabled: [{name: OrdinalPlacement}, {name: OrdinalGate}]}}", places: true, gates: true},
		"at its own points":  {plugins: "{preFilter: {enabled: [{name: OrdinalPlacement}]}, preEnqueue: {enabled: [{name: OrdinalGate}]}}", places: true, gates: true},
		"placement alone":    {plugins: "{multiPoint: {enabled: [{name: OrdinalPlacement}]}}", places: true},
		"the gate taken out": {plugins: "{multiPoint: {enabled: [{name: OrdinalPlacement}, {name: OrdinalGate}]}, preEnqueue: {disabled: [{name: OrdinalGate}]}}", places: true},
		"all gates out":      {plugins: "{multiPoint: {enabled: [{name: OrdinalPlacement}, {name: OrdinalGate}]}, preEnqueue: {disabled: [{name: '*'}]}}", places: true},
		"the gate alone":     {plugins: "{multiPoint: {enabled: [{name: OrdinalGate}]}}"},
		"upstream's":         {plugins: "{}"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			found, err := parseProfiles([]byte(head + test.plugins + "}\n"))
			if err != nil {
				t.Fatal(err)
			}
			profile, places := found.of("s")
			if places != test.places || profile.gates != test.gates {
				t.Errorf("places %t and gates %t, want %t and %t", places, profile.gates, test.places, test.gates)
			}
			if places && (profile.placement == nil || profile.placement.Spread == nil) {
				t.Error("no default policy that spreads, want the plugin's")
			}
		})
	}
}
