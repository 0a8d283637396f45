// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/fixture"
)

// leaders are two autoscalers of which one leads. One that ends is started again, as a kubelet would.
type leaders struct {
	both [2]*contender
}

type contender struct {
	mu      sync.Mutex
	process *os.Process
	started int
	log     *lockedBuffer
}

// lead replaces the autoscaler of the cluster by two, until the end of the test.
func (s scene) lead(ctx context.Context, t *testing.T) *leaders {
	t.Helper()
	if err := s.Stop(ctx, fixture.Autoscaler); err != nil {
		t.Fatal(err)
	}
	given, err := os.ReadFile(filepath.Join(filepath.Dir(s.Kubeconfig), "berth", fixture.Autoscaler+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, kubeconfig := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(config, regexp.MustCompile(`(?m)^bindAddress: .*$`).ReplaceAll(given, []byte("bindAddress: 127.0.0.1:0")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteKubeconfigAs(kubeconfig, "berth-system", fixture.Autoscaler); err != nil {
		t.Fatal(err)
	}
	l := &leaders{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var ended sync.WaitGroup
	for i := range l.both {
		c := &contender{}
		l.both[i] = c
		ended.Go(func() {
			for ctx.Err() == nil {
				c.run(ctx, "--config="+config, "--kubeconfig="+kubeconfig, "--v=2")
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		ended.Wait()
		if t.Failed() {
			for i, c := range l.both {
				t.Logf("autoscaler %d said, since its last start:\n%s", i, c.said())
			}
		}
	})
	return l
}

// run runs one autoscaler until it ends.
func (c *contender) run(ctx context.Context, flags ...string) {
	cmd, log := exec.CommandContext(ctx, filepath.Join(bin(), fixture.Autoscaler), flags...), &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(log, err)
		return
	}
	c.mu.Lock()
	c.process, c.log = cmd.Process, log
	c.started++
	c.mu.Unlock()
	_ = cmd.Wait() // the log tells
}

func (c *contender) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log == nil {
		return ""
	}
	return c.log.String()
}

// signal sends a signal to the autoscaler, and returns how often one was started until then.
func (c *contender) signal(t *testing.T, signal syscall.Signal) (started int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.process.Signal(signal); err != nil {
		t.Errorf("signal %s: %v", signal, err)
	}
	return c.started
}

// leading is the one that leads, once the other waits for its turn.
func (l *leaders) leading(ctx context.Context, t *testing.T, s scene) *contender {
	t.Helper()
	var leader *contender
	s.until(ctx, t, "one autoscaler to lead, and the other to wait", func(context.Context) (string, bool, error) {
		waiting := 0
		leader = nil
		for _, c := range l.both {
			switch said := c.said(); {
			case strings.Contains(said, "uccessfully acquired lease"):
				leader = c
			case strings.Contains(said, "ttempting to acquire leader lease"):
				waiting++
			}
		}
		return fmt.Sprintf("%d wait", waiting), leader != nil && waiting == 1, nil
	})
	return leader
}

// taken waits until another one leads.
func (l *leaders) taken(ctx context.Context, t *testing.T, s scene, from *contender) {
	t.Helper()
	s.until(ctx, t, "another autoscaler to lead", func(context.Context) (string, bool, error) {
		for _, c := range l.both {
			if c != from && strings.Contains(c.said(), "uccessfully acquired lease") {
				return "", true, nil
			}
		}
		return "nobody does", false, nil
	})
}

// restarted waits until an autoscaler has ended, and another was started in its place.
func (c *contender) restarted(ctx context.Context, t *testing.T, s scene, before int) time.Duration {
	t.Helper()
	began := time.Now()
	s.until(ctx, t, "the autoscaler to end that leads no more", func(context.Context) (string, bool, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return fmt.Sprintf("%d starts", c.started), c.started > before, nil
	})
	return time.Since(began)
}
