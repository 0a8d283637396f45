// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"

	"github.com/berth-dev/berth/plugins/statefulset"
)

// moments is when the test first heard that something happened: "rival bound",
// "db-1 gone". The API server notes whole seconds, and watches tell at once.
type moments struct {
	mu     sync.Mutex
	at     map[string]time.Time
	broken error
}

// listen hears what happens to pods and sets of the namespace, and to the nodes
// of a ground, until the test ends.
func (s scene) listen(ctx context.Context, t *testing.T, g ground) *moments {
	t.Helper()
	m := &moments{at: map[string]time.Time{}}
	pods, sets, nodes := s.Kube.CoreV1().Pods(s.Namespace), s.Kube.AppsV1().StatefulSets(s.Namespace), s.Kube.CoreV1().Nodes()
	follow(ctx, t, m.ended, metav1.ListOptions{}, pods.List, pods.Watch, func(pod *corev1.Pod, gone bool) {
		m.note(pod.Spec.NodeName != "", pod.Name+" bound")
		m.note(gone, pod.Name+" gone")
	})
	follow(ctx, t, m.ended, metav1.ListOptions{}, sets.List, sets.Watch, func(set *appsv1.StatefulSet, gone bool) {
		m.note(true, fmt.Sprintf("%s wants %d", set.Name, *set.Spec.Replicas))
		m.note(gone || set.DeletionTimestamp != nil, set.Name+" goes")
	})
	of := metav1.ListOptions{LabelSelector: forLabel + "=" + string(g)}
	follow(ctx, t, m.ended, of, nodes.List, nodes.Watch, func(node *corev1.Node, _ bool) {
		m.note(node.Spec.Unschedulable, node.Name+" cordoned")
		for _, taint := range node.Spec.Taints {
			m.note(taint.Key == statefulset.DrainTaint, node.Name+" marked")
		}
	})
	return m
}

func (m *moments) note(is bool, what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, heard := m.at[what]; is && !heard {
		m.at[what] = time.Now()
	}
}

func (m *moments) ended(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}

// when waits for something, and returns when it was heard.
func (m *moments) when(ctx context.Context, t *testing.T, s scene, what string) time.Time {
	t.Helper()
	var at time.Time
	s.until(ctx, t, what, func(context.Context) (string, bool, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		at = m.at[what]
		return "not heard", !at.IsZero(), m.broken
	})
	return at
}

// follow tells every change of some objects from now on, until the test ends.
// The API server may end a watch when it is busy: this one goes on where it was.
func follow[L metav1.ListInterface, T runtime.Object](ctx context.Context, t *testing.T, ended func(error), options metav1.ListOptions,
	list func(context.Context, metav1.ListOptions) (L, error), watches func(context.Context, metav1.ListOptions) (watch.Interface, error),
	hear func(object T, gone bool)) {
	t.Helper()
	now, err := list(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	all, err := toolswatch.NewRetryWatcherWithContext(ctx, now.GetResourceVersion(), &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, from metav1.ListOptions) (watch.Interface, error) {
			from.LabelSelector = options.LabelSelector
			return watches(ctx, from)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(all.Stop)
	go func() {
		for event := range all.ResultChan() {
			if object, ok := event.Object.(T); ok {
				hear(object, event.Type == watch.Deleted)
			}
		}
		ended(fmt.Errorf("the watch of %T has ended", now))
	}()
}
