// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import "k8s.io/component-base/metrics"

// stateGauge is 1 for the one of its states that is true, and 0 for the others.
type stateGauge[S ~string] struct {
	*metrics.GaugeVec
	states []S
}

func newStateGauge[S ~string](name, help string, states ...S) stateGauge[S] {
	return stateGauge[S]{metrics.NewGaugeVec(&metrics.GaugeOpts{
		Subsystem: subsystem, Name: name, StabilityLevel: metrics.ALPHA, Help: help,
	}, []string{"state"}), states}
}

func (g stateGauge[S]) set(state S) {
	for _, each := range g.states {
		value := 0.0
		if each == state {
			value = 1
		}
		g.WithLabelValues(string(each)).Set(value)
	}
}
