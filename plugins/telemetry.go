// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"sync"
	"time"

	"github.com/berth-dev/berth/plugins/statefulset"
	"k8s.io/component-base/metrics"
)

// holdTelemetry is what the holds tell the process's /metrics. Until it is
// registered it counts nothing: a simulation never does that.
type holdTelemetry struct {
	mu       sync.Mutex
	holds    *metrics.Gauge
	releases *metrics.CounterVec
	seconds  *metrics.HistogramVec
}

func newHoldTelemetry() *holdTelemetry {
	const subsystem = "berth"
	return &holdTelemetry{
		holds: metrics.NewGauge(&metrics.GaugeOpts{
			Subsystem: subsystem, Name: "holds", StabilityLevel: metrics.ALPHA,
			Help: "Absent slots whose room is kept on a node.",
		}),
		releases: metrics.NewCounterVec(&metrics.CounterOpts{
			Subsystem: subsystem, Name: "holds_released_total", StabilityLevel: metrics.ALPHA,
			Help: "Holds that ended, by reason: bound, unwanted, node_gone, node_leaving or expired.",
		}, []string{"reason"}),
		seconds: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Subsystem: subsystem, Name: "hold_seconds", StabilityLevel: metrics.ALPHA,
			Help:    "How long the room of a slot was kept, by the reason for which that ended.",
			Buckets: metrics.ExponentialBuckets(0.25, 2, 16),
		}, []string{"reason"}),
	}
}

// register makes the metrics visible. Of several schedulers in one process the
// first is seen.
func (t *holdTelemetry) register(register func(metrics.Registerable) error) error {
	for _, metric := range []metrics.Registerable{t.holds, t.releases, t.seconds} {
		if err := register(metric); err != nil {
			return err
		}
	}
	return nil
}

// held tells that there may be more or fewer holds. It counts them itself, so
// that of two who tell at once the last one has the newest number.
func (t *holdTelemetry) held(count func() int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holds.Set(float64(count()))
}

func (t *holdTelemetry) released(reason statefulset.Release, after time.Duration) {
	t.releases.WithLabelValues(string(reason)).Inc()
	t.seconds.WithLabelValues(string(reason)).Observe(after.Seconds())
}
