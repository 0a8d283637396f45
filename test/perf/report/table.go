// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Run is what one profile did in one run of one case.
type Run struct {
	Case, Profile string
	PodsPerSecond float64
	CPU           time.Duration // of the scheduler, per pod
	Cycle         time.Duration // of the clock, per pod, from popping it to choosing its node
}

// Write prints a table of the cases, in the order in which they come first:
// the median of each profile, and the median of the ratios of those runs that
// belong together, the n-th of base and the n-th of ours. A ratio above one
// says that ours schedules more pods, or costs more.
func Write(w io.Writer, base, ours string, runs []Run) error {
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintf(table, "| case\t| runs\t| %[1]s pods/s\t| %[2]s pods/s\t| ratio\t| %[1]s CPU µs/pod\t| %[2]s CPU µs/pod\t| ratio\t| %[1]s cycle µs/pod\t| %[2]s cycle µs/pod\t| ratio\t|\n", base, ours)
	fmt.Fprintln(table, strings.Repeat("| ---\t", 11)+"|")
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	for _, name := range names(runs) {
		left, right := pick(runs, name, base), pick(runs, name, ours)
		pairs := min(len(left), len(right))
		fmt.Fprintf(table, "| %s\t| %d\t", name, pairs)
		for _, number := range []func(Run) float64{
			func(r Run) float64 { return r.PodsPerSecond },
			func(r Run) float64 { return micros(r.CPU) },
			func(r Run) float64 { return micros(r.Cycle) },
		} {
			var a, b, ratios []float64
			for i := range pairs {
				a, b = append(a, number(left[i])), append(b, number(right[i]))
				ratios = append(ratios, b[i]/a[i])
			}
			fmt.Fprintf(table, "| %.0f\t| %.0f\t| %.2f\t", Median(a), Median(b), Median(ratios))
		}
		fmt.Fprintln(table, "|")
	}
	return table.Flush()
}

func names(runs []Run) []string {
	var found []string
	for _, run := range runs {
		if !slices.Contains(found, run.Case) {
			found = append(found, run.Case)
		}
	}
	return found
}

func pick(runs []Run, name, profile string) []Run {
	return slices.DeleteFunc(slices.Clone(runs), func(r Run) bool { return r.Case != name || r.Profile != profile })
}

// Median of no numbers is zero.
func Median(numbers []float64) float64 {
	if len(numbers) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(numbers))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
