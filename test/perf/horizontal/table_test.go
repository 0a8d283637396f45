// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	const stock = "kube-controller-manager"
	took := func(who string, whole time.Duration) run {
		return run{subject: who, half: whole / 2, whole: whole, work: whole, cost: cost{cpu: whole, plane: whole, requests: int(whole / time.Second)}}
	}
	var out strings.Builder
	// The median of the ratios 1, 50 and 4 is not the ratio of the medians, 100 and 10.
	if err := write(&out, []subject{{name: stock}, {name: berth}}, []run{
		took(stock, 10*time.Second), took(berth, 10*time.Second),
		took(berth, 2*time.Second), took(stock, 100*time.Second),
		took(stock, 120*time.Second), took(berth, 30*time.Second),
	}); err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for line := range strings.Lines(out.String()) {
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		got = append(got, cells)
	}
	want := [][]string{
		{"who", "rounds", "half written s", "all written s", "from first look s", "CPU s", "control plane CPU s", "requests"},
		{"---", "---", "---", "---", "---", "---", "---", "---"},
		{stock, "3", "50.0 (4.0×)", "100.0 (4.0×)", "100.0 (4.0×)", "100.00 (4.0×)", "100.00 (4.0×)", "100 (4.0×)"},
		{berth, "3", "5.0", "10.0", "10.0", "10.00", "10.00", "10"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}
