// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Command horizontal measures the time from new metrics to all scales written:
// that of berth-autoscaler, and that of the HPA controller of
// kube-controller-manager, with its defaults and tuned.
//
// All of them are the real programs, and work one after the other on the same
// objects, behind the same API server, and by the same metrics. Who is not
// measured is not running. Nothing fails for being slow; the table at the end is
// the result.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/berth-dev/berth/test/fixture"
)

type options struct {
	bin, config        string
	hpas, pods, rounds int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "`folder` of the programs that make build cluster-build makes")
	flag.StringVar(&o.config, "config", "test/perf/horizontal/autoscaler.yaml", "`file` with the configuration of berth-autoscaler")
	flag.IntVar(&o.hpas, "hpas", 1000, "HorizontalPodAutoscalers, each with a Deployment of its own")
	flag.IntVar(&o.pods, "pods", 10, "pods of each Deployment")
	flag.IntVar(&o.rounds, "rounds", 1, "how often everyone is measured")
	flag.Parse()
	if flag.NArg() > 0 || min(o.hpas, o.pods, o.rounds) < 1 {
		fmt.Fprintln(os.Stderr, "horizontal: wants no arguments, and 1 or more of --hpas, --pods and --rounds")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the process at once
	if err := measure(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "horizontal:", err)
		os.Exit(1)
	}
}

// measure starts a cluster, lets everyone have a turn in each round, and prints the table.
func measure(ctx context.Context, o options) (err error) {
	config, err := filepath.Abs(o.config)
	if err != nil {
		return err
	}
	cluster, err := fixture.Start(ctx, fixture.Options{
		Name: fmt.Sprintf("perf-hpa-%d", os.Getpid()), Bin: o.bin, Nodes: 1, Zones: 1,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Down(err != nil && ctx.Err() == nil)) }()
	b, err := prepare(ctx, cluster, o)
	if err != nil {
		return err
	}
	defer b.source.close()

	who := subjects(config)
	order := slices.Clone(who)
	var runs []run
	for round := range o.rounds {
		// Everybody passes through the HPAs once in a sync period. On an average of the rounds, metrics come in its middle.
		phase := time.Duration(float64(syncPeriod) * (float64(round) + 0.5) / float64(o.rounds))
		for _, s := range order {
			r, err := b.turn(ctx, s, phase)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", s.name, round+1, err)
			}
			fmt.Fprintf(os.Stderr, "perf: %d HPAs, %s, round %d: %s\n", o.hpas, s.name, round+1, r)
			runs = append(runs, r)
		}
		slices.Reverse(order) // who comes later finds the machine warm
	}
	fmt.Printf("\n%d HPAs, %d pods each\n\n", o.hpas, o.pods)
	return write(os.Stdout, who, runs)
}
