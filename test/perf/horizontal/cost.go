// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/component-base/metrics/testutil"

	"github.com/berth-dev/berth/test/fixture"
)

// tick is the unit of /proc: USER_HZ, which is 100 everywhere that Go runs.
const tick = 10 * time.Millisecond

// cost is what was used until a moment, or between two.
type cost struct {
	// cpu is the subject's, plane that of the API server and etcd.
	cpu, plane time.Duration
	requests   int
}

func (c cost) minus(before cost) cost {
	return cost{cpu: c.cpu - before.cpu, plane: c.plane - before.plane, requests: c.requests - before.requests}
}

// costs are those of the subject and of the control plane until now.
func (b *bench) costs(ctx context.Context, s subject) (c cost, err error) {
	if c.requests, err = b.requests(ctx); err != nil {
		return c, err
	}
	if c.cpu, err = cpuOf(b.cluster, s.component); err != nil {
		return c, err
	}
	for _, component := range []string{fixture.APIServer, "etcd"} {
		used, err := cpuOf(b.cluster, component)
		if err != nil {
			return c, err
		}
		c.plane += used
	}
	return c, nil
}

// cpuOf is the CPU time of a component until now.
func cpuOf(cluster *fixture.Cluster, component string) (time.Duration, error) {
	pid, err := os.ReadFile(filepath.Join(filepath.Dir(cluster.Kubeconfig), "pids", component+".pid"))
	if err != nil {
		return 0, err
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "stat"))
	if err != nil {
		return 0, err
	}
	return parseStat(string(stat))
}

// parseStat adds user and system time of a process, fields 14 and 15 of proc(5).
// What comes before the third is a name in parentheses, of any characters.
func parseStat(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("the process says %q", stat)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("the process says %q: %w", stat, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// requests counts those for scales, HPAs and events that the API server has
// served. Nobody but the subject makes any while it is measured.
func (b *bench) requests(ctx context.Context) (int, error) {
	text, err := b.cluster.Kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	return countRequests(string(text))
}

func countRequests(text string) (int, error) {
	metrics := testutil.NewMetrics()
	if err := testutil.ParseMetrics(text, &metrics); err != nil {
		return 0, err
	}
	sum := 0
	for _, sample := range metrics["apiserver_request_total"] {
		if sample.Metric["verb"] == "WATCH" {
			continue // is counted when it ends
		}
		switch sample.Metric["resource"] {
		case "deployments", "horizontalpodautoscalers", "events":
			sum += int(sample.Value)
		}
	}
	return sum, nil
}
