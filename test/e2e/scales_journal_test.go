// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// scales is every number of replicas that the Deployments of a namespace were
// asked to have, and when the test heard of it. What looks now and then misses
// a number that did not last.
type scales struct {
	mu     sync.Mutex
	of     map[string][]asked
	broken error
}

type asked struct {
	replicas int32
	at       time.Time
}

// watchScales begins a journal, which ends with the test.
func (s scene) watchScales(ctx context.Context, t *testing.T) *scales {
	t.Helper()
	j := &scales{of: map[string][]asked{}}
	deployments := s.Kube.AppsV1().Deployments(s.Namespace)
	follow(ctx, t, j.ended, metav1.ListOptions{}, deployments.List, deployments.Watch, j.hear)
	return j
}

func (j *scales) hear(d *appsv1.Deployment, _ bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	all, replicas := j.of[d.Name], *d.Spec.Replicas
	if len(all) == 0 || all[len(all)-1].replicas != replicas {
		j.of[d.Name] = append(all, asked{replicas, time.Now()})
	}
}

func (j *scales) ended(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = err
}

// numbers are those of every Deployment, in their order.
func (j *scales) numbers() (map[string][]int32, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	numbers := map[string][]int32{}
	for name, all := range j.of {
		for _, one := range all {
			numbers[name] = append(numbers[name], one.replicas)
		}
	}
	return numbers, j.broken
}

// awaitScales waits until these are all numbers until now. The journal may hear of one a moment late.
func (s scene) awaitScales(ctx context.Context, t *testing.T, j *scales, want map[string][]int32) {
	t.Helper()
	s.until(ctx, t, "the replicas that are asked for", func(context.Context) (string, bool, error) {
		got, err := j.numbers()
		diff := cmp.Diff(want, got)
		return "(-want +got):\n" + diff, diff == "", err
	})
}

// last is the last number of a Deployment.
func (j *scales) last(name string) asked {
	j.mu.Lock()
	defer j.mu.Unlock()
	if all := j.of[name]; len(all) > 0 {
		return all[len(all)-1]
	}
	return asked{}
}

// since tells the numbers with the time from a moment to each of them.
func (j *scales) since(moment time.Time) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(j.of)) {
		line := name + ":"
		for _, one := range j.of[name] {
			line += fmt.Sprintf(" %d@%s", one.replicas, one.at.Sub(moment).Round(100*time.Millisecond))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
