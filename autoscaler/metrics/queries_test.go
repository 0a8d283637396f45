// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/labels"
	podautoscaler "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

// api answers by the name of the metric, after a while. It does not hear of
// contexts, as the clients of these APIs do not.
type api struct {
	Values
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

func (a *api) GetRawMetric(metric, _ string, pods, _ labels.Selector) (podautoscaler.PodMetricsInfo, time.Time, error) {
	return podautoscaler.PodMetricsInfo{pods.String(): {Value: 1500}}, time.Time{}, a.serve(metric)
}

func (a *api) GetObjectMetric(metric, _ string, object *autoscalingv2.CrossVersionObjectReference, _ labels.Selector) (int64, time.Time, error) {
	return int64(len(object.Name)), time.Time{}, a.serve(metric)
}

func (a *api) GetExternalMetric(metric, _ string, selector labels.Selector) ([]int64, time.Time, error) {
	return []int64{int64(len(selector.String())), 2}, time.Time{}, a.serve(metric)
}

func set(queries ...Query) map[Query]struct{} {
	all := map[Query]struct{}{}
	for _, q := range queries {
		all[q] = struct{}{}
	}
	return all
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
	depth = Query{API: External, Namespace: "prod", Metric: "depth", Selector: "queue=a"}
)

func TestAskAnswersEachKind(t *testing.T) {
	a := &api{asked: map[string]int{}, fails: map[string]error{"hits": errors.New("no such service")}}
	asker := NewAsker(a, 4, deadline)
	queries := set(rps, hits, depth)
	for api, want := range map[API]map[string]any{
		Custom:   {"rps": map[string]int64{"app=web": 1500}, "hits": "no such service"},
		External: {"depth": []int64{7, 2}},
	} {
		if diff := cmp.Diff(want, words(asker.Ask(t.Context(), api, queries))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", api, diff)
		}
	}
	if diff := cmp.Diff(map[string]int{"rps": 1, "hits": 1, "depth": 1}, a.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// What hangs costs its own answer and no other, and the round ends in time.
func TestAskEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{asked: map[string]int{}, takes: map[string]time.Duration{"hits": time.Minute, "rps": time.Second}}
		begin := time.Now()
		got := NewAsker(a, 2, deadline).Ask(t.Context(), Custom, set(rps, hits))
		if took := time.Since(begin); took != deadline {
			t.Errorf("took %s, want %s", took, deadline)
		}
		want := map[string]any{
			"rps":  map[string]int64{"app=web": 1500},
			"hits": "unable to fetch metrics from custom metrics API: context deadline exceeded",
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
		NewAsker(a, 3, deadline).Ask(t.Context(), External, set(queries...))
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
		if got := NewAsker(a, 1, deadline).Ask(ctx, Custom, set(rps)); got[rps].Err == nil || time.Since(begin) != time.Second {
			t.Errorf("got %v after %s, want an error after 1s", got[rps], time.Since(begin))
		}
		time.Sleep(time.Minute)
	})
}

func TestAskRefusesBadSelectors(t *testing.T) {
	a := &api{asked: map[string]int{}}
	bad := Query{API: Custom, Namespace: "prod", Metric: "rps", Pods: "app=("}
	if got := NewAsker(a, 1, deadline).Ask(t.Context(), Custom, set(bad)); got[bad].Err == nil || len(a.asked) != 0 {
		t.Errorf("got %v after asking %v, want an error without a call", got[bad], a.asked)
	}
}
