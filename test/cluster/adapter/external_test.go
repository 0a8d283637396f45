// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/metrics/pkg/apis/external_metrics"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// series is a ConfigMap that says how long the queue of a broker is.
func series(namespace, broker, queue string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: broker, Labels: map[string]string{layout.LabelExternalMetrics: "", "broker": broker}},
		Data:       map[string]string{"queue": queue},
	}
}

func TestExternal(t *testing.T) {
	plain := series("ns", "plain", "99")
	delete(plain.Labels, layout.LabelExternalMetrics)
	for name, tc := range map[string]struct {
		namespace, metric, selector string
		want                        map[string]string
		err                         string
	}{
		"all series of a namespace": {namespace: "ns", metric: "queue", want: map[string]string{"east": "3", "west": "250m"}},
		"those that match":          {namespace: "ns", metric: "queue", selector: "broker=west", want: map[string]string{"west": "250m"}},
		"none matches":              {namespace: "ns", metric: "queue", selector: "broker=north", want: map[string]string{}},
		"the mark is not a label":   {namespace: "ns", metric: "queue", selector: layout.LabelExternalMetrics, want: map[string]string{}},
		"another metric":            {namespace: "ns", metric: "other", want: map[string]string{}},
		"another namespace":         {namespace: "else", metric: "queue", want: map[string]string{"far": "5"}},
		"a value that is none":      {namespace: "bad", metric: "queue", err: `queue of ConfigMap typo is "many"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &external{kube: fake.NewClientset(plain, series("ns", "east", "3"), series("ns", "west", "250m"), series("else", "far", "5"), series("bad", "typo", "many"))}
				got, err := e.GetExternalMetric(t.Context(), tc.namespace, mustParse(t, tc.selector), provider.ExternalMetricInfo{Metric: tc.metric})
				if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got %v, want %q", err, tc.err)
				}
				if err != nil {
					return
				}
				want := &external_metrics.ExternalMetricValueList{}
				for _, broker := range []string{"east", "far", "west"} {
					if value, ok := tc.want[broker]; ok {
						want.Items = append(want.Items, external_metrics.ExternalMetricValue{
							MetricName: tc.metric, MetricLabels: map[string]string{"broker": broker}, Timestamp: metav1.Now(), Value: resource.MustParse(value),
						})
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("series (-want +got):\n%s", diff)
				}
			})
		})
	}
}
