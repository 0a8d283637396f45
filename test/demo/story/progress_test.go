// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProgress(t *testing.T) {
	type look struct {
		after time.Duration
		state string
	}
	for name, tc := range map[string]struct {
		terminal bool
		looks    []look
		want     string
	}{
		"lines every few seconds": {
			looks: []look{{0, "a"}, {4900 * time.Millisecond, "b"}, {5 * time.Second, "c"}, {9 * time.Second, "d"}, {10200 * time.Millisecond, "e"}},
			want:  "  5s         c\n  10s        e\n",
		},
		"a second wait has its own": {
			looks: []look{{8 * time.Second, "a"}, {0, "b"}, {5 * time.Second, "c"}},
			want:  "  8s         a\n  5s         c\n",
		},
		"a live line replaces the last": {
			terminal: true,
			looks:    []look{{0, "a"}, {1500 * time.Millisecond, "b"}},
			want:     "\r\x1b[K  0s         a\r\x1b[K  1s         b\r\x1b[K",
		},
		"a live line does not wrap": {
			terminal: true,
			looks:    []look{{0, strings.Repeat("ä", 100)}},
			want:     "\r\x1b[K  0s         " + strings.Repeat("ä", 64) + "…\r\x1b[K",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			p := &Progress{out: &out, terminal: tc.terminal}
			for _, look := range tc.looks {
				p.Show(look.state, look.after)
			}
			p.clear()
			if diff := cmp.Diff(tc.want, out.String()); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}
