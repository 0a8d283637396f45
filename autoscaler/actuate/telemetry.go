// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import (
	"strconv"
	"time"

	"k8s.io/component-base/metrics"
)

const subsystem = "berth"

// Telemetry is what the loop tells the process's /metrics.
type Telemetry struct {
	tickDuration     *metrics.HistogramVec
	metricsDuration  *metrics.HistogramVec
	queriesUnasked   *metrics.CounterVec
	rescales         *metrics.CounterVec
	refusals         *metrics.Gauge
	horizontalState  *metrics.GaugeVec
	verticalState    *metrics.GaugeVec
	nodesState       *metrics.GaugeVec
	checkpointWrites *metrics.CounterVec
	nodeChanges      *metrics.CounterVec
	nodesDraining    *metrics.Gauge
	unremovableNodes *metrics.GaugeVec
	drainsUndone     *metrics.Counter
	unhelpedPods     *metrics.Gauge
	policies         *metrics.GaugeVec
	lostVolumes      *metrics.Gauge
	releases         *metrics.CounterVec
	resizes          *metrics.CounterVec
	waitingForSize   *metrics.Gauge
	forecastPods     *metrics.GaugeVec
}

// NewTelemetry makes the metrics of the loop and registers them, all in one call.
func NewTelemetry(register func(...metrics.Registerable)) *Telemetry {
	t := &Telemetry{
		tickDuration: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Subsystem: subsystem, Name: "tick_duration_seconds", StabilityLevel: metrics.ALPHA,
			Help:    "Time of one pass of the loop. A whole one begins a new evaluation of every HPA; others go on with it, or hear of events.",
			Buckets: metrics.ExponentialBuckets(0.001, 2, 16),
		}, []string{"whole"}),
		metricsDuration: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Subsystem: subsystem, Name: "metrics_read_duration_seconds", StabilityLevel: metrics.ALPHA,
			Help:    "Time to read what a tick needs of a metrics API: one cluster-wide list of metrics.k8s.io, all queries of another. An error is one of any of them.",
			Buckets: metrics.ExponentialBuckets(0.001, 2, 16),
		}, []string{"api", "outcome"}),
		queriesUnasked: metrics.NewCounterVec(&metrics.CounterOpts{
			Subsystem: subsystem, Name: "metric_queries_unasked_total", StabilityLevel: metrics.ALPHA,
			Help: "Queries that a metrics API was too slow to be asked in a sync period, by API. Their HPAs wait for the next one.",
		}, []string{"api"}),
		rescales: metrics.NewCounterVec(&metrics.CounterOpts{
			Subsystem: subsystem, Name: "rescales_total", StabilityLevel: metrics.ALPHA,
			Help: "Scales written, by outcome.",
		}, []string{"outcome"}),
		refusals: metrics.NewGauge(&metrics.GaugeOpts{
			Subsystem: subsystem, Name: "refused_autoscalers", StabilityLevel: metrics.ALPHA,
			Help: "HPAs and VPAs that are not acted on because another one has their target.",
		}),
		horizontalState:  newState("horizontal_state", "What Berth does about HPAs, 1 for one of: acts; observes, as configured; judges whether another HPA controller is there; stands_back for another one."),
		verticalState:    newState("vertical_state", "What Berth does about the pods of VPAs, 1 for one of: acts; observes, as configured; judges while it cannot see whether upstream's updater is there; stands_back for that one."),
		nodesState:       newState("nodes_state", "What Berth does about nodes, 1 for one of: acts; observes, as configured; judges while it cannot see whether a Cluster Autoscaler is there; stands_back for that one."),
		checkpointWrites: newCheckpointWrites(),
		nodeChanges: metrics.NewCounterVec(&metrics.CounterOpts{
			Subsystem: subsystem, Name: "node_changes_total", StabilityLevel: metrics.ALPHA,
			Help: "Nodes asked for and removed, by group and outcome.",
		}, []string{"group", "change", "outcome"}),
		nodesDraining:    newNodesDraining(),
		unremovableNodes: newUnremovableNodes(),
		drainsUndone:     newDrainsUndone(),
		unhelpedPods: metrics.NewGauge(&metrics.GaugeOpts{
			Subsystem: subsystem, Name: "unhelped_pods", StabilityLevel: metrics.ALPHA,
			Help: "Pods that no present node and no node group can take.",
		}),
		policies: metrics.NewGaugeVec(&metrics.GaugeOpts{
			Subsystem: subsystem, Name: "placement_policies", StabilityLevel: metrics.ALPHA,
			Help: "PlacementPolicies, each in one state: accepted, invalid, or conflicted where an older one places a set that it is for.",
		}, []string{"state"}),
		lostVolumes: metrics.NewGauge(&metrics.GaugeOpts{
			Subsystem: subsystem, Name: "lost_volumes", StabilityLevel: metrics.ALPHA,
			Help: "Claims whose local volume was on a node that is gone, of slots whose policy gives lost volumes up.",
		}),
		releases: metrics.NewCounterVec(&metrics.CounterOpts{
			Subsystem: subsystem, Name: "released_volumes_total", StabilityLevel: metrics.ALPHA,
			Help: "Claims deleted because the node of their local volume is gone, by outcome.",
		}, []string{"outcome"}),
		resizes: metrics.NewCounterVec(&metrics.CounterOpts{
			Subsystem: subsystem, Name: "resizes_total", StabilityLevel: metrics.ALPHA,
			Help: "Pods that were sized, by action (Patch and Revert write the resize subresource, Evict has the pod re-created), class of the change and outcome.",
		}, []string{"action", "class", "outcome"}),
		waitingForSize: metrics.NewGauge(&metrics.GaugeOpts{
			Subsystem: subsystem, Name: "pods_waiting_for_size", StabilityLevel: metrics.ALPHA,
			Help: "Pods that should have another size and wait for it.",
		}),
		forecastPods: newForecastPods(),
	}
	register(t.forecastPods, t.resizes, t.waitingForSize, t.tickDuration, t.metricsDuration, t.queriesUnasked, t.rescales, t.refusals, t.horizontalState, t.verticalState, t.nodesState, t.checkpointWrites, t.nodeChanges, t.nodesDraining, t.unremovableNodes, t.drainsUndone, t.unhelpedPods, t.policies, t.lostVolumes, t.releases)
	return t
}

