// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	_ "k8s.io/component-base/logs/json/register"
	schedulerperf "k8s.io/kubernetes/test/integration/scheduler_perf"

	"github.com/berth-dev/berth/test/perf/report"
)

const (
	// roundsVariable says how often every case runs with each profile.
	roundsVariable = "BERTH_PERF_ROUNDS"
	// outputVariable names the folder for CPU profiles and upstream's metrics.
	outputVariable = "BERTH_PERF_OUT"

	stock = "stock"
	berth = "berth"
)

func TestMain(m *testing.M) {
	if err := schedulerperf.InitTests(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func BenchmarkProfiles(b *testing.B) {
	out := output(b)
	schedulers := map[string]string{stock: "", berth: shippedConfig(b)}
	order := []string{stock, berth}
	var runs []report.Run
	for round := range rounds(b) {
		for _, c := range readCases(b) {
			b.Run(c.name, func(b *testing.B) {
				for _, profile := range order {
					s := &subject{caseName: c.name, profile: profile, round: round + 1, out: out}
					runs = append(runs, s.run(b, c.configFor(b, profile, schedulers[profile]))...)
				}
			})
		}
		slices.Reverse(order) // who runs second finds the machine warm
	}
	fmt.Println()
	if err := report.Write(os.Stdout, stock, berth, runs); err != nil {
		b.Fatal(err)
	}
}

func rounds(b *testing.B) int {
	text := os.Getenv(roundsVariable)
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s is %q: want how many rounds to run, 1 or more", roundsVariable, text)
	}
	return n
}

// output is the folder for what outlives the run. Unless it is named, nothing
// does.
func output(b *testing.B) string {
	dir := os.Getenv(outputVariable)
	if dir == "" {
		dir = b.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := flag.Set("data-items-dir", dir); err != nil {
		b.Fatal(err)
	}
	return dir
}
