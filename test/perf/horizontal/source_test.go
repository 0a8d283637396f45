// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"
)

func TestSource(t *testing.T) {
	objects := &scene{hpas: perNamespace + 1, pods: 2}
	s := newSource(objects.measured())
	server := httptest.NewServer(s.handler())
	defer server.Close()
	for name, tc := range map[string]struct {
		accepts, namespace, selector string
		want                         []string
	}{
		"one target, as kube-controller-manager": {runtime.ContentTypeProtobuf, "perf-0", "app=web-3", []string{"perf-0/web-3-0", "perf-0/web-3-1"}},
		"a namespace":                            {runtime.ContentTypeJSON, "perf-1", "", []string{"perf-1/web-10-0", "perf-1/web-10-1"}},
		"not its namespace":                      {runtime.ContentTypeJSON, "perf-1", "app=web-3", nil},
		"the whole cluster":                      {runtime.ContentTypeJSON, "", "app in (web-9,web-10)", []string{"perf-0/web-9-0", "perf-0/web-9-1", "perf-1/web-10-0", "perf-1/web-10-1"}},
		"and all in binary":                      {runtime.ContentTypeProtobuf, "", "app in (web-9,web-10)", []string{"perf-0/web-9-0", "perf-0/web-9-1", "perf-1/web-10-0", "perf-1/web-10-1"}},
		"nobody of the name":                     {runtime.ContentTypeProtobuf, "perf-0", "app=db", nil},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := metricsclient.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{AcceptContentTypes: tc.accepts}})
			if err != nil {
				t.Fatal(err)
			}
			for i, usage := range []int64{calm, busy} {
				set := s.set(usage)
				list, err := client.MetricsV1beta1().PodMetricses(tc.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: tc.selector})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, pod := range list.Items {
					got = append(got, pod.Namespace+"/"+pod.Name)
					if cpu := pod.Containers[0].Usage.Cpu().MilliValue(); cpu != usage {
						t.Errorf("usage %d: pod %s uses %dm, want %dm", i, pod.Name, cpu, usage)
					}
					if pod.Timestamp.IsZero() || pod.Window.Duration != syncPeriod {
						t.Errorf("pod %s was measured for %s until %s", pod.Name, pod.Window.Duration, pod.Timestamp)
					}
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("pods (-want +got):\n%s", diff)
				}
				if requests, first := s.read(); requests != 1 || first.Before(set) {
					t.Errorf("read %d times, first %s after the usage was set; want once, later", requests, first.Sub(set))
				}
			}
		})
	}
}
