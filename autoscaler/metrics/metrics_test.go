// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/clientset/versioned/fake"
)

const deadline = 10 * time.Second

var podMetrics = schema.GroupResource{Group: "metrics.k8s.io", Resource: "pods"}

func sampleOf(namespace, name string, at time.Time, usage v1.ResourceList) metricsv1beta1.PodMetrics {
	return metricsv1beta1.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Timestamp:  metav1.NewTime(at),
		Window:     metav1.Duration{Duration: 30 * time.Second},
		Containers: []metricsv1beta1.ContainerMetrics{{Name: "app", Usage: usage}},
	}
}

// client answers lists as the function says. The fake clientset alone keeps pod metrics under another resource's name.
func client(list func(clienttesting.ListAction) (*metricsv1beta1.PodMetricsList, error)) (*fake.Clientset, PodMetricsLister) {
	c := &fake.Clientset{}
	c.AddReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		answer, err := list(action.(clienttesting.ListAction))
		return true, answer, err
	})
	return c, c.MetricsV1beta1().PodMetricses("")
}

func TestReadIsOneListOfTheWholeCluster(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	usage := v1.ResourceList{v1.ResourceCPU: resource.MustParse("250m"), v1.ResourceMemory: resource.MustParse("1Gi")}
	c, lister := client(func(clienttesting.ListAction) (*metricsv1beta1.PodMetricsList, error) {
		return &metricsv1beta1.PodMetricsList{Items: []metricsv1beta1.PodMetrics{
			sampleOf("prod", "web-0", at, usage), sampleOf("prod", "web-1", at, nil), sampleOf("test", "web-0", at, usage),
		}}, nil
	})
	snapshot, err := NewReader(lister, deadline).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sample := func(usage v1.ResourceList) PodUsage {
		return PodUsage{Timestamp: at, Window: 30 * time.Second, Containers: []ContainerUsage{{Name: "app", Usage: usage}}}
	}
	want := map[string]map[string]PodUsage{
		"prod":  {"web-0": sample(usage), "web-1": sample(nil)},
		"test":  {"web-0": sample(usage)},
		"empty": nil,
	}
	for namespace, pods := range want {
		if diff := cmp.Diff(pods, snapshot.Namespace(namespace)); diff != "" {
			t.Errorf("namespace %s (-want +got):\n%s", namespace, diff)
		}
	}
	if _, found := snapshot.Pod("test", "web-1"); found {
		t.Error("test/web-1 has a sample that belongs to prod/web-1")
	}
	if got, found := snapshot.Pod("prod", "web-0"); !found || !cmp.Equal(got, sample(usage)) {
		t.Errorf("prod/web-0: got %v, %t", got, found)
	}
	if got := snapshot.Pods(); got != 3 {
		t.Errorf("pods: got %d, want 3", got)
	}
	actions := c.Actions()
	if len(actions) != 1 || actions[0].GetNamespace() != metav1.NamespaceAll {
		t.Errorf("want one list of all namespaces, got %v", actions)
	}
}

func TestReadFails(t *testing.T) {
	tests := map[string]struct {
		err  error
		want Reason
	}{
		"no metrics-server":  {apierrors.NewNotFound(podMetrics, ""), NotServed},
		"no right to list":   {apierrors.NewForbidden(podMetrics, "", errors.New("no")), Forbidden},
		"no identity":        {apierrors.NewUnauthorized("who"), Forbidden},
		"slow server":        {apierrors.NewTimeoutError("slow", 1), TimedOut},
		"overloaded server":  {apierrors.NewServerTimeout(podMetrics, "list", 1), TimedOut},
		"server down":        {apierrors.NewServiceUnavailable("down"), Failed},
		"connection refused": {errors.New("connect: connection refused"), Failed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, lister := client(func(clienttesting.ListAction) (*metricsv1beta1.PodMetricsList, error) {
				return &metricsv1beta1.PodMetricsList{}, tt.err
			})
			snapshot, err := NewReader(lister, deadline).Read(t.Context())
			var unavailable *UnavailableError
			if !errors.As(err, &unavailable) {
				t.Fatalf("got %v, want an UnavailableError", err)
			}
			if unavailable.Reason != tt.want || err.Error() != tt.err.Error() || !errors.Is(err, tt.err) {
				t.Errorf("got %s: %v, want %s: %v", unavailable.Reason, err, tt.want, tt.err)
			}
			if snapshot.Pods() != 0 {
				t.Errorf("a failed read has %d pods", snapshot.Pods())
			}
		})
	}
}

// stuck never answers before its context ends.
type stuck struct{}

func (stuck) List(ctx context.Context, _ metav1.ListOptions) (*metricsv1beta1.PodMetricsList, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestReadEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, err := NewReader(stuck{}, deadline).Read(t.Context())
		var unavailable *UnavailableError
		if !errors.As(err, &unavailable) || unavailable.Reason != TimedOut {
			t.Errorf("got %v, want it to be timed out", err)
		}
		if took := time.Since(begin); took != deadline {
			t.Errorf("took %s, want %s", took, deadline)
		}
	})
}

func TestReadEndsWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := NewReader(stuck{}, deadline).Read(ctx)
	var unavailable *UnavailableError
	if !errors.Is(err, context.Canceled) || errors.As(err, &unavailable) {
		t.Errorf("got %v, want the caller's cancellation and no word on the API", err)
	}
}

// A good read followed by a bad one: nothing of the first is left.
func TestReadForgets(t *testing.T) {
	answers := []error{nil, apierrors.NewServiceUnavailable("down")}
	_, lister := client(func(clienttesting.ListAction) (*metricsv1beta1.PodMetricsList, error) {
		err := answers[0]
		answers = answers[1:]
		return &metricsv1beta1.PodMetricsList{Items: []metricsv1beta1.PodMetrics{sampleOf("prod", "web-0", time.Time{}, nil)}}, err
	})
	reader := NewReader(lister, deadline)
	first, err := reader.Read(t.Context())
	if err != nil || first.Pods() != 1 {
		t.Fatalf("first read: %d pods, %v", first.Pods(), err)
	}
	second, err := reader.Read(t.Context())
	if err == nil || second.Pods() != 0 {
		t.Errorf("second read: %d pods, %v; want none and an error", second.Pods(), err)
	}
	if first.Pods() != 1 {
		t.Error("the first snapshot changed")
	}
}
