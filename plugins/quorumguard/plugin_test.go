// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package quorumguard

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/scheduler/framework/preemption"
)

// store is the pods as they are now, and how often somebody was woken.
type store struct {
	Sets
	Waiters
	pods    map[string]*v1.Pod
	givenUp int
}

func (s *store) Pod(_, name string) *v1.Pod { return s.pods[name] }
func (s *store) GivenUp()                   { s.givenUp++ }

// urgent is a preemptor of which the executor says no more than its UID.
type urgent struct{ preemption.ExecutorPreemptor }

func (urgent) UID() types.UID        { return "urgent" }
func (urgent) GetName() string       { return "urgent" }
func (urgent) GetNamespace() string  { return "prod" }
func (urgent) SchedulerName() string { return "berth-scheduler" }
func (urgent) Type() string          { return "pod" }
func (urgent) Obj() runtime.Object   { return &v1.Pod{} }

func TestVictimsAreFollowed(t *testing.T) {
	bound := func(change func(*v1.Pod)) *v1.Pod {
		pod := podsOf("db-0")[0]
		pod.Spec.NodeName = "n1"
		change(pod)
		return pod
	}
	tests := map[string]struct {
		now      *v1.Pod
		err      error
		inFlight string
		woken    int
	}{
		"deleted, and not seen to terminate": {now: bound(func(*v1.Pod) {}), inFlight: "db-0 web"},
		"gone":                               {inFlight: "web"},
		"another pod by then":                {now: bound(func(pod *v1.Pod) { pod.UID = "new" }), inFlight: "web"},
		"seen to terminate":                  {now: bound(func(pod *v1.Pod) { pod.DeletionTimestamp = &metav1.Time{} }), inFlight: "web"},
		"deleted, and not seen to be bound":  {now: bound(func(pod *v1.Pod) { pod.Spec.NodeName = "" }), inFlight: "db-0 web"},
		"refused: the others stay too":       {now: bound(func(*v1.Pod) {}), err: errors.New("tired"), woken: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			known := &store{pods: map[string]*v1.Pod{"db-0": tt.now}}
			pl := &QuorumGuard{shared: Shared{Sets: known, Waiters: known, Flights: NewFlights()}}
			executor := &preemption.Executor{PreemptPod: func(context.Context, preemption.Candidate, preemption.ExecutorPreemptor, *v1.Pod, string) error {
				return tt.err
			}}
			pl.follow(executor)
			for _, victim := range podsOf("db-0", "web") {
				pl.shared.Flights.chosen("urgent", victim.UID)
			}
			if err := executor.PreemptPod(t.Context(), nil, urgent{}, podsOf("db-0")[0], Name); !errors.Is(err, tt.err) {
				t.Errorf("error %v, want upstream's %v", err, tt.err)
			}
			var got []string
			for _, uid := range []types.UID{"db-0", "web"} {
				if pl.shared.Flights.Has(uid) {
					got = append(got, string(uid))
				}
			}
			if diff := cmp.Diff(tt.inFlight, strings.Join(got, " ")); diff != "" {
				t.Errorf("in flight (-want +got):\n%s", diff)
			}
			if known.givenUp != tt.woken {
				t.Errorf("woken %d times, want %d", known.givenUp, tt.woken)
			}
		})
	}
}

// Upstream deletes victims in parallel, and cancels what the others do when one
// fails. What the API server is asked for by then may happen: it counts until
// the answer comes, and nobody is asked for any more.
func TestAFailureBesideADeletion(t *testing.T) {
	for name, tt := range map[string]struct {
		answer   error
		inFlight string
	}{
		"the other one is deleted": {inFlight: "db-1"},
		"the other one fails too":  {answer: errors.New("tired, too")},
	} {
		t.Run(name, func(t *testing.T) {
			victims := podsOf("db-0", "db-1", "db-2")
			known := &store{pods: map[string]*v1.Pod{}}
			for _, victim := range victims {
				victim.Spec.NodeName = "n1"
				known.pods[victim.Name] = victim
			}
			pl := &QuorumGuard{shared: Shared{Sets: known, Waiters: known, Flights: NewFlights()}}
			arrived, answer, tired := make(chan struct{}), make(chan error), errors.New("tired")
			executor := &preemption.Executor{PreemptPod: func(ctx context.Context, _ preemption.Candidate, _ preemption.ExecutorPreemptor, victim *v1.Pod, _ string) error {
				if victim.Name != "db-1" {
					return tired
				}
				close(arrived)
				err := <-answer
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return err
			}}
			pl.follow(executor)
			ctx, cancel := context.WithCancel(t.Context())
			preempt := func(victim *v1.Pod) error { return executor.PreemptPod(ctx, nil, urgent{}, victim, Name) }
			inFlight := func() (names []string) {
				for _, victim := range victims {
					if pl.shared.Flights.Has(victim.UID) {
						names = append(names, victim.Name)
					}
				}
				return names
			}
			for _, victim := range victims {
				pl.shared.Flights.chosen("urgent", victim.UID)
			}

			second := make(chan error)
			go func() { second <- preempt(victims[1]) }()
			<-arrived
			if err := preempt(victims[0]); !errors.Is(err, tired) {
				t.Errorf("the first one: error %v, want upstream's %v", err, tired)
			}
			cancel()
			if err := preempt(victims[2]); !errors.Is(err, context.Canceled) {
				t.Errorf("the third one: error %v, want %v", err, context.Canceled)
			}
			if diff := cmp.Diff("db-1", strings.Join(inFlight(), " ")); diff != "" {
				t.Errorf("in flight before the answer (-want +got):\n%s", diff)
			}
			answer <- tt.answer
			if err := <-second; !errors.Is(err, tt.answer) {
				t.Errorf("the second one: error %v, want %v", err, tt.answer)
			}
			if diff := cmp.Diff(tt.inFlight, strings.Join(inFlight(), " ")); diff != "" {
				t.Errorf("in flight after the answer (-want +got):\n%s", diff)
			}
		})
	}
}

// The args are those of DefaultPreemption, with its defaults.
func TestArgs(t *testing.T) {
	tests := map[string]struct {
		args                 string
		percentage, absolute int32
		err                  string
	}{
		"none":          {args: `{}`, percentage: 10, absolute: 100},
		"both":          {args: `{"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "DefaultPreemptionArgs", "minCandidateNodesPercentage": 5, "minCandidateNodesAbsolute": 50}`, percentage: 5, absolute: 50},
		"misspelt":      {args: `{"minCandidateNodesPercent": 5}`, err: `unknown field "minCandidateNodesPercent"`},
		"out of bounds": {args: `{"minCandidateNodesPercentage": 101}`, err: "args.minCandidateNodesPercentage: Invalid value: 101"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := decode(&runtime.Unknown{Raw: []byte(tt.args)})
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one that says %s", err, tt.err)
				}
			case err != nil:
				t.Error(err)
			case a.MinCandidateNodesPercentage != tt.percentage || a.MinCandidateNodesAbsolute != tt.absolute:
				t.Errorf("%d %% and %d, want %d %% and %d", a.MinCandidateNodesPercentage, a.MinCandidateNodesAbsolute, tt.percentage, tt.absolute)
			}
		})
	}
}
