// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-berth shows people what Berth's scheduler has in mind: where
// each ordinal of a set belongs and why, and what keeps a pod from getting
// there; and what its autoscaler makes of the metrics of an HPA. On the PATH it
// is `kubectl berth`.
//
// It promises to answer by the code of the scheduler and the autoscaler
// themselves, over what exists at one moment, and to read only: it gets and
// lists, and writes nothing.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	command := newCommand(streams)
	command.SetArgs(arguments(os.Args))
	if err := command.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(streams.ErrOut, "error:", err)
		stop()
		os.Exit(1)
	}
}
