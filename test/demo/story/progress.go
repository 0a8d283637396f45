// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"fmt"
	"io"
	"time"
)

const (
	// look is the time between two looks: short beside anything a person notices.
	look = 200 * time.Millisecond
	// quiet is the time between two progress lines where they cannot be taken back.
	quiet = 5 * time.Second
	// width keeps the live line on one line of a narrow terminal: one that
	// wraps cannot be taken back.
	width = 78
)

// Progress waits, and shows on what.
type Progress struct {
	out      io.Writer
	terminal bool
}

// State is what one look saw.
type State struct {
	// Done ends the wait.
	Done bool
	// Now is the state in a few words.
	Now string
}

// Until looks until a look is done or fails. When the limit passes first it
// returns Unexpected with the last state.
func (p *Progress) Until(ctx context.Context, expected string, limit time.Duration, see func(ctx context.Context) (State, error)) error {
	begin := time.Now()
	lastLine := begin
	defer p.clear()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		state, err := see(ctx)
		switch elapsed := time.Since(begin); {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case state.Done:
			return nil
		case elapsed >= limit:
			return &Unexpected{Expected: fmt.Sprintf("%s within %s", expected, limit), Actual: state.Now}
		case p.terminal:
			p.live(elapsed, state.Now)
		case time.Since(lastLine) >= quiet:
			lastLine = time.Now()
			fmt.Fprintf(p.out, "  %-10s %s\n", seconds(elapsed), state.Now)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// live replaces the line.
func (p *Progress) live(elapsed time.Duration, state string) {
	line := []rune(fmt.Sprintf("  %-10s %s", seconds(elapsed), state))
	if len(line) > width {
		line = append(line[:width-1], '…')
	}
	fmt.Fprintf(p.out, "\r\033[K%s", string(line))
}

func (p *Progress) clear() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\033[K")
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }
