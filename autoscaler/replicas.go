// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
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

// callDeadline bounds what one HPA or VPA may cost of a tick, and the scales of all targets that are read from the API
// server together: a target behind a webhook that hangs must not hold up the others for long.
const callDeadline = 5 * time.Second

// replicas is one HPA on its way through a round.
type replicas struct {
	hpa      *autoscalingv2.HorizontalPodAutoscaler
	scale    observe.Scale
	selector labels.Selector // nil where the target or its selector cannot be read
	// needs and queries are empty where the decision does not look at metrics.
	needs    sets.Set[metrics.API]
	queries  []metrics.Query
	input    horizontal.Input
	decision horizontal.Decision
	// left is what the evaluation before left the target with.
	left *int32
	// failed tells that the decided scale could not be written, so that its pods will not come.
	failed bool
}

// evaluate decides and writes replicas for whom all metrics have come. A whole tick begins a new round,
// and gives it some time; in other ticks those of the last round have their turn that were
// answered late. Each HPA is decided upon once in a round.
func (c *Conductor) evaluate(ctx context.Context, whole bool, hpas []*autoscalingv2.HorizontalPodAutoscaler, requests bool, verdicts map[guard.Key]guard.Verdict) []*replicas {
	if whole {
		c.round.end()
	}
	decided := c.follow(ctx, hpas, verdicts, 0)
	if whole {
		c.round = c.begin(ctx, hpas, requests, verdicts)
		decided = append(decided, c.follow(ctx, hpas, verdicts, patience)...)
	}
	return decided
}

// follow acts upon answers as they come, for so long.
func (c *Conductor) follow(ctx context.Context, hpas []*autoscalingv2.HorizontalPodAutoscaler, verdicts map[guard.Key]guard.Verdict, wait time.Duration) []*replicas {
	enough := time.After(wait)
	var decided []*replicas
	for {
		ready := c.decideReplicas(ctx, c.stillWanted(c.history.turns.take(c.round, c.round.ready()), hpas), verdicts)
		c.actReplicas(ctx, ready, verdicts)
		c.noteLeft(ready)
		decided = append(decided, ready...)
		if !c.round.await(ctx, enough) {
			return decided
		}
	}
}

// stillWanted leaves out HPAs that are gone, or edited: what was asked for those
// answers another question. The others are brought up to date.
func (c *Conductor) stillWanted(ready []*replicas, hpas []*autoscalingv2.HorizontalPodAutoscaler) []*replicas {
	if len(ready) == 0 {
		return nil
	}
	now := c.now()
	current := make(map[types.UID]*autoscalingv2.HorizontalPodAutoscaler, len(hpas))
	for _, hpa := range hpas {
		current[hpa.UID] = hpa
	}
	return slices.DeleteFunc(ready, func(r *replicas) bool {
		hpa := current[r.hpa.UID]
		if hpa == nil || hpa != r.hpa && !equality.Semantic.DeepEqual(hpa.Spec, r.hpa.Spec) || !c.due(hpa, now) {
			return true
		}
		r.hpa, r.input.HPA = hpa, hpa
		return false
	})
}

// observeReplicas reads the targets of all HPAs, and what their decisions need.
func (c *Conductor) observeReplicas(ctx context.Context, hpas []*autoscalingv2.HorizontalPodAutoscaler, verdicts map[guard.Key]guard.Verdict) []*replicas {
	reads := make([]*scaleRead, len(hpas))
	for i, hpa := range hpas {
		reads[i] = &scaleRead{by: hpa.UID, namespace: hpa.Namespace, ref: hpa.Spec.ScaleTargetRef}
	}
	c.readScales(ctx, c.history.reads.hpas, reads)
	var all []*replicas
	for i, hpa := range hpas {
		if reads[i].done {
			all = append(all, c.withTarget(hpa, reads[i], verdicts[hpaKey(hpa)]))
		}
	}

	var selecting []observe.Selecting
	for _, r := range all {
		// Only those whose metrics are asked can be in each other's way. So it is upstream, but there a selector that
		// was known once stays until its HPA goes.
		if r.selector != nil && r.input.Refused == "" && r.input.Awake() {
			selecting = append(selecting, observe.Selecting{HPA: r.hpa, Selector: r.selector})
		}
	}
	overlaps := c.reader.Overlaps(selecting)
	for _, r := range all {
		r.input.SelectedBy = overlaps[types.NamespacedName{Namespace: r.hpa.Namespace, Name: r.hpa.Name}]
		if r.input.Measures() {
			r.needs, r.queries = needs(r.hpa), metrics.QueriesOf(r.hpa, r.selector.String())
		}
	}
	return all
}

// EngineConfig is what the engine takes of the configuration, which is defaulted.
func EngineConfig(h config.Horizontal) horizontal.Config {
	return horizontal.Config{
		Tolerance:               *h.Tolerance,
		DownscaleStabilization:  h.DownscaleStabilization.Duration,
		CPUInitializationPeriod: h.CPUInitializationPeriod.Duration,
		InitialReadinessDelay:   h.InitialReadinessDelay.Duration,
		ScaleToZero:             h.ScaleToZero,
	}
}

