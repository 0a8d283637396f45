// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Command berth-cluster runs whole Kubernetes clusters on this machine, from
// programs built beside it. Their nodes and pods are simulated by kwok; the
// control plane and the storage of the cluster are real.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/berth-dev/berth/test/cluster/lifecycle"
)

// The exit codes.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
	exitExists   = 4
)

// usageError is a command line that cannot be meant.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "berth-cluster:", err)
	switch {
	case errors.As(err, new(usageError)):
		os.Exit(exitUsage)
	case errors.Is(err, lifecycle.ErrNotFound):
		os.Exit(exitNotFound)
	case errors.Is(err, lifecycle.ErrExists):
		os.Exit(exitExists)
	default:
		os.Exit(exitFailed)
	}
}
