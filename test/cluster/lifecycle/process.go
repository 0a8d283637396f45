// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	kwokconfig "sigs.k8s.io/kwok/pkg/apis/config/v1alpha1"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// stopGrace is how long a component has between the request to stop and its end by force.
const stopGrace = 20 * time.Second

// Start starts a component that is not running.
func Start(_ context.Context, p layout.Place, name string) error {
	c, err := find(p, name)
	if err != nil {
		return err
	}
	return start(c)
}

// Stop asks a component to stop and waits until it has.
func Stop(ctx context.Context, p layout.Place, name string) error {
	return end(ctx, p, name, syscall.SIGTERM)
}

// Kill ends a component as a crash does.
func Kill(ctx context.Context, p layout.Place, name string) error {
	return end(ctx, p, name, syscall.SIGKILL)
}

// Restart stops a component and starts it again. Arguments given, such as
// --v=4, replace those of the same flag, from now on.
func Restart(ctx context.Context, p layout.Place, name string, args []string) error {
	c, err := find(p, name)
	if err != nil {
		return err
	}
	if err := Stop(ctx, p, name); err != nil {
		return err
	}
	if len(args) > 0 {
		c.Args = replaceArgs(c.Args, args)
		if err := record(p, c); err != nil {
			return err
		}
	}
	return start(c)
}

// replaceArgs puts --flag=value in place of every other value of the flag.
func replaceArgs(args, with []string) []string {
	out := append([]string(nil), args...)
	for _, arg := range with {
		flag, _, _ := strings.Cut(arg, "=")
		kept := out[:0]
		for _, old := range out {
			if oldFlag, _, _ := strings.Cut(old, "="); oldFlag != flag {
				kept = append(kept, old)
			}
		}
		out = append(kept, arg)
	}
	return out
}

// start keeps to kwokctl's places for the process id and the log.
func start(c kwokconfig.Component) error {
	if PID(c) != 0 {
		return nil
	}
	log, err := os.OpenFile(LogFile(c), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	cmd := exec.Command(c.Binary, c.Args...)
	cmd.Dir = c.WorkDir
	cmd.Env = os.Environ()
	for _, env := range c.Envs {
		cmd.Env = append(cmd.Env, env.Name+"="+env.Value)
	}
	cmd.Stdout, cmd.Stderr = log, log
	// A session of its own: the end of the terminal is not its end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// The component has its own handle of the log.
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		return fmt.Errorf("starting %s: %w", c.Name, err)
	}
	// While this process lives the component is its child, and a dead child
	// looks alive until somebody has waited for it.
	go cmd.Wait() //nolint:errcheck // the log tells
	return os.WriteFile(pidFile(c), []byte(strconv.Itoa(cmd.Process.Pid)), 0o640)
}

// end signals a component and waits until it is gone, by force if it must.
func end(ctx context.Context, p layout.Place, name string, signal syscall.Signal) error {
	c, err := find(p, name)
	if err != nil {
		return err
	}
	pid := PID(c)
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("ending %s: %w", name, err)
	}
	if gone(ctx, pid, c) != nil {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("ending %s: %w", name, err)
		}
		if err := gone(ctx, pid, c); err != nil {
			return err
		}
	}
	if err := os.Remove(pidFile(c)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// gone waits for the end of a process of the component.
func gone(ctx context.Context, pid int, c kwokconfig.Component) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, stopGrace, true, func(context.Context) (bool, error) {
		return !alive(pid, c), nil
	})
	if err != nil {
		return fmt.Errorf("%s (process %d) does not end: %w", c.Name, pid, err)
	}
	return nil
}

// PID is the process of the component, or 0 when it does not run.
func PID(c kwokconfig.Component) int {
	data, err := os.ReadFile(pidFile(c))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || !alive(pid, c) {
		return 0
	}
	return pid
}

// alive guards against a process id that has gone to another program since. On
// a system without /proc it believes the id.
func alive(pid int, c kwokconfig.Component) bool {
	if pid <= 0 || syscall.Kill(pid, 0) != nil {
		return false
	}
	proc := "/proc/" + strconv.Itoa(pid)
	line, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		_, err := os.Stat("/proc/self")
		return err != nil
	}
	if len(line) == 0 {
		// It is ending: its memory is gone, and its ports may not be yet. They
		// are once all that is left is one thread that waits to be reaped.
		stat, err := os.ReadFile(proc + "/stat")
		_, state, _ := bytes.Cut(stat, []byte(") "))
		threads, _ := os.ReadDir(proc + "/task")
		return err == nil && (!bytes.HasPrefix(state, []byte("Z")) || len(threads) > 1)
	}
	program, _, _ := bytes.Cut(line, []byte{0})
	return string(program) == c.Binary
}

// LogFile is where the component writes to.
func LogFile(c kwokconfig.Component) string {
	return filepath.Join(c.WorkDir, "logs", filepath.Base(c.Binary)+".log")
}

func pidFile(c kwokconfig.Component) string {
	return filepath.Join(c.WorkDir, "pids", filepath.Base(c.Binary)+".pid")
}
