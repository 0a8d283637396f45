// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/test/fixture"
)

// register is where the slots of a set and their rivals are and were, and when,
// as a watch tells it: what nobody looked at is in it too.
type register struct {
	set, rival string

	mu      sync.Mutex
	homes   map[string]string    // by slot, the node of its newest pod that had one
	left    map[string]int       // by slot, how often it left its node
	away    map[string]time.Time // by slot without a pod that stays, since when
	moved   []string             // slots that came to another node
	returns []time.Duration      // from deletion to bound, of each return
	placed  map[string]string    // by rival that has one, its node
	heard   int                  // changes of the set's pods
	ear     chan struct{}        // is closed when so many were heard
	earAt   int
	broken  error
}

// watchTheft begins a register, which ends with the test. There are no pods yet.
func (s scene) watchTheft(ctx context.Context, t *testing.T, set, rival fixture.Workload) *register {
	t.Helper()
	r := &register{
		set: set.Name, rival: rival.Name,
		homes: map[string]string{}, left: map[string]int{}, away: map[string]time.Time{}, placed: map[string]string{},
	}
	pods := s.Kube.CoreV1().Pods(s.Namespace)
	follow(ctx, t, func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.breaks(err)
	}, metav1.ListOptions{}, pods.List, pods.Watch, r.hear)
	return r
}

func (r *register) hear(pod *corev1.Pod, gone bool) {
	at := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch pod.Labels[fixture.AppLabel] {
	case r.rival:
		if pod.Spec.NodeName != "" {
			r.placed[pod.Name] = pod.Spec.NodeName
		}
	case r.set:
		if pod.Spec.NodeName != "" {
			r.enter(pod.Name, pod.Spec.NodeName, gone || pod.DeletionTimestamp != nil, at)
		}
		r.heard++
		r.wake()
	}
}

// enter notes that a slot has a pod on a node, which leaves it or not.
func (r *register) enter(slot, node string, leaves bool, at time.Time) {
	since, away := r.away[slot]
	switch {
	case leaves && !away:
		r.away[slot] = at
		r.left[slot]++
	case away && !leaves:
		r.returns = append(r.returns, at.Sub(since))
		delete(r.away, slot)
	}
	if home := r.homes[slot]; home != "" && home != node {
		r.moved = append(r.moved, fmt.Sprintf("%s from %s to %s", slot, home, node))
	}
	r.homes[slot] = node
}

func (r *register) breaks(why error) {
	r.broken = errors.Join(r.broken, why)
	r.wake()
}

// wake tells who waits for changes, if so many were heard, or none will be.
func (r *register) wake() {
	if r.ear != nil && (r.heard >= r.earAt || r.broken != nil) {
		close(r.ear)
		r.ear = nil
	}
}

// hears returns what is closed when so many more changes of the set's pods were
// heard. One at a time may wait for that.
func (r *register) hears(changes int) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	ear := make(chan struct{})
	r.ear, r.earAt = ear, r.heard+changes
	r.wake()
	return ear
}

// departures are how often each slot with a pod that stays left its node before.
func (r *register) departures() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	departures := map[string]int{}
	for slot := range r.homes {
		if _, away := r.away[slot]; !away {
			departures[slot] = r.left[slot]
		}
	}
	return departures
}

// departedSince looks whether all these slots have left their nodes again.
func (r *register) departedSince(before map[string]int) (string, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stay := maps.Clone(before)
	maps.DeleteFunc(stay, func(slot string, times int) bool { return r.left[slot] > times })
	return fmt.Sprintf("%d have not left", len(stay)), len(stay) == 0, r.broken
}

// theftState is a register at one time.
type theftState struct {
	// away are slots without a pod that stays, stolen those with rivals on their
	// node, and placed the rivals that have a node.
	away, stolen, placed int
	lost                 int // away and stolen
	moved                []string
	returns              []time.Duration
}

func (r *register) state() (theftState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := theftState{away: len(r.away), placed: len(r.placed), moved: slices.Clone(r.moved), returns: slices.Clone(r.returns)}
	robbed := map[string]bool{}
	for _, node := range r.placed {
		robbed[node] = true
	}
	for slot, home := range r.homes {
		if !robbed[home] {
			continue
		}
		s.stolen++
		if _, away := r.away[slot]; away {
			s.lost++
		}
	}
	return s, r.broken
}

// stuck tells that those who are away have no room left.
func (s theftState) stuck() bool { return s.away > 0 && s.lost == s.away }

func (s theftState) String() string {
	return fmt.Sprintf("%d slots away, %d stolen, %d rivals placed", s.away, s.stolen, s.placed)
}

// outcome is what came of a restart.
type outcome struct {
	scheduler, restart string
	took               time.Duration
	theftState
}

type outcomes []outcome

// String is a table for people.
func (all outcomes) String() string {
	var out bytes.Buffer
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "SCHEDULER\tRESTART\tTOOK\tRETURNS\tDELETE TO BOUND: MEDIAN\tMAX\tSLOTS STOLEN\tPENDING\tRIVALS PLACED")
	for _, o := range all {
		median, longest := "-", "-"
		if times := slices.Sorted(slices.Values(o.returns)); len(times) > 0 {
			median, longest = fmt.Sprint(times[len(times)/2].Round(time.Millisecond)), fmt.Sprint(times[len(times)-1].Round(time.Millisecond))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%d\t%d\t%d\n", o.scheduler, o.restart, o.took.Round(100*time.Millisecond),
			len(o.returns), median, longest, o.stolen, o.away, o.placed)
	}
	_ = table.Flush() // a buffer takes everything
	return out.String()
}
