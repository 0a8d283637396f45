// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import "k8s.io/component-base/metrics"

func newForecastPods() *metrics.GaugeVec {
	return metrics.NewGaugeVec(&metrics.GaugeOpts{
		Subsystem: subsystem, Name: "forecast_pods", StabilityLevel: metrics.ALPHA,
		Help: "Pods that do not exist yet: foreseen, for which nodes are added, reserve, for which none goes, and held, which are not planned for.",
	}, []string{"state"})
}

// Foreseen sets the number of pods to come by what is done about them.
func (t *Telemetry) Foreseen(foreseen, reserve, held int) {
	t.forecastPods.WithLabelValues("foreseen").Set(float64(foreseen))
	t.forecastPods.WithLabelValues("reserve").Set(float64(reserve))
	t.forecastPods.WithLabelValues("held").Set(float64(held))
}
