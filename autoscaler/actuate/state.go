// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import "k8s.io/component-base/metrics"

// State is what Berth does about what others may act on, too: HPAs, the pods of VPAs, nodes.
type State string

// The states, of which one is true at any time.
const (
	// Acts: what is decided is done.
	Acts State = "acts"
	// Observes: nothing is done, as the configuration says.
	Observes State = "observes"
	// Judges: nothing is done while it is not known whether another controller does it.
	Judges State = "judges"
	// StandsBack: nothing is done, since another controller may do it.
	StandsBack State = "stands_back"
)

func newState(name, help string) *metrics.GaugeVec {
	return metrics.NewGaugeVec(&metrics.GaugeOpts{Subsystem: subsystem, Name: name, StabilityLevel: metrics.ALPHA, Help: help}, []string{"state"})
}

func setState(gauge *metrics.GaugeVec, state State) {
	for _, each := range []State{Acts, Observes, Judges, StandsBack} {
		value := 0.0
		if each == state {
			value = 1
		}
		gauge.WithLabelValues(string(each)).Set(value)
	}
}

// Horizontal sets what Berth does about HPAs: write their scales and statuses.
func (t *Telemetry) Horizontal(state State) { setState(t.horizontalState, state) }

// Vertical sets what Berth does about VPAs: size their pods. Recommendations are written in any state.
func (t *Telemetry) Vertical(state State) { setState(t.verticalState, state) }

// Nodes sets what Berth does about nodes: add and remove them. They are planned for in any state.
func (t *Telemetry) Nodes(state State) { setState(t.nodesState, state) }
