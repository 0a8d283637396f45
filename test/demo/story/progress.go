// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"fmt"
	"io"
	"time"
)

const (
	// quiet is the time between two progress lines where they cannot be taken back.
	quiet = 5 * time.Second
	// width keeps the live line on one line of a narrow terminal: one that
	// wraps cannot be taken back.
	width = 78
)

// Progress shows what a step waits for.
type Progress struct {
	out      io.Writer
	terminal bool
	last     time.Duration
}

// Show shows a state and how long it has been waited for. It may be called as
// often as somebody looks.
func (p *Progress) Show(state string, elapsed time.Duration) {
	if p.terminal {
		line := []rune(line(state, elapsed))
		if len(line) > width {
			line = append(line[:width-1], '…')
		}
		Say(p.out, "\r\033[K%s", string(line))
		return
	}
	if elapsed < p.last {
		p.last = 0 // a wait after another starts at zero
	}
	if elapsed-p.last >= quiet {
		p.last = elapsed
		Say(p.out, "%s\n", line(state, elapsed))
	}
}

func (p *Progress) clear() {
	if p.terminal {
		Say(p.out, "\r\033[K")
	}
}

func line(state string, elapsed time.Duration) string {
	return fmt.Sprintf("  %-10s %s", fmt.Sprintf("%ds", int(elapsed.Seconds())), state)
}
