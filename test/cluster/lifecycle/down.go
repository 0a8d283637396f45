// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	kwokconfig "sigs.k8s.io/kwok/pkg/apis/config/v1alpha1"
)

// Down ends every process of the cluster and removes its folder. A cluster
// that does not exist is down already.
func Down(ctx context.Context, home Home, name string) error {
	p := home.Place(name)
	components, err := Components(p)
	if errors.Is(err, ErrNotFound) {
		// What an interrupted start leaves behind is a folder at most.
		return os.RemoveAll(p.Dir)
	}
	if err != nil {
		return err
	}
	running := map[int]kwokconfig.Component{}
	for _, c := range components {
		if pid := PID(c); pid != 0 {
			running[pid] = c
		}
	}
	if err := home.kwokctl(ctx, "delete", "cluster", "--name", name, "--kubeconfig", p.Kubeconfig()); err != nil {
		return err
	}
	// kwokctl kills and does not wait.
	for pid, c := range running {
		if err := gone(ctx, pid, c); err != nil {
			return err
		}
	}
	return os.RemoveAll(p.Dir)
}

// kwokctl runs the program of that name and returns what it said when it fails.
func (h Home) kwokctl(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, h.ClusterBin+"/kwokctl", args...)
	cmd.Env = append(os.Environ(), "KWOK_WORKDIR="+h.workdir())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kwokctl %s: %w\n%s", strings.Join(args[:2], " "), err, out)
	}
	return nil
}
