// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import "k8s.io/component-base/metrics"

// VerticalState is what Berth does about the pods of VPAs. Recommendations are written in any state.
type VerticalState string

// The states, of which one is true at any time.
const (
	// VerticalActs: pods get the sizes that are recommended.
	VerticalActs VerticalState = "acts"
	// VerticalObserves: pods are left alone, as the configuration says.
	VerticalObserves VerticalState = "observes"
	// VerticalJudges: pods are left alone while it is not known whether upstream's updater is there.
	VerticalJudges VerticalState = "judges"
	// VerticalStandsBack: pods are left alone, since upstream's updater may act on them.
	VerticalStandsBack VerticalState = "stands_back"
)

func newVerticalState() stateGauge[VerticalState] {
	return newStateGauge("vertical_state",
		"What Berth does about the pods of VPAs, 1 for one of: acts; observes, as configured; judges while it cannot see whether upstream's updater is there; stands_back for that one.",
		VerticalActs, VerticalObserves, VerticalJudges, VerticalStandsBack)
}

func newCheckpointWrites() *metrics.CounterVec {
	return metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem: subsystem, Name: "checkpoint_writes_total", StabilityLevel: metrics.ALPHA,
		Help: "Checkpoints of VPAs written, by outcome. One that somebody else has written meanwhile counts as an error, and is written again.",
	}, []string{"outcome"})
}

// Vertical sets what Berth does about the pods of VPAs.
func (t *Telemetry) Vertical(state VerticalState) { t.verticalState.set(state) }

// CheckpointWritten counts a checkpoint that was written, or was not.
func (t *Telemetry) CheckpointWritten(err error) {
	t.checkpointWrites.WithLabelValues(outcome(err)).Inc()
}
