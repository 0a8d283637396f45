// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// step returns a step that leaves its mark and ends as told.
func step(title string, played *[]string, err error) Step {
	return Step{Title: title, Expected: title + " happens", Play: func(context.Context, *Progress) (Happening, error) {
		*played = append(*played, title)
		return Happening{Table: [][]string{{"who", "where"}, {title, "here"}}, Notes: []string{"a note"}}, err
	}}
}

func TestTell(t *testing.T) {
	boom := errors.New("boom\nand why")
	unexpected := &Unexpected{Expected: "a", Actual: "b\nc"}
	for name, tc := range map[string]struct {
		errs []error
		want []string // the titles played
		err  error
		text string
	}{
		"all as expected": {
			errs: []error{nil, nil},
			want: []string{"s0", "s1"},
			text: `
1/2  s0
  expected:  s0 happens
  happened:  as expected, after 0s
             a note
             who  where
             s0   here

2/2  s1
  expected:  s1 happens
  happened:  as expected, after 0s
             a note
             who  where
             s1   here
`,
		},
		"the first failure ends it": {
			errs: []error{boom, nil},
			want: []string{"s0"},
			err:  boom,
			text: `
1/2  s0
  expected:  s0 happens
  FAILED after 0s
  error:     boom
             and why
             a note
             who  where
             s0   here
because
`,
		},
		"unexpected": {
			errs: []error{fmt.Errorf("looking: %w", unexpected)},
			want: []string{"s0"},
			err:  unexpected,
			text: `
1/1  s0
  expected:  s0 happens
  FAILED after 0s
  wanted:    a
  is:        b
             c
             a note
             who  where
             s0   here
because
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var played []string
				var out strings.Builder
				var steps []Step
				for i, err := range tc.errs {
					steps = append(steps, step(fmt.Sprintf("s%d", i), &played, err))
				}
				teller := Teller{Out: &out, Diagnose: func(_ context.Context, out io.Writer) { Say(out, "because\n") }}
				err := teller.Tell(t.Context(), steps)
				if !errors.Is(err, tc.err) {
					t.Errorf("error %v, want %v", err, tc.err)
				}
				if diff := cmp.Diff(tc.want, played); diff != "" {
					t.Errorf("steps played (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tc.text, out.String()); diff != "" {
					t.Errorf("text (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestInterruptedStoryIsNotDiagnosed(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupt := errors.New("interrupt")
	var out strings.Builder
	teller := Teller{Out: &out, Diagnose: func(context.Context, io.Writer) { t.Error("diagnosed") }}
	err := teller.Tell(ctx, []Step{{Title: "wait", Play: func(ctx context.Context, _ *Progress) (Happening, error) {
		cancel(interrupt)
		return Happening{}, ctx.Err()
	}}})
	if !errors.Is(err, interrupt) {
		t.Errorf("error %v, want %v", err, interrupt)
	}
	if !strings.Contains(out.String(), "interrupted") {
		t.Errorf("does not say so: %q", out.String())
	}
}

func TestDiagnoseOutlivesTheStep(t *testing.T) {
	diagnosed := false
	teller := Teller{Out: io.Discard, Diagnose: func(ctx context.Context, _ io.Writer) { diagnosed = ctx.Err() == nil }}
	err := teller.Tell(t.Context(), []Step{{Play: func(context.Context, *Progress) (Happening, error) {
		return Happening{}, errors.New("boom")
	}}})
	if err == nil || !diagnosed {
		t.Errorf("error %v, diagnosed with a live context: %t", err, diagnosed)
	}
}
