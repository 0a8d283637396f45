// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUntil(t *testing.T) {
	begin := func(at time.Duration) func(elapsed time.Duration) (State, error) {
		return func(elapsed time.Duration) (State, error) {
			return State{Done: elapsed >= at, Now: fmt.Sprintf("%ds old", int(elapsed.Seconds()))}, nil
		}
	}
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		terminal bool
		see      func(elapsed time.Duration) (State, error)
		took     time.Duration
		err      string
		text     string
	}{
		"at once": {see: begin(0)},
		"a line every few seconds": {
			see: begin(11 * time.Second), took: 11 * time.Second,
			text: "  5s         5s old\n  10s        10s old\n",
		},
		"the limit": {
			see: begin(time.Hour), took: 20 * time.Second,
			err:  "expected the end within 20s; is: 20s old",
			text: "  5s         5s old\n  10s        10s old\n  15s        15s old\n",
		},
		"a look that fails": {
			see: func(elapsed time.Duration) (State, error) {
				if elapsed < time.Second {
					return State{}, nil
				}
				return State{}, boom
			},
			took: time.Second, err: "boom",
		},
		"a live line is taken back": {
			terminal: true, see: begin(400 * time.Millisecond), took: 400 * time.Millisecond,
			text: "\r\x1b[K  0s         0s old\r\x1b[K  0s         0s old\r\x1b[K",
		},
		"a long line is cut": {
			terminal: true,
			see: func(elapsed time.Duration) (State, error) {
				return State{Done: elapsed > 0, Now: strings.Repeat("ä", 100)}, nil
			},
			took: 200 * time.Millisecond,
			text: "\r\x1b[K  0s         " + strings.Repeat("ä", 64) + "…\r\x1b[K",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				p := &Progress{out: &out, terminal: tc.terminal}
				start := time.Now()
				err := p.Until(t.Context(), "the end", 20*time.Second, func(context.Context) (State, error) {
					return tc.see(time.Since(start))
				})
				if got := time.Since(start); got != tc.took {
					t.Errorf("took %s, want %s", got, tc.took)
				}
				if fmt.Sprint(err) != tc.err && (err != nil || tc.err != "") {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				if diff := cmp.Diff(tc.text, out.String()); diff != "" {
					t.Errorf("text (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestUntilEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p := &Progress{out: &strings.Builder{}}
		err := p.Until(ctx, "nothing", time.Hour, func(context.Context) (State, error) { return State{}, nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the context's", err)
		}
	})
}
