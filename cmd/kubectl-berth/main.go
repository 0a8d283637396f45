// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-berth shows people what Berth's scheduler has in mind: where
// each ordinal of a set belongs and why, and what keeps a pod from getting
// there; what its autoscaler makes of the metrics of an HPA, and of nodes; and what
// a change would do that nobody has made yet. On the PATH it is `kubectl berth`.
//
// It promises to answer by the code of the scheduler and the autoscaler
// themselves, over what exists at one moment, and to read only: it gets,
// lists and watches, and writes nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// What there is to say is said in the answer, or as its error: libraries write logs that a person can do nothing with.
	klog.SetLogger(klog.Logger{})
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	command := newCommand(streams)
	command.SetArgs(arguments(os.Args))
	err := command.ExecuteContext(ctx)
	var answer unmet
	switch {
	case errors.As(err, &answer):
		fmt.Fprintln(streams.ErrOut, answer)
		stop()
		os.Exit(exitUnmet)
	case err != nil:
		fmt.Fprintln(streams.ErrOut, "error:", err)
		stop()
		os.Exit(1)
	}
}
