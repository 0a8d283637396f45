// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/test/fixture"
)

// losses is what preemption took from sets, as the API server told it, pod by
// pod. All their pods are of one core.
type losses struct {
	nodes []*corev1.Node
	needs map[string]int // slots that stay, by set

	mu     sync.Mutex
	pods   map[types.UID]*corev1.Pod
	taken  map[string]int // pods that preemption took, by workload
	broken []error
}

// watchLosses begins before there are pods, and ends with the test.
func (s scene) watchLosses(ctx context.Context, t *testing.T, nodes []*corev1.Node, sets []guardedSet) *losses {
	t.Helper()
	l := &losses{nodes: nodes, needs: map[string]int{}, pods: map[types.UID]*corev1.Pod{}, taken: map[string]int{}}
	for _, set := range sets {
		l.needs[set.Name] = set.needs
	}
	pods := s.Kube.CoreV1().Pods(s.Namespace)
	follow(ctx, t, l.breaks, metav1.ListOptions{}, pods.List, pods.Watch, l.hear)
	return l
}

func (l *losses) breaks(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = append(l.broken, err)
}

func (l *losses) hear(pod *corev1.Pod, gone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, app := l.pods[pod.UID], pod.Labels[fixture.AppLabel]
	if l.pods[pod.UID] = pod; gone {
		delete(l.pods, pod.UID)
	}
	if before == nil || !available(before) || (!gone && available(pod)) || !preempted(pod) {
		return
	}
	l.taken[app]++
	if left := l.available(app); left < l.needs[app] {
		l.broken = append(l.broken, fmt.Errorf("preemption of %s left %d of set %s, which needs %d", pod.Name, left, app, l.needs[app]))
	}
}

// available is what a quorum and a budget count.
func available(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && statefulset.PodReady(pod)
}

func preempted(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Reason == corev1.PodReasonPreemptionByScheduler
	})
}

func (l *losses) available(app string) (n int) {
	for _, pod := range l.pods {
		if pod.Labels[fixture.AppLabel] == app && available(pod) {
			n++
		}
	}
	return n
}

// all looks whether so many pods run, and no others are there.
func (l *losses) all(want int) fixture.Look {
	return func(context.Context) (string, bool, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		running := 0
		for _, pod := range l.pods {
			if available(pod) {
				running++
			}
		}
		return fmt.Sprintf("%d of %d run", running, len(l.pods)), running == want && len(l.pods) == want, errors.Join(l.broken...)
	}
}

// served looks whether everybody who waits and is important would be no better
// off by any preemption that is allowed.
func (l *losses) served(context.Context) (string, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, pod := range l.pods {
		if pod.Spec.NodeName != "" && !available(pod) {
			return pod.Name + " comes or goes", false, errors.Join(l.broken...)
		}
	}
	for _, pod := range l.pods {
		if pod.Spec.NodeName != "" || pod.Labels[fixture.AppLabel] != "urgent" {
			continue
		}
		for _, node := range l.nodes {
			if size, room := cores(pod), l.room(node); size <= room {
				return fmt.Sprintf("%s of %d cores waits, and node %s has %d for it", pod.Name, size, node.Name, room), false, errors.Join(l.broken...)
			}
		}
	}
	return "", true, errors.Join(l.broken...)
}

// room is how many cores of a node are free, or may be.
func (l *losses) room(node *corev1.Node) int {
	room := int(node.Status.Allocatable.Cpu().Value())
	slots := map[string]int{}
	for _, pod := range l.pods {
		if pod.Spec.NodeName != node.Name {
			continue
		}
		switch app := pod.Labels[fixture.AppLabel]; {
		case app == "urgent":
			room -= cores(pod)
		case l.needs[app] != 0: // a slot
			room -= cores(pod)
			slots[app]++
		}
	}
	for app, here := range slots {
		room += min(here, max(0, l.available(app)-l.needs[app]))
	}
	return room
}

func cores(pod *corev1.Pod) int {
	return int(pod.Spec.Containers[0].Resources.Requests.Cpu().Value())
}

// String counts what was taken.
func (l *losses) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("preemption took %v by now", l.taken)
}

// judge demands that nothing was broken, and that something could have been.
func (l *losses) judge(t *testing.T, waited int) {
	t.Helper()
	t.Logf("acceptance: %d storms: %s; %d preemptors waited for the sake of sets", storms, l, waited)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(l.broken...); err != nil {
		t.Error(err)
	}
	for app := range l.needs {
		if l.taken[app] == 0 {
			t.Errorf("nothing was taken from set %s: this proves little", app)
		}
	}
	if l.taken["web"] == 0 || waited == 0 {
		t.Errorf("%d pods were taken that anybody may take, and %d preemptors had to wait: this proves little", l.taken["web"], waited)
	}
}
