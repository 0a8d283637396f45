// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import "k8s.io/component-base/metrics"

func newNodesDraining() *metrics.Gauge {
	return metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem: subsystem, Name: "nodes_draining", StabilityLevel: metrics.ALPHA,
		Help: "Nodes on their way out: tainted by Berth, and not deleted yet.",
	})
}

func newUnremovableNodes() *metrics.GaugeVec {
	return metrics.NewGaugeVec(&metrics.GaugeOpts{
		Subsystem: subsystem, Name: "unremovable_nodes", StabilityLevel: metrics.ALPHA,
		Help: "Nodes that were under-used for long enough and stay, by the rule that keeps them.",
	}, []string{"rule"})
}

func newDrainsUndone() *metrics.Counter {
	return metrics.NewCounter(&metrics.CounterOpts{
		Subsystem: subsystem, Name: "drains_undone_total", StabilityLevel: metrics.ALPHA,
		Help: "Nodes that were on their way out and were left after all.",
	})
}

// Draining sets the number of nodes on their way out.
func (t *Telemetry) Draining(n int) { t.nodesDraining.Set(float64(n)) }

// Undone counts a node that was left after all.
func (t *Telemetry) Undone() { t.drainsUndone.Inc() }

// Unremovable sets the number of nodes that stay, by rule. A rule that keeps none any more is at 0.
func (t *Telemetry) Unremovable(byRule map[string]int) {
	t.unremovableNodes.Reset()
	for rule, n := range byRule {
		t.unremovableNodes.WithLabelValues(rule).Set(float64(n))
	}
}