// withTarget is an HPA at the beginning of a round, with what was read of its target.
func (c *Conductor) withTarget(hpa *autoscalingv2.HorizontalPodAutoscaler, read *scaleRead, verdict guard.Verdict) *replicas {
	r := &replicas{hpa: hpa, input: horizontal.Input{
		HPA:     hpa,
		Config:  EngineConfig(c.config.Horizontal),
		Refused: refusal(verdict),
	}}
	if read.err != nil {
		r.input.Scale.Absent = read.err.Error()
		return r
	}
	scale := read.scale
	r.scale = scale
	r.input.Scale = horizontal.Scale{SpecReplicas: scale.SpecReplicas, StatusReplicas: scale.StatusReplicas, Selector: scale.Selector}
	// A selector that is empty or does not parse is the engine's to report.
	if selector, err := labels.Parse(scale.Selector); err == nil && scale.Selector != "" {
		r.selector = selector
	}
	return r
}

// decideReplicas asks the engine, without writing anything.
func (c *Conductor) decideReplicas(ctx context.Context, ready []*replicas, verdicts map[guard.Key]guard.Verdict) []*replicas {
	workqueue.ParallelizeUntil(ctx, workers, len(ready), func(i int) {
		r := ready[i]
		r.input.Now = c.now()
		r.input.Refused = refusal(verdicts[hpaKey(r.hpa)])
		r.input.History = c.recall(ctx, r.hpa, r.input.Now)
		r.left = c.history.horizontal[r.hpa.UID].left
		r.input.History = c.withOthers(r)
		if r.input.Measures() {
			r.input.Pods = c.reader.PodsOf(r.hpa.Namespace, r.selector)
			r.input.Usage = c.round.usage.of(r.hpa.Namespace)
			r.input.Readings = c.round.readingsOf(r.queries)
		}
		r.decision = horizontal.Decide(r.input)
	})
	return ready
}

// refusal is why an HPA may not act, empty where it may.
func refusal(verdict guard.Verdict) string {
	if verdict.Allowed {
		return ""
	}
	return verdict.Message
}

// actReplicas writes all scales, and then statuses and events: what people wait for are pods. Where Berth does not act on
// HPAs it writes nothing. The workers are all that holds the writes back: however many HPAs there are, the API server has no
// more than so many requests of theirs at a time, and sets the pace itself.
func (c *Conductor) actReplicas(ctx context.Context, decided []*replicas, verdicts map[guard.Key]guard.Verdict) {
	outcomes := make([]horizontal.Outcome, len(decided))
	record := func(ctx context.Context, i int) {
		c.record(ctx, decided[i], outcomes[i], verdicts[hpaKey(decided[i].hpa)])
	}
	acts := c.actsOnHPAs()
	workqueue.ParallelizeUntil(ctx, workers, len(decided), func(i int) {
		outcomes[i] = c.rescale(ctx, decided[i])
		if acts && decided[i].binding() {
			record(context.WithoutCancel(ctx), i)
		}
	})
	for i, r := range decided {
		c.history.horizontal[r.hpa.UID] = evaluation{at: r.input.Now, history: outcomes[i].History}
	}
	if !acts {
		return
	}
	workqueue.ParallelizeUntil(ctx, workers, len(decided), func(i int) {
		if !decided[i].binding() {
			record(ctx, i)
		}
	})
}

// binding tells a decision whose status goes right behind the scale, though the process is about to end: the next one will
// look there for the changes that a rate policy counts, and for a scale to zero, without which nobody wakes the target.
func (r *replicas) binding() bool {
	return r.decision.Rescale && (r.decision.DesiredReplicas == 0 || r.hpa.Spec.Behavior != nil)
}

// rescale writes the scale of an HPA if it is to change, and returns what became of it.
func (c *Conductor) rescale(ctx context.Context, r *replicas) horizontal.Outcome {
	logger := klog.FromContext(ctx).WithValues("hpa", klog.KObj(r.hpa))
	logger.V(4).Info("Replicas explained", "explanation", r.decision.Explanation)
	if !r.decision.Rescale {
		return r.decision.Outcome
	}
	acts := c.actsOnHPAs()
	logger.V(2).Info("Replicas decided", "from", r.decision.CurrentReplicas, "to", r.decision.DesiredReplicas, "reason", r.decision.Reason, "acts", acts)
	if !acts {
		return r.decision.Outcome
	}
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	ref := r.hpa.Spec.ScaleTargetRef
	err := c.writer.Scale(ctx, r.hpa.Namespace, ref.Name, r.scale.Resource, r.scale.Version, r.decision.CurrentReplicas, r.decision.DesiredReplicas)
	c.telemetry.Rescaled(err)
	r.failed = err != nil
	if err != nil {
		logger.Error(err, "Writing a scale", "target", ref.Kind+"/"+ref.Name, "from", r.decision.CurrentReplicas, "to", r.decision.DesiredReplicas)
	}
	return horizontal.Confirm(r.input, r.decision, err)
}

// record writes the events and the status that an evaluation has led to.
func (c *Conductor) record(ctx context.Context, r *replicas, outcome horizontal.Outcome, verdict guard.Verdict) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	for _, event := range outcome.Events {
		c.writer.Event(r.hpa, actuate.Event{Type: event.Type, Reason: event.Reason, Message: event.Message})
	}
	status := outcome.Status
	status.Conditions = c.markHPA(status.Conditions, verdict)
	if err := c.writer.HPAStatus(ctx, r.hpa, status, keep(r.hpa, outcome.History, r.input.Now)); err != nil {
		klog.FromContext(ctx).Error(err, "Writing the status of an HPA", "hpa", klog.KObj(r.hpa))
		c.writer.Event(r.hpa, actuate.Event{Type: corev1.EventTypeWarning, Reason: "FailedUpdateStatus", Message: err.Error()})
	}
}
