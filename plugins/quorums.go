// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"maps"
	"slices"
	"sync"

	"github.com/berth-dev/berth/plugins/quorumguard"
	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// quorums is what QuorumGuard is given.
func (s *slots) quorums() quorumguard.Shared {
	return quorumguard.Shared{Sets: s, Waiters: s, Flights: s.flights}
}

// Quorum and the following make slots what QuorumGuard asks.
func (s *slots) Quorum(key statefulset.SetKey, schedulerName string) (statefulset.Quorum, error) {
	policy, err := s.source.Policy(key, schedulerName)
	if err != nil || policy == nil {
		return statefulset.Quorum{}, err
	}
	return policy.Quorum, nil
}

// Members: see quorumguard.Sets. A set that is gone wants no slots.
func (s *slots) Members(key statefulset.SetKey) map[int][]*v1.Pod {
	names := s.source.podNames(key)
	members := make(map[int][]*v1.Pod, len(names))
	for ordinal, pods := range names {
		members[ordinal] = nil
		for _, name := range pods {
			pod := s.source.Pod(key.Namespace, name)
			if pod == nil {
				continue
			}
			if slot, ok := s.SlotOf(pod); ok && slot == (statefulset.Slot{Set: key, Ordinal: ordinal}) {
				members[ordinal] = append(members[ordinal], pod)
			}
		}
	}
	return members
}

// podNames returns the names of the pods by the ordinals that a set wants.
func (s *source) podNames(key statefulset.SetKey) map[int][]string {
	names := map[int][]string{}
	if key.Selected {
		for _, ordinal := range s.Members(key) {
			names[ordinal] = s.podsOf(statefulset.Slot{Set: key, Ordinal: ordinal})
		}
		return names
	}
	if set := s.Set(key); set != nil {
		for _, ordinal := range statefulset.Given(nil, set) {
			names[ordinal] = []string{statefulset.Slot{Set: key, Ordinal: ordinal}.PodName()}
		}
	}
	return names
}

// Pods: see quorumguard.Sets. The scheduler's store of pods has no index by
// namespace.
func (s *slots) Pods(namespace string) []*v1.Pod {
	pods, _ := s.source.pods.List(labels.Everything())
	return slices.DeleteFunc(pods, func(pod *v1.Pod) bool { return pod.Namespace != namespace })
}

// Pod: see quorumguard.Sets.
func (s *slots) Pod(namespace, name string) *v1.Pod { return s.source.Pod(namespace, name) }

// Budget: see quorumguard.Sets.
func (s *slots) Budget(namespace, name string) *policyv1.PodDisruptionBudget {
	return orNil(s.source.budgets.PodDisruptionBudgets(namespace).Get(name))
}

// Spare: see quorumguard.Waiters. Nobody waits in a simulation.
func (s *slots) Spare(pod *v1.Pod, subjects []quorumguard.Subject) {
	if !s.simulated {
		s.sparing.put(pod, subjects)
	}
}

// GivenUp: see quorumguard.Waiters. That is rare: everyone may look again.
func (s *slots) GivenUp() {
	s.activate(s.sparing.which(func(quorumguard.Subject) bool { return true }))
}

// lands follows victims: what is seen to terminate is counted by that.
func (s *slots) lands(before, after *v1.Pod) {
	if after == nil || after.DeletionTimestamp != nil {
		s.flights.Landed(either(before, after).UID)
	}
}

// budgetChanged wakes who spared the pods of a PodDisruptionBudget when it may
// let another one go.
func (s *slots) budgetChanged(before, after *policyv1.PodDisruptionBudget) {
	if before != nil && after != nil &&
		before.Status.DisruptionsAllowed == after.Status.DisruptionsAllowed &&
		before.Status.DesiredHealthy == after.Status.DesiredHealthy &&
		equality.Semantic.DeepEqual(before.Spec.Selector, after.Spec.Selector) {
		return
	}
	is := either(before, after)
	s.activate(s.sparing.which(func(subject quorumguard.Subject) bool {
		return subject.Set.Namespace == is.Namespace && subject.Budget == is.Name
	}))
}

func ready(pod *v1.Pod) bool { return pod != nil && statefulset.PodReady(pod) }

// sparing are the pods that could not preempt for the sake of others. No event
// of the queue's says that a quorum has room again.
type sparing struct {
	mu   sync.Mutex
	pods map[types.UID]preemptor
}

type preemptor struct {
	pod    *v1.Pod
	spares []quorumguard.Subject
}

func newSparing() *sparing { return &sparing{pods: map[types.UID]preemptor{}} }

func (s *sparing) put(pod *v1.Pod, subjects []quorumguard.Subject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(subjects) == 0 {
		delete(s.pods, pod.UID)
		return
	}
	s.pods[pod.UID] = preemptor{pod: pod, spares: subjects}
}

// sweep forgets who is not there any more, whose removal may have come first.
func (s *sparing) sweep(there func(*v1.Pod) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.pods, func(_ types.UID, waits preemptor) bool { return !there(waits.pod) })
}

func (s *sparing) remove(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pods, uid)
}

// of returns who spares a set, or a budget that may be the set's.
func (s *sparing) of(key statefulset.SetKey) []*v1.Pod {
	return s.which(func(subject quorumguard.Subject) bool {
		return subject.Set == key || (subject.Budget != "" && subject.Set.Namespace == key.Namespace)
	})
}

func (s *sparing) which(concerned func(quorumguard.Subject) bool) (pods []*v1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, waits := range s.pods {
		if slices.ContainsFunc(waits.spares, concerned) {
			pods = append(pods, waits.pod)
		}
	}
	return pods
}
