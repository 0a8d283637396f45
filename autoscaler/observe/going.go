// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// going knows the nodes that are marked to go. Handlers of nodes and of pods, each with a goroutine of its own, share it.
type going struct {
	marked func(*corev1.Node) bool

	mu    sync.Mutex
	names map[string]bool
}

// see takes a node as it is now, and tells whether its mark has changed.
func (g *going) see(node *corev1.Node) (changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	marked := g.marked(node)
	if g.names[node.Name] == marked {
		return false
	}
	if marked {
		g.names[node.Name] = true
	} else {
		delete(g.names, node.Name)
	}
	return true
}

func (g *going) forget(node string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.names, node)
}

func (g *going) has(node string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.names[node]
}

func (g *going) any() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.names) > 0
}

// readied tells that a pod has become ready.
func readied(was, is *corev1.Pod) bool {
	_, before := conditionsOf(was)[corev1.PodReady]
	_, now := conditionsOf(is)[corev1.PodReady]
	return now && !before
}
