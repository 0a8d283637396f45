// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	customv1beta2 "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	externalv1beta1 "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	customclient "k8s.io/metrics/pkg/client/custom_metrics"
	externalclient "k8s.io/metrics/pkg/client/external_metrics"
)

// api answers by the name of the metric, after a while. It does not hear of
// contexts, as the clients of these APIs do not.
type api struct {
	takes map[string]time.Duration
	fails map[string]error

	mu    sync.Mutex
	asked map[string]int
	busy  int
	most  int
}

func (a *api) serve(metric string) error {
	a.mu.Lock()
	a.asked[metric]++
	a.busy++
	a.most = max(a.most, a.busy)
	a.mu.Unlock()
	time.Sleep(a.takes[metric])
	a.mu.Lock()
	a.busy--
	a.mu.Unlock()
	return a.fails[metric]
}

func (a *api) asker(workers int) *Asker { return NewAsker(custom{a}, external{a}, workers, deadline) }

// custom is the custom metrics API as the clients see it.
type custom struct{ *api }

func (c custom) RootScopedMetrics() customclient.MetricsInterface { return scope{c.api, "/"} }

func (c custom) NamespacedMetrics(namespace string) customclient.MetricsInterface {
	return scope{c.api, namespace + "/"}
}

type scope struct {
	*api
	path string
}

func (s scope) GetForObjects(kind schema.GroupKind, pods labels.Selector, metric string, _ labels.Selector) (*customv1beta2.MetricValueList, error) {
	return &customv1beta2.MetricValueList{Items: []customv1beta2.MetricValue{{
		DescribedObject: v1.ObjectReference{Name: s.path + kind.String() + "/" + pods.String()}, Value: resource.MustParse("1500m"),
	}}}, s.serve(metric)
}

// GetForObject tells what was asked for by the length of its path.
func (s scope) GetForObject(kind schema.GroupKind, name, metric string, _ labels.Selector) (*customv1beta2.MetricValue, error) {
	path := s.path + kind.String() + "/" + name
	return &customv1beta2.MetricValue{Value: *resource.NewMilliQuantity(int64(len(path)), resource.DecimalSI)}, s.serve(metric)
}

// external is the external metrics API as the clients see it.
type external struct{ *api }

func (e external) NamespacedMetrics(string) externalclient.MetricsInterface { return e }

func (e external) List(metric string, selector labels.Selector) (*externalv1beta1.ExternalMetricValueList, error) {
	return &externalv1beta1.ExternalMetricValueList{Items: []externalv1beta1.ExternalMetricValue{
		{Value: *resource.NewMilliQuantity(int64(len(selector.String())), resource.DecimalSI)}, {Value: resource.MustParse("2m")},
	}}, e.serve(metric)
}

// words are what answers say, errors by their text.
func words(answers map[Query]Answer) map[string]any {
	said := map[string]any{}
	for q, answer := range answers {
		switch {
		case answer.Err != nil:
			said[q.Metric] = answer.Err.Error()
		case answer.Pods != nil:
			said[q.Metric] = answer.Pods
		case answer.Series != nil:
			said[q.Metric] = answer.Series
		default:
			said[q.Metric] = answer.Object
		}
	}
	return said
}

var (
	rps   = Query{API: Custom, Namespace: "prod", Metric: "rps", Pods: "app=web"}
	hits  = Query{API: Custom, Namespace: "prod", Metric: "hits", Object: autoscalingv2.CrossVersionObjectReference{Kind: "Service", Name: "web"}}
	quota = Query{API: Custom, Namespace: "prod", Metric: "quota", Object: autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "other"}}
	depth = Query{API: External, Namespace: "prod", Metric: "depth", Selector: "queue=a"}
)

func TestAskAnswersEachKind(t *testing.T) {
	a := &api{asked: map[string]int{}, fails: map[string]error{"hits": errors.New("no such service")}}
	asker := a.asker(4)
	queries := []Query{rps, hits, quota, depth}
	for api, want := range map[API]map[string]any{
		Custom:   {"rps": map[string]int64{"prod/Pod/app=web": 1500}, "hits": "no such service", "quota": int64(len("/Namespace/prod"))},
		External: {"depth": []int64{7, 2}},
	} {
		if diff := cmp.Diff(want, words(asker.Ask(t.Context(), api, queries))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", api, diff)
		}
	}
	if diff := cmp.Diff(map[string]int{"rps": 1, "hits": 1, "quota": 1, "depth": 1}, a.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// What hangs costs its own answer and no other, and the round ends in time.
func TestAskEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{asked: map[string]int{}, takes: map[string]time.Duration{"hits": time.Minute, "rps": time.Second}}
		begin := time.Now()
		got := a.asker(2).Ask(t.Context(), Custom, []Query{rps, hits})
		if took := time.Since(begin); took != deadline {
			t.Errorf("took %s, want %s", took, deadline)
		}
		want := map[string]any{
			"rps":  map[string]int64{"prod/Pod/app=web": 1500},
			"hits": "context deadline exceeded",
		}
		if diff := cmp.Diff(want, words(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		var unavailable *UnavailableError
		if !errors.As(got[hits].Err, &unavailable) || unavailable.Reason != TimedOut {
			t.Errorf("got %v, want an UnavailableError that timed out", got[hits].Err)
		}
		time.Sleep(time.Minute) // the late answer is not heard
		if got[hits].Err == nil {
			t.Error("an answer came after the round")
		}
	})
}

func TestAskBoundsItsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{asked: map[string]int{}, takes: map[string]time.Duration{}}
		var queries []Query
		for _, metric := range []string{"a", "b", "c", "d", "e", "f"} {
			a.takes[metric] = time.Second
			queries = append(queries, Query{API: External, Namespace: "prod", Metric: metric})
		}
		begin := time.Now()
		a.asker(3).Ask(t.Context(), External, queries)
		if took := time.Since(begin); took != 2*time.Second || a.most != 3 {
			t.Errorf("took %s with %d calls at once, want 2s with 3", took, a.most)
		}
	})
}

func TestAskEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{asked: map[string]int{}, takes: map[string]time.Duration{"rps": time.Minute}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if got := a.asker(1).Ask(ctx, Custom, []Query{rps}); got[rps].Err == nil || time.Since(begin) != time.Second {
			t.Errorf("got %v after %s, want an error after 1s", got[rps], time.Since(begin))
		}
		time.Sleep(time.Minute)
	})
}

func TestAskRefusesBadSelectors(t *testing.T) {
	a := &api{asked: map[string]int{}}
	bad := Query{API: Custom, Namespace: "prod", Metric: "rps", Pods: "app=("}
	if got := a.asker(1).Ask(t.Context(), Custom, []Query{bad}); got[bad].Err == nil || len(a.asked) != 0 {
		t.Errorf("got %v after asking %v, want an error without a call", got[bad], a.asked)
	}
}

// The reason is the server's, not one that is read from its words.
func TestAskTellsWhy(t *testing.T) {
	for want, err := range map[Reason]error{
		NotServed: apierrors.NewNotFound(schema.GroupResource{Resource: "depth"}, "depth"),
		Forbidden: apierrors.NewForbidden(schema.GroupResource{Resource: "depth"}, "", nil),
		Failed:    errors.New("refused"),
	} {
		a := &api{asked: map[string]int{}, fails: map[string]error{"depth": err}}
		var unavailable *UnavailableError
		if got := a.asker(1).Ask(t.Context(), External, []Query{depth})[depth].Err; !errors.As(got, &unavailable) || unavailable.Reason != want {
			t.Errorf("%v: got %v, want %s", err, got, want)
		}
	}
}

// many are external queries in their order; answers to them take so long.
func many(n int, takes time.Duration) (*api, []Query) {
	a := &api{asked: map[string]int{}, takes: map[string]time.Duration{}}
	var queries []Query
	for i := range n {
		q := Query{API: External, Namespace: "prod", Metric: fmt.Sprintf("m%02d", i)}
		a.takes[q.Metric] = takes
		queries = append(queries, q)
	}
	return a, queries
}

// An API that answers within half of the deadline loses no answer: what there is no time for is not sent.
func TestAskSendsNoMoreThanCanBeAnswered(t *testing.T) {
	for name, tc := range map[string]struct {
		takes time.Duration
		sent  int
	}{
		"all in time":         {takes: deadline / 20, sent: 20},
		"some in time":        {takes: deadline/4 + 1, sent: 4},
		"as long as they may": {takes: deadline/2 - 1, sent: 4},
		"longer":              {takes: deadline - 1, sent: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, queries := many(20, tc.takes)
				got := a.asker(2).Ask(t.Context(), External, queries)
				if len(got) != tc.sent || len(a.asked) != tc.sent {
					t.Errorf("%d answers to %d queries that were sent, want %d", len(got), len(a.asked), tc.sent)
				}
				for _, q := range queries[:tc.sent] {
					if answer, answered := got[q]; !answered || answer.Err != nil {
						t.Errorf("%s: answered %v with %v, want those that come first in order", q.Metric, answered, answer.Err)
					}
				}
			})
		})
	}
}

// Where nobody answers, those that were not asked tell of it, too.
func TestAskTellsOfAStuckAPI(t *testing.T) {
	for name, tc := range map[string]struct {
		takes time.Duration // of the first query; the others hang
		fails error
		want  map[Reason]int
	}{
		"nobody answers":     {takes: time.Hour, want: map[Reason]int{TimedOut: 2, NotAsked: 4}},
		"timeouts only":      {fails: apierrors.NewTimeoutError("of the adapter", 1), want: map[Reason]int{TimedOut: 3, NotAsked: 3}},
		"one answers":        {want: map[Reason]int{"": 1, TimedOut: 2}},
		"an error, no value": {fails: errors.New("broken"), want: map[Reason]int{Failed: 1, TimedOut: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, queries := many(6, time.Hour)
				a.takes["m00"], a.fails = tc.takes, map[string]error{"m00": tc.fails}
				got := map[Reason]int{}
				for _, answer := range a.asker(2).Ask(t.Context(), External, queries) {
					var unavailable *UnavailableError
					if errors.As(answer.Err, &unavailable) {
						got[unavailable.Reason]++
					} else {
						got[""]++
					}
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("reasons (-want +got):\n%s", diff)
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}
