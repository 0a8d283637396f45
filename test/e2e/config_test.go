// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// lockedBuffer collects what a process says while somebody reads it.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestUnknownField: a program that is given a field it does not know ends, and names it.
func TestUnknownField(t *testing.T) {
	t.Parallel()
	const (
		scheduler = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
		profile   = "profiles:\n- schedulerName: berth-scheduler\n  plugins:\n    multiPoint: {enabled: [{name: OrdinalPlacement}, {name: SlotHold}, {name: VolumeAffinity}]}\n"
		autoscale = "apiVersion: config.berth.dev/v1alpha1\nkind: AutoscalerConfiguration\n"
	)
	args := func(plugin, args string) string {
		return scheduler + profile + "  pluginConfig:\n  - name: " + plugin + "\n    args: " + args + "\n"
	}
	tests := map[string]struct {
		program, config string
		want            []string
	}{
		"arg of OrdinalPlacement": {
			program: fixture.Scheduler,
			config:  args("OrdinalPlacement", "{defaultPolicy: {spread: {topolgyKey: zone}}}"),
			want:    []string{"OrdinalPlacement", "topolgyKey"},
		},
		"topology key that is no label": {
			program: fixture.Scheduler,
			config:  args("OrdinalPlacement", `{defaultPolicy: {spread: {topologyKey: "not a label"}}}`),
			want:    []string{"defaultPolicy.spread.topologyKey", "not a label"},
		},
		"profile that keeps no room": {
			program: fixture.Scheduler,
			config:  scheduler + strings.Replace(profile, "{name: SlotHold}, ", "", 1),
			want:    []string{"berth-scheduler", "SlotHold", "multiPoint"},
		},
		"arg of VolumeAffinity": {
			program: fixture.Scheduler,
			config:  args("VolumeAffinity", "{reech: 3}"),
			want:    []string{"VolumeAffinity", "reech"},
		},
		"plugin": {
			program: fixture.Scheduler,
			config:  scheduler + strings.Replace(profile, "VolumeAffinity", "VolumeAfinity", 1),
			want:    []string{"VolumeAfinity"},
		},
		"field of the scheduler's configuration": {
			program: fixture.Scheduler,
			config:  scheduler + "profils: []\n",
			want:    []string{"profils"},
		},
		"field of the autoscaler's configuration": {
			program: fixture.Autoscaler,
			config:  autoscale + "horizontal: {tolerrance: 0.2}\n",
			want:    []string{"horizontal.tolerrance"},
		},
		"node group without a name": {
			program: fixture.Autoscaler,
			config:  autoscale + "nodes: {provider: kwok, schedulerConfigFile: f, groups: [{min: 0, max: 1, template: {capacity: {cpu: 1}}}]}\n",
			want:    []string{"nodes.groups[0].name"},
		},
	}
	testenv.Test(t, features.New("what a program does not know").
		Assess("ends it, named", step(func(ctx context.Context, t *testing.T, s scene) {
			for name, tc := range tests {
				t.Run(name, func(t *testing.T) {
					config := tc.config
					flags := []string{"--kubeconfig=" + s.Kubeconfig}
					if tc.program == fixture.Scheduler {
						config += "clientConnection: {kubeconfig: " + s.Kubeconfig + "}\nleaderElection: {leaderElect: false}\n"
						flags = []string{"--secure-port=0"}
					}
					out := s.mustFail(ctx, t, tc.program, config, flags...)
					if !containsAll(out, tc.want) {
						t.Errorf("%s does not say %q:\n%s", tc.program, tc.want, out)
					}
				})
			}
		})).
		Feature())
}

// mustFail runs a program with a configuration, demands that it ends with an
// exit code above zero, and returns what it said.
func (s scene) mustFail(ctx context.Context, t *testing.T, program, config string, flags ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(bin(), program), append(flags, "--config="+file)...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() < 1 {
		t.Fatalf("%s ended with %v, want an exit code above 0:\n%s", program, err, out)
	}
	return string(out)
}
