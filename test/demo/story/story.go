// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package story tells a story in steps to a person who watches.
//
// A step says what is expected, waits for it with a live progress line, and
// ends with what happened. The steps are told in order; the first one that is
// not as expected ends the story, with what was expected, what is, and whatever
// the caller has to say about the reasons.
//
// The package knows nothing of clusters. Its invariants:
//   - nothing is told of a step after one that failed;
//   - on a terminal the progress is one line that is gone once the step is over;
//     elsewhere it is a line of its own every few seconds at most.
package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Step is one thing that happens, and what is expected of it.
type Step struct {
	Title string
	// Expected is one sentence to a line.
	Expected string
	// Play makes it happen and waits until it has. What it shows meanwhile is
	// gone when it returns.
	Play func(ctx context.Context, p *Progress) (Happening, error)
}

// Happening is what a step saw.
type Happening struct {
	// Table has a header as its first row.
	Table [][]string
	// Notes are figures and messages worth a line each.
	Notes []string
}

// Unexpected is an outcome that differs from what was expected.
type Unexpected struct {
	Expected, Actual string
}

func (u *Unexpected) Error() string {
	return fmt.Sprintf("expected %s; is: %s", u.Expected, u.Actual)
}

// Teller tells stories.
type Teller struct {
	Out io.Writer
	// Terminal says that Out understands how to take a line back.
	Terminal bool
	// Diagnose writes what may explain a failure. The context is one of its own,
	// as the story's may have ended.
	Diagnose func(ctx context.Context, out io.Writer)
}

// diagnoseTime bounds Diagnose: a cluster that is gone must not hide the failure.
const diagnoseTime = 20 * time.Second

// Tell plays the steps in order and returns the error of the first that failed.
func (t *Teller) Tell(ctx context.Context, steps []Step) error {
	for i, step := range steps {
		Say(t.Out, "\n%d/%d  %s\n", i+1, len(steps), step.Title)
		t.block("expected:", strings.Split(step.Expected, "\n"))
		begin := time.Now()
		progress := &Progress{out: t.Out, terminal: t.Terminal}
		happening, err := step.Play(ctx, progress)
		progress.clear()
		after := time.Since(begin).Round(100 * time.Millisecond)
		switch {
		case err == nil:
			t.happened(happening, after)
		case ctx.Err() != nil:
			Say(t.Out, "  interrupted after %s\n", after)
			return context.Cause(ctx)
		default:
			t.failed(ctx, err, happening, after)
			return fmt.Errorf("step %d (%s): %w", i+1, step.Title, err)
		}
	}
	return nil
}

func (t *Teller) happened(h Happening, after time.Duration) {
	t.block("happened:", append([]string{fmt.Sprintf("as expected, after %s", after)}, h.Notes...))
	t.table(h.Table)
}

func (t *Teller) failed(ctx context.Context, err error, h Happening, after time.Duration) {
	Say(t.Out, "  FAILED after %s\n", after)
	var unexpected *Unexpected
	if errors.As(err, &unexpected) {
		t.block("wanted:", strings.Split(unexpected.Expected, "\n"))
		t.block("is:", strings.Split(unexpected.Actual, "\n"))
	} else {
		t.block("error:", strings.Split(err.Error(), "\n"))
	}
	t.block("", h.Notes)
	t.table(h.Table)
	if t.Diagnose != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnoseTime)
		defer cancel()
		t.Diagnose(ctx, t.Out)
	}
}

// block writes lines beside a head, or nothing where there are no lines.
func (t *Teller) block(head string, lines []string) {
	for _, line := range lines {
		Say(t.Out, "  %-10s %s\n", head, line)
		head = ""
	}
}

func (t *Teller) table(rows [][]string) { WriteTable(t.Out, "             ", rows) }

// Say writes to whoever listens. One who left is no failure of the story.
func Say(out io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(out, format, args...) }

// WriteTable aligns the columns of the rows and indents them.
func WriteTable(out io.Writer, indent string, rows [][]string) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		// The last cell ends its line without a tab, and so without blanks after it.
		Say(w, "%s%s\n", indent, strings.Join(row, "\t"))
	}
	_ = w.Flush()
}
