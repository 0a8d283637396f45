// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata/fake"
	"k8s.io/metrics/pkg/apis/custom_metrics"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// newMapper knows the kinds of the tests, and workers after it was reset.
func newMapper(workers bool) *youngMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, meta.RESTScopeNamespace)
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, meta.RESTScopeRoot)
	if workers {
		mapper.Add(schema.GroupVersionKind{Group: "e2e.berth.dev", Version: "v1", Kind: "Worker"}, meta.RESTScopeNamespace)
	}
	return &youngMapper{mapper}
}

// youngMapper learns of a kind when it looks again.
type youngMapper struct{ meta.RESTMapper }

func (m *youngMapper) Reset() { m.RESTMapper = newMapper(true).RESTMapper }

// object is one of the kind, app=NAME, with the metric queue if it is given.
func object(kind schema.GroupVersionKind, namespace, name, queue string) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name, "all": "yes"}}}
	o.SetGroupVersionKind(kind)
	if queue != "" {
		o.Annotations = map[string]string{layout.AnnotationMetricPrefix + "queue": queue}
	}
	return o
}

func newCustom(t *testing.T) *custom {
	t.Helper()
	pod := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	scheme := fake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return &custom{mapper: newMapper(false), objects: fake.NewSimpleMetadataClient(scheme,
		object(pod, "ns", "a", "3"),
		object(pod, "ns", "b", "250m"),
		object(pod, "ns", "silent", ""),
		object(pod, "bad", "typo", "many"),
		object(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, "", "ns", "7"),
		object(schema.GroupVersionKind{Group: "e2e.berth.dev", Version: "v1", Kind: "Worker"}, "ns", "crew", "9"),
	)}
}

// line is what a value says, on one line.
func line(v custom_metrics.MetricValue) string {
	return fmt.Sprintf("%s %s %s/%s %s=%s at %s, %s", v.DescribedObject.APIVersion, v.DescribedObject.Kind, v.DescribedObject.Namespace, v.DescribedObject.Name,
		v.Metric.Name, v.Value.String(), v.Timestamp.UTC().Format(time.Kitchen), metav1.FormatLabelSelector(v.Metric.Selector))
}

func mustParse(t *testing.T, selector string) labels.Selector {
	t.Helper()
	parsed, err := labels.Parse(selector)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestOneObject(t *testing.T) {
	for name, tc := range map[string]struct {
		resource, name, metric, selector string
		want                             string
		notFound                         bool
	}{
		"a pod":                        {resource: "pods", name: "a", metric: "queue", want: "v1 Pod ns/a queue=3 at 12:00AM, <none>"},
		"a fraction":                   {resource: "pods", name: "b", metric: "queue", want: "v1 Pod ns/b queue=250m at 12:00AM, <none>"},
		"a series that matches":        {resource: "pods", name: "a", metric: "queue", selector: "app=a", want: "v1 Pod ns/a queue=3 at 12:00AM, app=a"},
		"one that does not":            {resource: "pods", name: "a", metric: "queue", selector: "app=b", notFound: true},
		"a kind that came later":       {resource: "workers.e2e.berth.dev", name: "crew", metric: "queue", want: "e2e.berth.dev/v1 Worker ns/crew queue=9 at 12:00AM, <none>"},
		"a kind that is not there":     {resource: "drones", name: "a", metric: "queue", notFound: true},
		"an object that is not there":  {resource: "pods", name: "c", metric: "queue", notFound: true},
		"an object without the metric": {resource: "pods", name: "silent", metric: "queue", notFound: true},
		"another metric":               {resource: "pods", name: "a", metric: "other", notFound: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := newCustom(t).GetMetricByName(t.Context(), types.NamespacedName{Namespace: "ns", Name: tc.name},
					provider.CustomMetricInfo{GroupResource: schema.ParseGroupResource(tc.resource), Metric: tc.metric, Namespaced: true}, mustParse(t, tc.selector))
				if apierrors.IsNotFound(err) != tc.notFound || err != nil && !tc.notFound {
					t.Fatalf("got %v, want not found: %t", err, tc.notFound)
				}
				if err == nil && line(*got) != tc.want {
					t.Errorf("got  %s\nwant %s", line(*got), tc.want)
				}
			})
		})
	}
}

func TestObjectsBySelector(t *testing.T) {
	for name, tc := range map[string]struct {
		namespace, matching, metric, selector string
		want                                  []string
		err                                   string
	}{
		"those that have it":      {namespace: "ns", matching: "all", metric: "queue", want: []string{"v1 Pod ns/a queue=3 at 12:00AM, <none>", "v1 Pod ns/b queue=250m at 12:00AM, <none>"}},
		"those that are selected": {namespace: "ns", matching: "app=b", metric: "queue", want: []string{"v1 Pod ns/b queue=250m at 12:00AM, <none>"}},
		"series that match":       {namespace: "ns", matching: "all", metric: "queue", selector: "app in (a)", want: []string{"v1 Pod ns/a queue=3 at 12:00AM, app in (a)"}},
		"nobody is asked":         {namespace: "ns", matching: "app=c", metric: "queue"},
		"nobody has it":           {namespace: "ns", matching: "all", metric: "other"},
		"a value that is none":    {namespace: "bad", matching: "all", metric: "queue", err: `annotation metrics.cluster.berth.dev/queue of Pod typo is "many"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				list, err := newCustom(t).GetMetricBySelector(t.Context(), tc.namespace, mustParse(t, tc.matching),
					provider.CustomMetricInfo{GroupResource: schema.ParseGroupResource("pods"), Metric: tc.metric, Namespaced: true}, mustParse(t, tc.selector))
				if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got %v, want %q", err, tc.err)
				}
				if err != nil {
					return
				}
				var got []string
				for _, value := range list.Items {
					got = append(got, line(value))
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("values (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestDelay: an answer takes its time, and no longer than somebody waits.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCustom(t)
		c.delay = time.Minute
		ask := func(ctx context.Context) (time.Duration, error) {
			begin := time.Now()
			_, err := c.GetMetricByName(ctx, types.NamespacedName{Namespace: "ns", Name: "a"},
				provider.CustomMetricInfo{GroupResource: schema.ParseGroupResource("pods"), Metric: "queue"}, labels.Everything())
			return time.Since(begin), err
		}
		if took, err := ask(t.Context()); took != time.Minute || err != nil {
			t.Errorf("answered after %s with %v, want a minute", took, err)
		}
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if took, err := ask(hasty); took != time.Second || err == nil {
			t.Errorf("answered after %s with %v, want an error after a second", took, err)
		}
	})
}