// Ticked counts a pass of the loop.
func (t *Telemetry) Ticked(whole bool, took time.Duration) {
	t.tickDuration.WithLabelValues(strconv.FormatBool(whole)).Observe(took.Seconds())
}

// MetricsRead counts what a tick reads of one metrics API.
func (t *Telemetry) MetricsRead(api string, took time.Duration, err error) {
	t.metricsDuration.WithLabelValues(api, outcome(err)).Observe(took.Seconds())
}

// QueriesUnasked counts queries that there was no time for.
func (t *Telemetry) QueriesUnasked(api string, n int) {
	t.queriesUnasked.WithLabelValues(api).Add(float64(n))
}

// Rescaled counts a scale that was written, or was not.
func (t *Telemetry) Rescaled(err error) { t.rescales.WithLabelValues(outcome(err)).Inc() }

// Refused sets the number of autoscalers that are not acted on.
func (t *Telemetry) Refused(n int) { t.refusals.Set(float64(n)) }

// Unhelped sets the number of pods that no node group can help.
func (t *Telemetry) Unhelped(n int) { t.unhelpedPods.Set(float64(n)) }

// Policies sets the number of PlacementPolicies by what became of them.
func (t *Telemetry) Policies(accepted, invalid, conflicted int) {
	t.policies.WithLabelValues("accepted").Set(float64(accepted))
	t.policies.WithLabelValues("invalid").Set(float64(invalid))
	t.policies.WithLabelValues("conflicted").Set(float64(conflicted))
}

// LostVolumes sets the number of claims that have lost their local volume.
func (t *Telemetry) LostVolumes(n int) { t.lostVolumes.Set(float64(n)) }

// Released counts a claim that was given up, or was not.
func (t *Telemetry) Released(err error) { t.releases.WithLabelValues(outcome(err)).Inc() }

// Resized counts a pod that was sized, or was not.
func (t *Telemetry) Resized(action, class string, err error) {
	t.resizes.WithLabelValues(action, class, outcome(err)).Inc()
}

// WaitingForSize sets the number of pods that wait for their size.
func (t *Telemetry) WaitingForSize(n int) { t.waitingForSize.Set(float64(n)) }

// NodesAdded counts nodes asked for.
func (t *Telemetry) NodesAdded(group string, n int, err error) {
	t.nodeChanges.WithLabelValues(group, "add", outcome(err)).Add(float64(n))
}

// NodeRemoved counts a node that was removed, or was not.
func (t *Telemetry) NodeRemoved(group string, err error) {
	t.nodeChanges.WithLabelValues(group, "remove", outcome(err)).Inc()
}

func outcome(err error) string {
	if err != nil {
		return "error"
	}
	return "success"
}
