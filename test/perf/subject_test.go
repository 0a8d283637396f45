// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	schedulerperf "k8s.io/kubernetes/test/integration/scheduler_perf"
	"k8s.io/kubernetes/test/utils/ktesting"

	"github.com/berth-dev/berth/plugins"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	"github.com/berth-dev/berth/test/perf/report"
)

// namespace is where the measured pods and their claims are.
const namespace = "measured-0"

// subject is one case with one profile. Its methods are what scheduler_perf
// calls on its way through a workload.
type subject struct {
	caseName, profile string
	round             int
	out               string

	registry runtime.Registry
	shared   *plugins.Shared
	stage    int
	window   *window
	runs     []report.Run
}

// run goes through the workloads of the case that the label filter selects.
func (s *subject) run(b *testing.B, cases string) []report.Run {
	s.registry = runtime.Registry{}
	schedulerperf.RunBenchmarkPerfScheduling(b, cases, s.caseName, s.registry,
		schedulerperf.WithPreRunFn(s.prepare),
		schedulerperf.WithPrepareFn(s.background),
		schedulerperf.WithNodeUpdateFn(s.nodesCreated))
	return s.runs
}

// prepare comes before the scheduler is built. What plugins share belongs to
// one scheduler, so every workload gets a registry of its own.
func (s *subject) prepare(ktesting.TContext, *schedulerperf.Workload) (func(), error) {
	s.stage = 0
	s.shared = plugins.NewShared(policies.NewBook())
	maps.Copy(s.registry, plugins.Registry(s.shared))
	return nil, nil
}

// background runs beside the scheduler what berth-scheduler runs beside it.
func (s *subject) background(tCtx ktesting.TContext) error {
	ctx, cancel := context.WithCancel(tCtx)
	var running sync.WaitGroup
	running.Go(func() { s.shared.Run(ctx) })
	tCtx.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return nil
}

// nodesCreated comes after each createNodes of cases.yaml.
func (s *subject) nodesCreated(tCtx ktesting.TContext, sched *scheduler.Scheduler, w *schedulerperf.Workload, nodes *v1.NodeList) error {
	framework := sched.Profiles[v1.DefaultSchedulerName]
	s.stage++
	switch s.stage {
	case 1:
		named := func(p config.Plugin) bool { return p.Name == volumeaffinity.Name }
		if ours := slices.ContainsFunc(framework.ListPlugins().Filter.Enabled, named); ours != (s.profile == berth) {
			return fmt.Errorf("%s in the profile %s: %t", volumeaffinity.Name, s.profile, ours)
		}
		place, bound := places()[s.caseName]
		if !bound {
			return nil
		}
		count, err := w.GetParam("measurePods")
		if err != nil {
			return err
		}
		return place.fill(tCtx, framework.SharedInformerFactory(), nodes, count)
	case 2:
		fmt.Fprintf(os.Stderr, "perf: %s %s %s round %d: %d nodes, measuring\n", s.caseName, w.Name, s.profile, s.round, len(nodes.Items))
		var err error
		s.window, err = open(framework.SharedInformerFactory(), filepath.Join(s.out, fmt.Sprintf("%s-%s-%s-%d.cpu.pprof", s.caseName, w.Name, s.profile, s.round)))
		return err
	case 3:
		seen, err := s.window.close()
		if err != nil {
			return err
		}
		run := report.Run{
			Case: s.caseName + "/" + w.Name, Profile: s.profile,
			PodsPerSecond: seen.rate(), CPU: seen.cpu.Total / seen.pods(), Cycle: seen.cycles / seen.pods(),
		}
		fmt.Fprintf(os.Stderr, "perf: %s %s round %d: %.0f pods/s, CPU %s/pod, cycle %s/pod; CPU µs/pod by plugin: %s\n",
			run.Case, s.profile, s.round, run.PodsPerSecond, run.CPU, run.Cycle, seen.cpu.Top(6, seen.bound))
		if b, ok := tCtx.TB().(*testing.B); ok {
			b.ReportMetric(run.PodsPerSecond, "pods/s")
			b.ReportMetric(float64(run.CPU), "cpu-ns/pod")
			b.ReportMetric(float64(run.Cycle), "cycle-ns/pod")
		}
		s.runs = append(s.runs, run)
	}
	return nil
}
