// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics reads the metrics APIs.
//
// It promises one request per tick of metrics.k8s.io for the whole cluster, whatever the number of autoscalers, one
// request per tick for each distinct query of custom.metrics.k8s.io and external.metrics.k8s.io, and no answer older
// than the tick: a failed read gives an error and nothing else, and the answer before is not served again, for a replica
// count computed from yesterday's load is worse than none.
//
// Which pods belong to an autoscaler is the caller's business: it has the pods, and asks by their names.
package metrics

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// PodMetricsLister lists the samples of all pods. A clientset's MetricsV1beta1().PodMetricses("") is one.
type PodMetricsLister interface {
	List(context.Context, metav1.ListOptions) (*metricsv1beta1.PodMetricsList, error)
}

// Reader reads Snapshots. It keeps nothing between reads.
type Reader struct {
	pods     PodMetricsLister
	deadline time.Duration
}

// NewReader returns a Reader whose reads take no longer than deadline.
func NewReader(pods PodMetricsLister, deadline time.Duration) *Reader {
	return &Reader{pods: pods, deadline: deadline}
}

// Read lists the usage of all pods of the cluster. The error is an *UnavailableError,
// or that of ctx when ctx has ended.
func (r *Reader) Read(ctx context.Context) (Snapshot, error) {
	bounded, cancel := context.WithTimeout(ctx, r.deadline)
	defer cancel()
	list, err := r.pods.List(bounded, metav1.ListOptions{})
	switch {
	case ctx.Err() != nil:
		return Snapshot{}, context.Cause(ctx)
	case err != nil:
		return Snapshot{}, &UnavailableError{Reason: reasonOf(bounded, err), Err: err}
	}
	return newSnapshot(list.Items), nil
}

// Snapshot is what the API said in one read. It does not change; what it returns is shared and only to be read.
// The zero value is empty.
type Snapshot struct {
	namespaces map[string]map[string]PodUsage
}

// PodUsage is one pod's sample.
type PodUsage struct {
	// Timestamp is the end of the Window over which usage was measured.
	Timestamp  time.Time
	Window     time.Duration
	Containers []ContainerUsage
}

// ContainerUsage is one container's share of a sample.
type ContainerUsage struct {
	Name  string
	Usage v1.ResourceList
}

// Namespace returns the samples of one namespace by pod name.
func (s Snapshot) Namespace(name string) map[string]PodUsage {
	return s.namespaces[name]
}

// Pod returns one pod's sample.
func (s Snapshot) Pod(namespace, name string) (PodUsage, bool) {
	usage, found := s.namespaces[namespace][name]
	return usage, found
}

// Pods is the number of pods that have a sample.
func (s Snapshot) Pods() int {
	sum := 0
	for _, pods := range s.namespaces {
		sum += len(pods)
	}
	return sum
}

func newSnapshot(items []metricsv1beta1.PodMetrics) Snapshot {
	s := Snapshot{namespaces: map[string]map[string]PodUsage{}}
	for _, item := range items {
		pods := s.namespaces[item.Namespace]
		if pods == nil {
			pods = map[string]PodUsage{}
			s.namespaces[item.Namespace] = pods
		}
		containers := make([]ContainerUsage, len(item.Containers))
		for i, c := range item.Containers {
			containers[i] = ContainerUsage{Name: c.Name, Usage: c.Usage}
		}
		pods[item.Name] = PodUsage{Timestamp: item.Timestamp.Time, Window: item.Window.Duration, Containers: containers}
	}
	return s
}
