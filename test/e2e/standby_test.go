// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-dev/berth/test/fixture"
)

// process is a second autoscaler.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// end asks it to end, and waits until it has.
func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	<-p.ended
}

// standby runs a second autoscaler until the end of the test, and returns once it waits to lead.
func (s scene) standby(ctx context.Context, t *testing.T) *process {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte(standbyConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := s.WriteKubeconfigAs(kubeconfig, "berth-system", fixture.Autoscaler); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	ctx, cancel := context.WithCancel(ctx)
	p := &process{
		cmd:   exec.CommandContext(ctx, filepath.Join(bin(), fixture.Autoscaler), "--config="+config, "--kubeconfig="+kubeconfig, "--v=2"),
		ended: make(chan struct{}),
	}
	p.cmd.Stdout, p.cmd.Stderr = &log, &log
	if err := p.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the log tells
	}()
	t.Cleanup(func() {
		cancel()
		<-p.ended
		if t.Failed() {
			t.Logf("the second autoscaler said:\n%s", log.String())
		}
	})
	s.until(ctx, t, "the second autoscaler to wait", func(context.Context) (string, bool, error) {
		said := log.String()
		return said, strings.Contains(said, "ttempting to acquire leader lease"), nil
	})
	return p
}

// standbyConfig leaves nodes alone: one thing that it does is enough to see that it leads.
const standbyConfig = `
apiVersion: config.berth.dev/v1alpha1
kind: AutoscalerConfiguration
leaderElection: {leaderElect: true, leaseDuration: 6s, renewDeadline: 4s, retryPeriod: 1s}
bindAddress: 127.0.0.1:0
syncPeriod: 5s
horizontal: {downscaleStabilization: 15s, cpuInitializationPeriod: 10s, initialReadinessDelay: 5s, canaryPatience: 5s}
`
