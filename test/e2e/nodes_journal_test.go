// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// groupLabel is on each node that the autoscaler has asked for.
const groupLabel = "berth.dev/node-group"

// arrivals are the nodes that node groups have brought since somebody began to look, also those
// that are gone again.
type arrivals struct {
	mu     sync.Mutex
	nodes  map[types.UID]*arrival
	broken error
}

type arrival struct {
	name, zone  string
	came, ready time.Time // as the watch told; ready is zero before
}

// watchArrivals begins before anybody needs a node, and ends with the test: it is for a Setup.
func (s scene) watchArrivals(ctx context.Context, t *testing.T, selector string) *arrivals {
	t.Helper()
	a := &arrivals{nodes: map[types.UID]*arrival{}}
	nodes := s.Kube.CoreV1().Nodes()
	follow(ctx, t, func(err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.broken = err
	}, metav1.ListOptions{LabelSelector: selector}, nodes.List, nodes.Watch, a.hear)
	return a
}

func (a *arrivals) hear(node *corev1.Node, gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.nodes[node.UID]
	if seen == nil {
		seen = &arrival{name: node.Name, zone: node.Labels[corev1.LabelTopologyZone], came: time.Now()}
		a.nodes[node.UID] = seen
	}
	for _, c := range node.Status.Conditions {
		if !gone && seen.ready.IsZero() && c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			seen.ready = time.Now()
		}
	}
}

// since are the nodes that came after a moment, by the time at which they came.
func (a *arrivals) since(begin time.Time) ([]arrival, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var came []arrival
	for _, n := range a.nodes {
		if n.came.After(begin) {
			came = append(came, *n)
		}
	}
	slices.SortFunc(came, func(a, b arrival) int { return a.came.Compare(b.came) })
	return came, a.broken
}

// perZone counts nodes by their zone, in words.
func perZone(nodes []arrival) string {
	count := map[string]int{}
	for _, n := range nodes {
		count[n.zone]++
	}
	words := ""
	for _, zone := range slices.Sorted(maps.Keys(count)) {
		words += fmt.Sprintf("%s %d ", zone, count[zone])
	}
	return words
}

// atOnce demands that the nodes came before any of them was ready: then all pods wait for one node boot, and not for one each.
func atOnce(nodes []arrival) error {
	var errs []error
	first := time.Time{}
	for _, n := range nodes {
		if !n.ready.IsZero() && (first.IsZero() || n.ready.Before(first)) {
			first = n.ready
		}
	}
	for _, n := range nodes {
		if !first.IsZero() && n.came.After(first) {
			errs = append(errs, fmt.Errorf("node %s of %s was asked for %s after the first one was ready", n.name, n.zone, n.came.Sub(first).Round(time.Millisecond)))
		}
	}
	return errors.Join(errs...)
}
