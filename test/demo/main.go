// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo tells Berth's story against a real control plane: one application
// with a stateless half, web, and a stateful one, db, in three zones. Each step
// says what is expected, waits for it, and shows what happened.
//
// It promises that "demo: all steps as expected" and exit code 0 mean that every
// step was seen to happen on the cluster, and that the first one that was not
// ends the story with exit code 1 and with what explains it. The cluster that it
// started is gone afterwards, however it ends, unless it was asked to stay.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

// The exit codes.
const (
	exitExpected    = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// boot is long enough to be told from everything else, and short enough to watch.
const boot = 10 * time.Second

type options struct {
	bin        string
	kubeconfig string
	stay       bool
}

func main() {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.bin, "bin", "bin", "`folder` of the programs that make build cluster-build makes")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` of a cluster to tell the story on, instead of a new one: make cluster-up NODES=6 ZONES=3 NODE_BOOT=10s makes one that suits")
	flags.BoolVar(&o.stay, "stay", false, "leave the cluster and the application up")
	if err := flags.Parse(os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		os.Exit(exitExpected)
	} else if err != nil {
		os.Exit(exitUsage)
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: unknown argument %q\n", flags.Arg(0))
		os.Exit(exitUsage)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second interrupt ends the process at once.
	context.AfterFunc(ctx, stop)
	err := run(ctx, o, os.Stdout)
	switch {
	case err == nil:
		fmt.Println("demo: all steps as expected")
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "demo: interrupted")
		os.Exit(exitInterrupted)
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(exitFailed)
	}
}

// run tells the whole story and leaves nothing behind that was not asked for.
func run(ctx context.Context, o options, out *os.File) (err error) {
	cluster, err := connect(ctx, o, out)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, leave(cluster, o, out, err != nil && ctx.Err() == nil))
	}()
	d, err := newDemo(ctx, cluster)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.end(o.stay)) }()
	teller := story.Teller{Out: out, Terminal: isTerminal(out), Diagnose: d.diagnose}
	begin := time.Now()
	if err := teller.Tell(ctx, d.steps()); err != nil {
		return err
	}
	story.Say(out, "\nthe story took %s\n", time.Since(begin).Round(time.Second))
	return nil
}

// connect starts a cluster, or takes the one that was named.
func connect(ctx context.Context, o options, out io.Writer) (*fixture.Cluster, error) {
	if o.kubeconfig != "" {
		return fixture.Attach(o.kubeconfig)
	}
	story.Say(out, "starting a control plane: 6 nodes in 3 zones, a new node boots for %s\n", boot)
	// A name of its own: a cluster that was asked to stay is left alone by the next story.
	name := fmt.Sprintf("demo-%d", os.Getpid())
	return fixture.Start(ctx, fixture.Options{Name: name, Bin: o.bin, Nodes: 6, Zones: 3, NodeBoot: boot, Progress: out})
}

// leave takes the cluster down, or says how to.
func leave(cluster *fixture.Cluster, o options, out io.Writer, failed bool) error {
	if !cluster.Own() {
		if failed {
			story.Say(out, "\nthe logs of the components are where `berth-cluster list` says\n")
		}
		return nil
	}
	if o.stay {
		down, err := cluster.Keep()
		story.Say(out, "\nthe cluster stays up; the second line names its logs, the third takes it down:\n  export KUBECONFIG=%s\n  %s list\n  %s\n",
			cluster.Kubeconfig, filepath.Join(o.bin, "cluster", "berth-cluster"), down)
		return err
	}
	if failed {
		story.Say(out, "\nthe logs of the components are in %s\n", cluster.Logs)
	}
	return cluster.Down(failed)
}

// isTerminal tells whether a line can be taken back.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
