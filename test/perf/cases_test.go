// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"os"
	"path/filepath"
	"testing"

	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// shipped is the configuration that people install.
const shipped = "../../manifests/scheduler/config.yaml"

// benchCase is one of cases.yaml, without a profile.
type benchCase struct {
	name string
	spec map[string]any
}

func readCases(b *testing.B) []benchCase {
	var specs []map[string]any
	read(b, "cases.yaml", &specs)
	var cases []benchCase
	for _, spec := range specs {
		name, _ := spec["name"].(string)
		cases = append(cases, benchCase{name: name, spec: spec})
	}
	return cases
}

// configFor writes the case as scheduler_perf wants it for one profile. Without
// a path the scheduler has upstream's defaults.
func (c benchCase) configFor(b *testing.B, profile, schedulerConfig string) string {
	spec := map[string]any{"schedulerConfigPath": schedulerConfig}
	for key, value := range c.spec {
		spec[key] = value
	}
	spec["name"] = profile
	return write(b, "cases.yaml", []any{spec})
}

// shippedConfig writes the shipped configuration for a scheduler that pods find
// under the default name: the pods of both profiles are the same.
func shippedConfig(b *testing.B) string {
	var config map[string]any
	read(b, shipped, &config)
	profiles, _ := config["profiles"].([]any)
	if len(profiles) != 1 {
		b.Fatalf("%s has %d profiles, want 1", shipped, len(profiles))
	}
	profiles[0].(map[string]any)["schedulerName"] = v1.DefaultSchedulerName
	return write(b, "scheduler.yaml", config)
}

func read(b *testing.B, path string, into any) {
	b.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(content, into); err != nil {
		b.Fatalf("%s: %v", path, err)
	}
}

func write(b *testing.B, name string, value any) string {
	b.Helper()
	content, err := yaml.Marshal(value)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	path := filepath.Join(b.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		b.Fatal(err)
	}
	return path
}
