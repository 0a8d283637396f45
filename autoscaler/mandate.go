// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
)

// observing is why nothing is written that the configuration wants to see only.
const observing = "Observing"

// hold is why Berth plans only: the reason and the message of a condition. It changes with what is known only, and is
// empty where nothing holds Berth back.
type hold struct{ reason, message string }

// mandate is whether Berth may act where somebody else may be at work, as it was looked up last.
type mandate struct {
	looked time.Time
	state  actuate.State
	hold   hold
}

// due tells that it is to be looked up anew, once in a sync period, however often it is asked.
func (m *mandate) due(now time.Time, period time.Duration) bool {
	// Half of it: whole ticks are a period apart, but not to the millisecond, and what each does first takes its time.
	return m.looked.IsZero() || now.Sub(m.looked) >= period/2
}

// found takes what was looked up, and tells the log of a change in words of what it is about.
func (m *mandate) found(ctx context.Context, now time.Time, state actuate.State, held hold, about string) {
	if held != m.hold {
		klog.FromContext(ctx).Info(about, "berth", held.reason == "", "reason", held.reason, "message", held.message)
	}
	m.looked, m.state, m.hold = now, state, held
}
