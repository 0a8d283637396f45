// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/berth-dev/berth/test/perf/report"
)

// column is a figure of a turn. All of them are better when smaller.
type column struct {
	name   string
	format string
	figure func(run) float64
}

func columns() []column {
	return []column{
		{"half written s", "%.1f", func(r run) float64 { return r.half.Seconds() }},
		{"all written s", "%.1f", func(r run) float64 { return r.whole.Seconds() }},
		{"from first look s", "%.1f", func(r run) float64 { return r.work.Seconds() }},
		{"CPU s", "%.2f", func(r run) float64 { return r.cost.cpu.Seconds() }},
		{"control plane CPU s", "%.2f", func(r run) float64 { return r.cost.plane.Seconds() }},
		{"requests", "%.0f", func(r run) float64 { return float64(r.cost.requests) }},
	}
}

// write prints the medians of everybody, and in parentheses the medians of how many times ours
// the others need in the same round.
func write(w io.Writer, who []subject, runs []run) error {
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintf(table, "| who\t| rounds\t")
	for _, c := range columns() {
		fmt.Fprintf(table, "| %s\t", c.name)
	}
	fmt.Fprintln(table, "|")
	fmt.Fprintln(table, strings.Repeat("| ---\t", 2+len(columns()))+"|")
	ours := pick(runs, berth)
	for _, s := range who {
		theirs := pick(runs, s.name)
		rounds := min(len(ours), len(theirs))
		fmt.Fprintf(table, "| %s\t| %d\t", s.name, rounds)
		for _, c := range columns() {
			var values, ratios []float64
			for i := range rounds {
				values = append(values, c.figure(theirs[i]))
				ratios = append(ratios, c.figure(theirs[i])/c.figure(ours[i]))
			}
			cell := fmt.Sprintf(c.format, report.Median(values))
			if s.name != berth {
				cell += fmt.Sprintf(" (%.1f×)", report.Median(ratios))
			}
			fmt.Fprintf(table, "| %s\t", cell)
		}
		fmt.Fprintln(table, "|")
	}
	return table.Flush()
}

// pick are the runs of one, round by round.
func pick(runs []run, subject string) []run {
	return slices.DeleteFunc(slices.Clone(runs), func(r run) bool { return r.subject != subject })
}
