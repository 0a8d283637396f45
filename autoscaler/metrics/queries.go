// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"fmt"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/workqueue"
	podautoscaler "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

// API is one of the metrics APIs that are asked metric by metric.
type API string

// The APIs.
const (
	Custom   API = "custom.metrics.k8s.io"
	External API = "external.metrics.k8s.io"
)

// Query is one question. Two HPAs that ask the same have equal queries.
type Query struct {
	API       API
	Namespace string
	Metric    string
	// Selector is the label selector of the metric's series, in its string form.
	Selector string
	// Pods is the label selector of the pods that a Pods metric is about. It is
	// empty for the other kinds.
	Pods string
	// Object is what an Object metric is about, zero for the other kinds.
	Object autoscalingv2.CrossVersionObjectReference
}

// Answer is what an API says to a query. Values are milli-units.
type Answer struct {
	// Pods answers for pods: values by pod name.
	Pods map[string]int64
	// Object answers for one object.
	Object int64
	// Series answers for an external metric: one value for each series.
	Series []int64
	// Err is why there is no answer. It reads as kube-controller-manager words it.
	Err error
}

// Values reads single metrics. Upstream's client is one: its errors are those
// that people know from the conditions of their HPAs.
type Values = podautoscaler.MetricsClient

// Asker asks the custom and the external metrics API. It keeps nothing
// between rounds.
type Asker struct {
	values   Values
	workers  int
	deadline time.Duration
}

// NewAsker returns an Asker that has so many workers for each API, and whose
// rounds take no longer than deadline. The calls of values must end by
// themselves, if later.
func NewAsker(values Values, workers int, deadline time.Duration) *Asker {
	return &Asker{values: values, workers: workers, deadline: deadline}
}

// Ask asks one API each of the queries once, several at a time, and returns
// when all are answered, or at the deadline: what is not answered by then has
// an *UnavailableError. Other APIs are not waited for.
func (a *Asker) Ask(ctx context.Context, api API, queries map[Query]struct{}) map[Query]Answer {
	ctx, cancel := context.WithTimeout(ctx, a.deadline)
	defer cancel()
	round := newRound(api, queries)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Ends early with ctx: workers take no further query then.
		workqueue.ParallelizeUntil(ctx, a.workers, len(round.queries), func(i int) {
			round.put(round.queries[i], a.answer(ctx, round.queries[i]))
		})
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return round.close(&UnavailableError{Reason: TimedOut, Err: fmt.Errorf("unable to fetch metrics from %s: %w", api.words(), context.Cause(ctx))})
}

func (a *Asker) answer(ctx context.Context, q Query) Answer {
	answer := a.ask(q)
	if answer.Err != nil {
		// Upstream's client tells no more than words.
		answer.Err = &UnavailableError{Reason: reasonOf(ctx, answer.Err), Err: answer.Err}
	}
	return answer
}

func (a *Asker) ask(q Query) (answer Answer) {
	selector, err := labels.Parse(q.Selector)
	if err != nil {
		return Answer{Err: err}
	}
	switch {
	case q.API == External:
		answer.Series, _, answer.Err = a.values.GetExternalMetric(q.Metric, q.Namespace, selector)
	case q.Object != (autoscalingv2.CrossVersionObjectReference{}):
		answer.Object, _, answer.Err = a.values.GetObjectMetric(q.Metric, q.Namespace, &q.Object, selector)
	default:
		answer.Pods, answer.Err = a.pods(q, selector)
	}
	return answer
}

func (a *Asker) pods(q Query, selector labels.Selector) (map[string]int64, error) {
	pods, err := labels.Parse(q.Pods)
	if err != nil {
		return nil, err
	}
	samples, _, err := a.values.GetRawMetric(q.Metric, q.Namespace, pods, selector)
	if err != nil {
		return nil, err
	}
	values := make(map[string]int64, len(samples))
	for pod, sample := range samples {
		values[pod] = sample.Value
	}
	return values, nil
}

func (api API) words() string {
	if api == External {
		return "external metrics API"
	}
	return "custom metrics API"
}

// round collects answers until it is closed. Whoever answers later is not heard.
type round struct {
	queries []Query

	mu      sync.Mutex
	answers map[Query]Answer
	closed  bool
}

func newRound(api API, queries map[Query]struct{}) *round {
	r := &round{answers: make(map[Query]Answer, len(queries))}
	for q := range queries {
		if q.API == api {
			r.queries = append(r.queries, q)
		}
	}
	return r
}

func (r *round) put(q Query, answer Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.answers[q] = answer
	}
}

func (r *round) close(late error) map[Query]Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, q := range r.queries {
		if _, answered := r.answers[q]; !answered {
			r.answers[q] = Answer{Err: late}
		}
	}
	return r.answers
}
