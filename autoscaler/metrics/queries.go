// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	customclient "k8s.io/metrics/pkg/client/custom_metrics"
	externalclient "k8s.io/metrics/pkg/client/external_metrics"
)

// API is one of the metrics APIs, by its group.
type API string

// The APIs. Resource is read whole, the others metric by metric.
const (
	Resource API = "metrics.k8s.io"
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
	// Err is why there is no answer: an *UnavailableError.
	Err error
}

// Asker asks the custom and the external metrics API. It keeps nothing
// between rounds.
type Asker struct {
	custom   customclient.CustomMetricsClient
	external externalclient.ExternalMetricsClient
	workers  int
	deadline time.Duration
}

// NewAsker returns an Asker that has so many workers for each API, and whose
// rounds take no longer than deadline. The clients take no context: their
// calls must end by themselves, if later.
//
// A query is sent in the first half of a round or not at all, so that each that is sent has the other
// half to be answered in: an API that needs no longer for one answer loses none of them, however many are asked for.
func NewAsker(custom customclient.CustomMetricsClient, external externalclient.ExternalMetricsClient, workers int, deadline time.Duration) *Asker {
	return &Asker{custom: custom, external: external, workers: workers, deadline: deadline}
}

// Ask asks one API those of the queries that are for it once, in their order and several at a time, and returns
// when all are answered, or at the deadline: what was sent and is not answered by then has an
// *UnavailableError. Other APIs are not waited for.
//
// Queries for which there was no time are not in the result, and can be asked first the next time. But where
// all that was sent timed out, the API is stuck, and they have an *UnavailableError, too, with the reason
// NotAsked: else nobody would tell of a stuck API on their account.
func (a *Asker) Ask(ctx context.Context, api API, queries []Query) map[Query]Answer {
	ctx, cancel := context.WithTimeout(ctx, a.deadline)
	defer cancel()
	round := newRound(api, queries)
	done := make(chan struct{})
	go func() {
		defer close(done)
		sending, stop := context.WithTimeout(ctx, a.deadline/2)
		defer stop()
		// Ends early with sending: workers take no further query then.
		workqueue.ParallelizeUntil(sending, a.workers, len(round.queries), func(i int) {
			if q := round.queries[i]; round.send(q) {
				round.put(q, a.answer(ctx, q))
			}
		})
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	late := context.Cause(ctx)
	if late == nil {
		late = context.DeadlineExceeded // all that was sent timed out by itself
	}
	return round.close(late)
}

func (a *Asker) answer(ctx context.Context, q Query) Answer {
	answer, err := a.ask(q)
	if err != nil {
		return Answer{Err: &UnavailableError{Reason: reasonOf(ctx, err), Err: err}}
	}
	return answer
}

func (a *Asker) ask(q Query) (Answer, error) {
	selector, err := labels.Parse(q.Selector)
	switch {
	case err != nil:
		return Answer{}, err
	case q.API == External:
		return a.series(q, selector)
	case q.Object != (autoscalingv2.CrossVersionObjectReference{}):
		return a.object(q, selector)
	}
	return a.pods(q, selector)
}

func (a *Asker) pods(q Query, selector labels.Selector) (answer Answer, err error) {
	pods, err := labels.Parse(q.Pods)
	if err != nil {
		return answer, err
	}
	list, err := a.custom.NamespacedMetrics(q.Namespace).GetForObjects(schema.GroupKind{Kind: "Pod"}, pods, q.Metric, selector)
	if err != nil {
		return answer, err
	}
	answer.Pods = make(map[string]int64, len(list.Items))
	for _, item := range list.Items {
		answer.Pods[item.DescribedObject.Name] = item.Value.MilliValue()
	}
	return answer, nil
}

func (a *Asker) object(q Query, selector labels.Selector) (answer Answer, err error) {
	kind := schema.FromAPIVersionAndKind(q.Object.APIVersion, q.Object.Kind).GroupKind()
	scope, name := a.custom.NamespacedMetrics(q.Namespace), q.Object.Name
	if kind == (schema.GroupKind{Kind: "Namespace"}) {
		// At the root, and its own namespace whatever the name: as upstream, a reference does not leave its namespace.
		scope, name = a.custom.RootScopedMetrics(), q.Namespace
	}
	value, err := scope.GetForObject(kind, name, q.Metric, selector)
	if err != nil {
		return answer, err
	}
	answer.Object = value.Value.MilliValue()
	return answer, nil
}

func (a *Asker) series(q Query, selector labels.Selector) (answer Answer, err error) {
	list, err := a.external.NamespacedMetrics(q.Namespace).List(q.Metric, selector)
	if err != nil {
		return answer, err
	}
	answer.Series = make([]int64, 0, len(list.Items))
	for _, item := range list.Items {
		answer.Series = append(answer.Series, item.Value.MilliValue())
	}
	return answer, nil
}

// round collects answers until it is closed. Whoever answers later is not heard.
type round struct {
	queries []Query

	mu      sync.Mutex
	sent    map[Query]struct{}
	answers map[Query]Answer
	heard   bool // something that is not a timeout
	closed  bool
}

func newRound(api API, queries []Query) *round {
	r := &round{sent: map[Query]struct{}{}, answers: make(map[Query]Answer, len(queries))}
	for _, q := range queries {
		if q.API == api {
			r.queries = append(r.queries, q)
		}
	}
	return r
}

// send notes that a query is about to be asked, once, unless the round is over.
func (r *round) send(q Query) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, twice := r.sent[q]; twice || r.closed {
		return false
	}
	r.sent[q] = struct{}{}
	return true
}

func (r *round) put(q Query, answer Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.answers[q] = answer
	var unavailable *UnavailableError
	r.heard = r.heard || !errors.As(answer.Err, &unavailable) || unavailable.Reason != TimedOut
}

func (r *round) close(late error) map[Query]Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, q := range r.queries {
		if _, answered := r.answers[q]; answered {
			continue
		}
		if _, sent := r.sent[q]; sent {
			r.answers[q] = Answer{Err: &UnavailableError{Reason: TimedOut, Err: late}}
		} else if !r.heard {
			r.answers[q] = Answer{Err: &UnavailableError{Reason: NotAsked, Err: late}}
		}
	}
	return r.answers
}
