// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	customv1beta2 "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	externalv1beta1 "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"

	"github.com/berth-dev/berth/autoscaler/metrics"
)

// server is an API server with an adapter behind it, as far as queries of metrics need one.
type server struct {
	mu    sync.Mutex
	asked map[string]int
	stuck chan struct{}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.URL.RequestURI()]++
	s.mu.Unlock()
	value := func(values ...string) customv1beta2.MetricValueList {
		list := customv1beta2.MetricValueList{TypeMeta: metav1.TypeMeta{APIVersion: "custom.metrics.k8s.io/v1beta2", Kind: "MetricValueList"}}
		for i, v := range values {
			object := corev1.ObjectReference{Name: "web-" + string(rune('0'+i))}
			list.Items = append(list.Items, customv1beta2.MetricValue{DescribedObject: object, Value: resource.MustParse(v)})
		}
		return list
	}
	const custom, external = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/prod/", "/apis/external.metrics.k8s.io/v1beta1/namespaces/prod/"
	var answer any
	switch r.URL.Path {
	case "/api":
		answer = metav1.APIVersions{Versions: []string{"v1"}}
	case "/apis":
		version := metav1.GroupVersionForDiscovery{GroupVersion: "custom.metrics.k8s.io/v1beta2", Version: "v1beta2"}
		answer = metav1.APIGroupList{Groups: []metav1.APIGroup{{Name: "custom.metrics.k8s.io", Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version}}}
	case "/api/v1":
		answer = metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "pods", Kind: "Pod", Namespaced: true}, {Name: "services", Kind: "Service", Namespaced: true}}}
	case "/apis/custom.metrics.k8s.io/v1beta2":
		answer = metav1.APIResourceList{GroupVersion: "custom.metrics.k8s.io/v1beta2", APIResources: []metav1.APIResource{{Name: "pods/rps", Kind: "MetricValueList", Namespaced: true}}}
	case custom + "pods/*/rps":
		answer = value("1500m", "2")
	case custom + "services/web/hits":
		answer = value("7")
	case custom + "metrics/quota":
		answer = value("9")
	case external + "depth":
		answer = externalv1beta1.ExternalMetricValueList{TypeMeta: metav1.TypeMeta{APIVersion: "external.metrics.k8s.io/v1beta1", Kind: "ExternalMetricValueList"},
			Items: []externalv1beta1.ExternalMetricValue{{Value: resource.MustParse("3")}}}
	case external + "stuck":
		<-s.stuck
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the client has gone: it does not wait for what is stuck
}

// ask asks a fresh server through the clients that the process makes.
func ask(t *testing.T, timeout time.Duration, queries ...metrics.Query) (*server, map[string]metrics.Answer) {
	t.Helper()
	s := &server{asked: map[string]int{}, stuck: make(chan struct{})}
	api := httptest.NewServer(s)
	t.Cleanup(func() {
		close(s.stuck)
		api.Close()
	})
	clients, err := newClients(&rest.Config{Host: api.URL, QPS: 50, Burst: 100}, timeout)
	if err != nil {
		t.Fatal(err)
	}
	// The asker's own deadline is far: what ends a call is its client.
	asker := metrics.NewAsker(clients.custom, clients.external, 1, time.Minute)
	answers := map[string]metrics.Answer{}
	for _, api := range []metrics.API{metrics.Custom, metrics.External} {
		for q, answer := range asker.Ask(t.Context(), api, queries) {
			answers[q.Metric] = answer
		}
	}
	return s, answers
}

// reason is why there is no answer, empty where there is one.
func reason(answer metrics.Answer) metrics.Reason {
	var unavailable *metrics.UnavailableError
	if !errors.As(answer.Err, &unavailable) {
		return ""
	}
	return unavailable.Reason
}

func TestMetricsAreAskedForWhereTheyAre(t *testing.T) {
	s, answers := ask(t, time.Minute,
		metrics.Query{API: metrics.Custom, Namespace: "prod", Metric: "rps", Pods: "app=web", Selector: "verb=GET"},
		metrics.Query{API: metrics.Custom, Namespace: "prod", Metric: "hits", Object: autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: "Service", Name: "web"}},
		metrics.Query{API: metrics.Custom, Namespace: "prod", Metric: "quota", Object: autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "other"}},
		metrics.Query{API: metrics.External, Namespace: "prod", Metric: "depth", Selector: "queue=a"},
		metrics.Query{API: metrics.External, Namespace: "prod", Metric: "gone"},
	)
	if got := reason(answers["gone"]); got != metrics.NotServed {
		t.Errorf("a metric that nobody serves: %q, want NotServed", got)
	}
	delete(answers, "gone")
	want := map[string]metrics.Answer{
		"rps":   {Pods: map[string]int64{"web-0": 1500, "web-1": 2000}},
		"hits":  {Object: 7000},
		"quota": {Object: 9000},
		"depth": {Series: []int64{3000}},
	}
	if diff := cmp.Diff(want, answers); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	for _, uri := range []string{
		"/apis/custom.metrics.k8s.io/v1beta2/namespaces/prod/pods/%2A/rps?labelSelector=app%3Dweb&metricLabelSelector=verb%3DGET&timeout=1m0s",
		"/apis/external.metrics.k8s.io/v1beta1/namespaces/prod/depth?labelSelector=queue%3Da&timeout=1m0s",
		"/apis",
	} {
		if s.asked[uri] != 1 {
			t.Errorf("%s: %d requests, want 1; asked %v", uri, s.asked[uri], s.asked)
		}
	}
}

func TestACallForMetricsEndsAfterTheTimeout(t *testing.T) {
	_, answers := ask(t, 50*time.Millisecond, metrics.Query{API: metrics.External, Namespace: "prod", Metric: "stuck"})
	if got := reason(answers["stuck"]); got != metrics.TimedOut {
		t.Errorf("got %q (%v), want TimedOut", got, answers["stuck"].Err)
	}
}

// What one tenant writes into a VPA keeps nobody from reading the others.
func TestVPAsAreReadWhateverOneSays(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		const policy = `{"containerName":"*","minAllowed":{"cpu":"1e-2147483647","memory":"1Gi"}}`
		_, _ = w.Write([]byte(`{"kind":"VerticalPodAutoscalerList","apiVersion":"autoscaling.k8s.io/v1","items":[{"spec":{"resourcePolicy":{"containerPolicies":[` + policy + `]}}}]}`))
	}))
	defer api.Close()
	clients, err := newClients(&rest.Config{Host: api.URL, QPS: 50, Burst: 100}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	list, err := clients.vpa.AutoscalingV1().VerticalPodAutoscalers("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	least := list.Items[0].Spec.ResourcePolicy.ContainerPolicies[0].MinAllowed
	if _, has := least[corev1.ResourceCPU]; has || least.Memory().String() != "1Gi" {
		t.Errorf("at least %v, want memory alone", least)
	}
}
