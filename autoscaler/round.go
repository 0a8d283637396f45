// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"errors"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/horizontal"
	"github.com/berth-dev/berth/autoscaler/metrics"
)

// patience is how long a whole tick waits for metrics before it goes on to
// nodes. Most answers come in time for nodes to be decided once; what comes
// later is decided upon when it comes.
const patience = time.Second

// round is one evaluation of every HPA: what was asked of the metrics APIs, and who
// waits for which of them.
type round struct {
	waiting []*replicas
	missing sets.Set[metrics.API]
	// answers has room for all of them: who answers a round that is over does not hang.
	answers  chan answer
	usage    usage
	readings map[metrics.Query]horizontal.Reading
	// snapshot is there from the answer of the resource metrics API until requests are recommended from it.
	snapshot *metrics.Snapshot
	// began is when it was asked, unasked what no API was asked, although it counts as failed.
	began   time.Time
	unasked sets.Set[metrics.Query]
	// over ends the asking.
	over context.CancelCauseFunc
}

// answer is all that one API said.
type answer struct {
	api      metrics.API
	snapshot metrics.Snapshot // of the resource metrics API
	values   map[metrics.Query]metrics.Answer
	err      error
}

// begin observes every target and asks for the metrics that they need, once for all of them, without waiting.
func (c *Conductor) begin(ctx context.Context, hpas []*autoscalingv2.HorizontalPodAutoscaler, requests bool, verdicts map[guard.Key]guard.Verdict) *round {
	c.forget(hpas)
	r := &round{
		waiting:  c.observeReplicas(ctx, hpas, verdicts),
		missing:  sets.New[metrics.API](),
		readings: map[metrics.Query]horizontal.Reading{},
		began:    c.now(),
		unasked:  sets.New[metrics.Query](),
	}
	if requests {
		r.missing.Insert(metrics.Resource)
	}
	for _, one := range r.waiting {
		r.missing = r.missing.Union(one.needs)
	}
	queries := c.history.turns.order(r.waiting)
	ctx, r.over = context.WithCancelCause(ctx)
	r.answers = make(chan answer, len(r.missing))
	for api := range r.missing {
		c.reads.Go(func() { r.answers <- c.ask(ctx, api, queries) })
	}
	return r
}

// ask asks one API for everyone.
func (c *Conductor) ask(ctx context.Context, api metrics.API, queries []metrics.Query) answer {
	start, a := c.now(), answer{api: api}
	if api == metrics.Resource {
		a.snapshot, a.err = c.metrics.Read(ctx)
	} else {
		a.values = c.queries.Ask(ctx, api, queries)
	}
	failed, err := 0, a.err
	for _, value := range a.values {
		if value.Err != nil {
			failed, err = failed+1, value.Err
		}
	}
	c.telemetry.MetricsRead(string(api), c.now().Sub(start), err)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return a // the process ends
	}
	if err != nil {
		klog.FromContext(ctx).Error(err, "Reading metrics: without them nothing is scaled down", "api", api, "queries", len(a.values), "failed", failed)
	}
	c.countUnasked(ctx, api, queries, a.values)
	return a
}

// await takes one more answer, if there is one to come before it is enough.
func (r *round) await(ctx context.Context, enough <-chan time.Time) bool {
	if len(r.missing) == 0 {
		return false
	}
	select {
	case a := <-r.answers: // even if it is enough
		r.take(a)
		return true
	default:
	}
	select {
	case a := <-r.answers:
		r.take(a)
		return true
	case <-enough:
	case <-ctx.Done():
	}
	return false
}

// end takes what has been answered, and no answer for one. Asking ends at once, as if its deadline had come.
func (r *round) end() {
	if r.over != nil {
		r.over(context.DeadlineExceeded)
	}
	for len(r.missing) > 0 {
		r.take(<-r.answers)
	}
}

func (r *round) take(a answer) {
	r.missing.Delete(a.api)
	if a.api == metrics.Resource {
		r.usage, r.snapshot = usageIn(r.waiting, a.snapshot, a.err), &a.snapshot
	}
	for query, value := range a.values {
		r.readings[query] = ReadingOf(value)
		var unavailable *metrics.UnavailableError
		if errors.As(value.Err, &unavailable) && unavailable.Reason == metrics.NotAsked {
			r.unasked.Insert(query)
		}
	}
}

// ready returns those that wait for nothing more. They leave the round.
func (r *round) ready() []*replicas {
	var ready, waiting []*replicas
	for _, one := range r.waiting {
		if one.needs.HasAny(r.missing.UnsortedList()...) {
			waiting = append(waiting, one)
		} else {
			ready = append(ready, one)
		}
	}
	r.waiting = waiting
	return ready
}

// readingsOf answers queries in their order.
func (r *round) readingsOf(queries []metrics.Query) []horizontal.Reading {
	readings := make([]horizontal.Reading, len(queries))
	for i, query := range queries {
		if query == (metrics.Query{}) {
			continue
		}
		readings[i] = r.readings[query]
	}
	return readings
}

// measured returns what the resource metrics API said, once.
func (r *round) measured() (snapshot metrics.Snapshot, ok bool) {
	if r.snapshot == nil {
		return snapshot, false
	}
	snapshot, r.snapshot = *r.snapshot, nil
	return snapshot, true
}
