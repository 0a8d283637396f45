// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for name, tc := range map[string]struct {
		stat string
		want time.Duration
		ok   bool
	}{
		"user and system":       {"42 (etcd) S 1 42 42 0 -1 4194560 9 8 7 6 123 45 1 2 20 0 9 0 77", 1680 * time.Millisecond, true},
		"a name with all in it": {"42 (a) b (c) S 1 42 42 0 -1 4194560 9 8 7 6 100 0 1 2 20 0 9 0 77", time.Second, true},
		"cut off":               {"42 (etcd) S 1 42 42", 0, false},
		"no number":             {"42 (etcd) S 1 42 42 0 -1 4194560 9 8 7 6 x 45 1 2", 0, false},
		"nothing":               {"", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat(tc.stat)
			if got != tc.want || (err == nil) != tc.ok {
				t.Errorf("%s, %v; want %s, ok %t", got, err, tc.want, tc.ok)
			}
		})
	}
}

func TestCountRequests(t *testing.T) {
	const text = `# TYPE apiserver_request_total counter
apiserver_request_total{code="200",group="apps",resource="deployments",subresource="scale",verb="GET"} 7
apiserver_request_total{code="200",group="apps",resource="deployments",subresource="scale",verb="PUT"} 5
apiserver_request_total{code="409",group="autoscaling",resource="horizontalpodautoscalers",subresource="status",verb="PUT"} 2
apiserver_request_total{code="201",group="",resource="events",subresource="",verb="POST"} 1
apiserver_request_total{code="0",group="apps",resource="deployments",subresource="",verb="WATCH"} 100
apiserver_request_total{code="200",group="coordination.k8s.io",resource="leases",subresource="",verb="PUT"} 1000
# TYPE apiserver_request_post_timeout_total counter
apiserver_request_post_timeout_total{resource="deployments"} 10000
`
	if got, err := countRequests(text); got != 15 || err != nil {
		t.Errorf("%d requests, %v; want 15", got, err)
	}
}

func TestUntilPhase(t *testing.T) {
	for name, tc := range map[string]struct{ since, phase, want time.Duration }{
		"later in this period": {2 * time.Second, 7 * time.Second, 5 * time.Second},
		"in the next one":      {9 * time.Second, 7 * time.Second, 13 * time.Second},
		"periods ago":          {47 * time.Second, 7 * time.Second, 5 * time.Second},
		"now":                  {7 * time.Second, 7 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := untilPhase(tc.since, tc.phase); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}
