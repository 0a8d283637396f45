// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Command berth-autoscaler decides replicas, requests and nodes in one loop.
//
// This package is wiring only: it reads the configuration, makes the concrete
// parts and runs the loop while it leads.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func main() {
	os.Exit(cli.Run(newCommand()))
}
