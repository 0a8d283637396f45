// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/clientset/versioned/scheme"

	"github.com/berth-dev/berth/test/fixture"
)

// metricsPath is where metrics.k8s.io is served.
const metricsPath = "/apis/metrics.k8s.io/v1beta1"

// source serves metrics.k8s.io where metrics-server has served it, behind the
// API server: encoded and compressed as there, with every pod's usage the same,
// and new from one moment to the next.
type source struct {
	pods   []metricsv1beta1.PodMetrics // without time and usage
	server *httptest.Server

	mu        sync.Mutex
	usage     int64     // thousandths of a core
	asked     int       // requests since the usage was set
	firstRead time.Time // the first of them, zero if there was none
}

func newSource(pods []metricsv1beta1.PodMetrics) *source {
	return &source{pods: pods}
}

// serve takes the place of metrics-server, which has ended.
func (s *source) serve(ctx context.Context, cluster *fixture.Cluster) error {
	service, err := cluster.Kube.CoreV1().Services("kube-system").Get(ctx, "metrics-server", metav1.GetOptions{})
	if err != nil {
		return err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(service.Spec.Ports[0].Port)))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("in the place of metrics-server: %w", err)
	}
	s.server = httptest.NewUnstartedServer(s.handler())
	s.server.Listener.Close() //nolint:errcheck // nobody knows of it
	s.server.Listener, s.server.EnableHTTP2 = listener, true
	s.server.StartTLS()
	return fixture.Until(ctx, "metrics", time.Minute, func(ctx context.Context) (string, bool, error) {
		_, err := cluster.Kube.Discovery().RESTClient().Get().AbsPath(metricsPath, "namespaces", "default", "pods").DoRaw(ctx)
		return "served", err == nil, err
	})
}

func (s *source) close() { s.server.Close() }

// set changes the usage of every pod, and returns when.
func (s *source) set(usage int64) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.usage, s.asked, s.firstRead = usage, 0, time.Time{}
	return time.Now()
}

// read tells how often pods were asked for since the usage was set, and when for the first time.
func (s *source) read() (requests int, first time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked, s.firstRead
}

func (s *source) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+metricsPath, func(w http.ResponseWriter, req *http.Request) {
		responsewriters.WriteRawJSON(http.StatusOK, metav1.APIResourceList{
			TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
			GroupVersion: metricsv1beta1.SchemeGroupVersion.String(),
			APIResources: []metav1.APIResource{{Name: "pods", SingularName: "pod", Namespaced: true, Kind: "PodMetrics", Verbs: metav1.Verbs{"get", "list"}}},
		}, w)
	})
	mux.HandleFunc("GET "+metricsPath+"/pods", s.list)
	mux.HandleFunc("GET "+metricsPath+"/namespaces/{namespace}/pods", s.list)
	return mux
}

func (s *source) list(w http.ResponseWriter, req *http.Request) {
	selector, err := labels.Parse(req.URL.Query().Get("labelSelector"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	namespace, now := req.PathValue("namespace"), time.Now()
	s.mu.Lock()
	if s.asked++; s.asked == 1 {
		s.firstRead = now
	}
	usage := corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(s.usage, resource.DecimalSI), corev1.ResourceMemory: resource.MustParse("100Mi")}
	s.mu.Unlock()
	list := &metricsv1beta1.PodMetricsList{}
	for _, pod := range s.pods {
		if (namespace == "" || namespace == pod.Namespace) && selector.Matches(labels.Set(pod.Labels)) {
			pod.Timestamp, pod.Window = metav1.NewTime(now), metav1.Duration{Duration: syncPeriod}
			pod.Containers = []metricsv1beta1.ContainerMetrics{{Name: container, Usage: usage}}
			list.Items = append(list.Items, pod)
		}
	}
	responsewriters.WriteObjectNegotiated(scheme.Codecs.WithoutConversion(), negotiation.DefaultEndpointRestrictions,
		metricsv1beta1.SchemeGroupVersion, w, req, http.StatusOK, list, false)
}
