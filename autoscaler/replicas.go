// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/horizontal"
	"github.com/berth-dev/berth/autoscaler/metrics"
	"github.com/berth-dev/berth/autoscaler/observe"
)

// workers bounds the HPAs that are read or written at the same time.
const workers = 8

// callDeadline bounds what one HPA or VPA may cost of a tick: a target behind a
// webhook that hangs must not hold up the others for long.
const callDeadline = 5 * time.Second

// replicas is one HPA on its way through a tick.
type replicas struct {
	hpa      *autoscalingv2.HorizontalPodAutoscaler
	scale    observe.Scale
	selector labels.Selector // nil where the target or its selector cannot be read
	input    horizontal.Input
	decision horizontal.Decision
	// failed tells that the decided scale could not be written, so that its pods will not come.
	failed bool
}

// decideReplicas evaluates every HPA once, without writing anything.
func (c *Conductor) decideReplicas(ctx context.Context, hpas []*autoscalingv2.HorizontalPodAutoscaler, verdicts map[guard.Key]guard.Verdict, usage usage) []*replicas {
	all := make([]*replicas, len(hpas))
	workqueue.ParallelizeUntil(ctx, workers, len(hpas), func(i int) {
		all[i] = c.observeReplicas(ctx, hpas[i], verdicts[hpaKey(hpas[i])], usage)
	})
	all = slices.DeleteFunc(all, func(r *replicas) bool { return r == nil }) // the context ended

	var selecting []observe.Selecting
	for _, r := range all {
		// As upstream, only those whose metrics are asked can be in each other's way.
		if r.selector != nil && r.input.Refused == "" && r.input.Scale.SpecReplicas > 0 {
			selecting = append(selecting, observe.Selecting{HPA: r.hpa, Selector: r.selector})
		}
	}
	overlaps := c.reader.Overlaps(selecting)
	for _, r := range all {
		r.input.SelectedBy = overlaps[types.NamespacedName{Namespace: r.hpa.Namespace, Name: r.hpa.Name}]
		r.decision = horizontal.Decide(r.input)
	}
	return all
}

func (c *Conductor) observeReplicas(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, verdict guard.Verdict, usage usage) *replicas {
	h := c.config.Horizontal
	r := &replicas{hpa: hpa, input: horizontal.Input{
		Now:   c.now(),
		HPA:   hpa,
		Usage: usage.of(hpa.Namespace),
		Config: horizontal.Config{
			Tolerance:               *h.Tolerance,
			DownscaleStabilization:  h.DownscaleStabilization.Duration,
			CPUInitializationPeriod: h.CPUInitializationPeriod.Duration,
			InitialReadinessDelay:   h.InitialReadinessDelay.Duration,
		},
		History: c.history.horizontal[hpa.UID],
	}}
	if !verdict.Allowed {
		r.input.Refused = verdict.Message
	}
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	scale, err := c.reader.Scale(ctx, hpa.Namespace, hpa.Spec.ScaleTargetRef)
	if err != nil {
		r.input.Scale.Absent = err.Error()
		return r
	}
	r.scale = scale
	r.input.Scale = horizontal.Scale{SpecReplicas: scale.SpecReplicas, StatusReplicas: scale.StatusReplicas, Selector: scale.Selector}
	// A selector that is empty or does not parse is the engine's to report.
	if selector, err := labels.Parse(scale.Selector); err == nil && scale.Selector != "" {
		r.selector = selector
		r.input.Pods = c.reader.PodsOf(hpa.Namespace, selector)
	}
	return r
}

// actReplicas writes scales, and then statuses and events. In Observe mode it writes nothing.
func (c *Conductor) actReplicas(ctx context.Context, all []*replicas, verdicts map[guard.Key]guard.Verdict) {
	outcomes := make([]horizontal.Outcome, len(all))
	workqueue.ParallelizeUntil(ctx, workers, len(all), func(i int) {
		outcomes[i] = c.actOn(ctx, all[i], verdicts[hpaKey(all[i].hpa)])
	})
	kept := make(map[types.UID]horizontal.History, len(all))
	for i, r := range all {
		kept[r.hpa.UID] = outcomes[i].History
	}
	// An HPA that is gone takes its history with it.
	c.history.horizontal = kept
}

func (c *Conductor) actOn(ctx context.Context, r *replicas, verdict guard.Verdict) horizontal.Outcome {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	logger := klog.FromContext(ctx).WithValues("hpa", klog.KObj(r.hpa))
	observing := c.config.Horizontal.Mode == config.Observe
	outcome := r.decision.Outcome
	if r.decision.Rescale && !observing {
		ref := r.hpa.Spec.ScaleTargetRef
		err := c.writer.Scale(ctx, r.hpa.Namespace, ref.Name, r.scale.Resource, r.decision.CurrentReplicas, r.decision.DesiredReplicas)
		outcome = horizontal.Confirm(r.input, r.decision, err)
		c.telemetry.Rescaled(err)
		r.failed = err != nil
		if err != nil {
			logger.Error(err, "Writing a scale", "target", ref.Kind+"/"+ref.Name, "from", r.decision.CurrentReplicas, "to", r.decision.DesiredReplicas)
		}
	}
	if r.decision.Rescale {
		logger.V(2).Info("Replicas decided", "from", r.decision.CurrentReplicas, "to", r.decision.DesiredReplicas, "reason", r.decision.Reason, "observing", observing)
	}
	logger.V(4).Info("Replicas explained", "explanation", r.decision.Explanation)
	if observing {
		return outcome
	}
	for _, event := range outcome.Events {
		c.writer.Event(r.hpa, actuate.Event{Type: event.Type, Reason: event.Reason, Message: event.Message})
	}
	status := outcome.Status
	status.Conditions = c.markHPA(status.Conditions, verdict)
	if err := c.writer.HPAStatus(ctx, r.hpa, status); err != nil {
		logger.Error(err, "Writing the status of an HPA")
	}
	return outcome
}

// usage is what the metrics API said in this tick, by namespace.
type usage struct {
	absent string
	pods   map[string]map[string]horizontal.PodUsage
}

func (u usage) of(namespace string) horizontal.Usage {
	return horizontal.Usage{Absent: u.absent, Pods: u.pods[namespace]}
}

// usageOf keeps the namespaces of a snapshot that have HPAs.
func usageOf(hpas []*autoscalingv2.HorizontalPodAutoscaler, snapshot metrics.Snapshot, err error) usage {
	if err != nil {
		return usage{absent: err.Error()}
	}
	u := usage{pods: map[string]map[string]horizontal.PodUsage{}}
	for _, hpa := range hpas {
		if u.pods[hpa.Namespace] == nil {
			u.pods[hpa.Namespace] = convertUsage(snapshot.Namespace(hpa.Namespace))
		}
	}
	return u
}

func convertUsage(samples map[string]metrics.PodUsage) map[string]horizontal.PodUsage {
	converted := make(map[string]horizontal.PodUsage, len(samples))
	for name, sample := range samples {
		containers := make([]horizontal.ContainerUsage, len(sample.Containers))
		for i, container := range sample.Containers {
			containers[i] = horizontal.ContainerUsage(container)
		}
		converted[name] = horizontal.PodUsage{Timestamp: sample.Timestamp, Window: sample.Window, Containers: containers}
	}
	return converted
}
