// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	kwokconfig "sigs.k8s.io/kwok/pkg/apis/config/v1alpha1"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// asComponent makes the test binary a component that does nothing until it is asked to stop.
const asComponent = "BERTH_TEST_COMPONENT"

func TestMain(m *testing.M) {
	if os.Getenv(asComponent) != "" {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// state is a state file as kwokctl writes it, with stages behind.
const state = `apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokctlConfiguration
metadata:
  name: x
options:
  etcdPort: 1234
components:
- name: etcd
  binary: /b/etcd
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata:
  name: s
spec:
  next:
    statusTemplate: |
      a: "---"
      {{ if .b }}
      ---
      {{ end }}
`

func newPlace(t *testing.T) layout.Place {
	t.Helper()
	p := layout.Place{Dir: t.TempDir()}
	for _, dir := range []string{"logs", "pids"} {
		if err := os.Mkdir(filepath.Join(p.Dir, dir), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(p.Dir, stateFile), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func names(t *testing.T, p layout.Place) []string {
	t.Helper()
	components, err := Components(p)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range components {
		names = append(names, c.Name)
	}
	return names
}

func TestRecordKeepsWhatKwokctlWrote(t *testing.T) {
	p := newPlace(t)
	for _, args := range [][]string{{"--v=1"}, {"--v=2"}} {
		if err := record(p, kwokconfig.Component{Name: "berth-storage", Args: args}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"etcd", "berth-storage"}, names(t, p)); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
	_, config, _, err := readState(p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"--v=2"}, config.Components[1].Args); diff != "" {
		t.Errorf("arguments, after recording twice (-want +got):\n%s", diff)
	}
	if config.Options.EtcdPort != 1234 {
		t.Errorf("etcdPort is %d, want it kept", config.Options.EtcdPort)
	}
	written, err := os.ReadFile(filepath.Join(p.Dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ := strings.Cut(state, "\n---\n")
	if _, got, _ := strings.Cut(string(written), "\n---\n"); got != want {
		t.Errorf("the stage (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestComponentLives(t *testing.T) {
	p := newPlace(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := kwokconfig.Component{
		Name: "thing", Binary: program, WorkDir: p.Dir, Args: []string{"--v=1", "--name=a"},
		Envs: []kwokconfig.Env{{Name: asComponent, Value: "1"}},
	}
	if err := record(p, c); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	t.Cleanup(func() {
		if err := Kill(context.Background(), p, "thing"); err != nil {
			t.Error(err)
		}
	})

	if PID(c) != 0 {
		t.Fatal("it runs before it is started")
	}
	if err := Start(ctx, p, "thing"); err != nil {
		t.Fatal(err)
	}
	first := PID(c)
	if err := Start(ctx, p, "thing"); err != nil || first == 0 || PID(c) != first {
		t.Errorf("process %d, then %d, %v: want one that is started once", first, PID(c), err)
	}
	if err := Restart(ctx, p, "thing", []string{"--v=4"}); err != nil {
		t.Fatal(err)
	}
	if second := PID(c); second == 0 || second == first {
		t.Errorf("process %d after the restart of %d", second, first)
	}
	changed, err := find(p, "thing")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"--name=a", "--v=4"}, changed.Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if err := Kill(ctx, p, "thing"); err != nil || PID(c) != 0 {
		t.Errorf("process %d after the kill, %v", PID(c), err)
	}
	if err := Stop(ctx, p, "thing"); err != nil {
		t.Errorf("stopping what does not run: %v", err)
	}
	if err := Kill(ctx, p, "other"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want that there is no such component", err)
	}
}

func TestPIDOfAnotherProgram(t *testing.T) {
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		t.Skip("needs /proc")
	}
	p := newPlace(t)
	c := kwokconfig.Component{Name: "etcd", Binary: "/b/etcd", WorkDir: p.Dir}
	if err := os.WriteFile(pidFile(c), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		t.Fatal(err)
	}
	if pid := PID(c); pid != 0 {
		t.Errorf("process %d is taken for etcd, but it is this test", pid)
	}
	if ended(c) == nil {
		t.Error("a component whose process id went to another program has ended")
	}
}

// TestPIDOfNoProcess: to a signal, 0 is this process's group and -1 is everybody.
func TestPIDOfNoProcess(t *testing.T) {
	p := newPlace(t)
	c := kwokconfig.Component{Name: "etcd", Binary: "/b/etcd", WorkDir: p.Dir}
	for _, text := range []string{"", "x", "0", "-1"} {
		if err := os.WriteFile(pidFile(c), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if pid := PID(c); pid != 0 {
			t.Errorf("%q is taken for process %d", text, pid)
		}
	}
}

func TestReplaceArgs(t *testing.T) {
	for name, tc := range map[string]struct{ args, with, want []string }{
		"another value":       {[]string{"--a=1", "--b=2"}, []string{"--a=3"}, []string{"--b=2", "--a=3"}},
		"a flag without one":  {[]string{"--a", "--b"}, []string{"--a=false"}, []string{"--b", "--a=false"}},
		"given twice before":  {[]string{"--a=1", "--a=2"}, []string{"--a=3"}, []string{"--a=3"}},
		"a new flag":          {[]string{"--a=1"}, []string{"--ab=2"}, []string{"--a=1", "--ab=2"}},
		"nothing to be given": {[]string{"--a=1"}, nil, []string{"--a=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := append([]string(nil), tc.args...)
			if diff := cmp.Diff(tc.want, replaceArgs(tc.args, tc.with)); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tc.args); diff != "" {
				t.Errorf("the arguments given changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDownOfNothing(t *testing.T) {
	home := Home{Root: t.TempDir()}
	if err := Down(t.Context(), home, "never"); err != nil {
		t.Errorf("a cluster that never was is down: %v", err)
	}
	if names, err := home.Names(); err != nil || len(names) != 0 {
		t.Errorf("clusters %v, %v, want none", names, err)
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := freePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, port := range ports {
		if seen[port] || port < firstPort || port > lastPort {
			t.Errorf("port %d of %v", port, ports)
		}
		seen[port] = true
	}
	if _, err := freePorts(lastPort); err == nil {
		t.Error("more ports than there are must be an error")
	}
}
