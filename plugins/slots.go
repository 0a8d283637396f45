// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/quorumguard"
	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// slots is what the plugins ask: the planner, over what exists and the
// policies, together with the means to wake pods and to tell people.
type slots struct {
	planner *statefulset.Planner
	source  *source
	storage storage
	holds   *holds
	sparing *sparing
	flights *quorumguard.Flights
	herald  *herald
	scribe  *scribe // nil in a simulation
	// simulated tells that nobody starts and waits here.
	simulated bool
	wake      func(klog.Logger, map[string]*v1.Pod)
	logger    klog.Logger
}

func newSlots(ctx context.Context, factory informers.SharedInformerFactory, book *policies.Book, handle fwk.Handle, simulated bool) (*slots, error) {
	logger := klog.LoggerWithName(klog.FromContext(ctx), "slots")
	source := &source{listers: newListers(factory), book: book, members: newMembers(), defaults: map[string]*statefulset.Policy{}}
	s := &slots{
		planner: statefulset.NewPlanner(source, Rules(ctx)),
		source:  source,
		storage: newStorage(),
		sparing: newSparing(),
		flights: quorumguard.NewFlights(),
		herald:  newHerald(handle, source),
		wake:    handle.Activate,
		logger:  logger,

		simulated: simulated,
	}
	s.holds = newHolds(source, s.planner, s.SlotOf)
	if simulated {
		return s, nil
	}
	var err error
	s.scribe, err = newScribe(handle, source, s.planner, s.holds.ledger, s.herald.leading)
	return s, err
}

// source adds to the listers what places sets, and who is in a set that a
// policy selects.
type source struct {
	listers
	*members
	book  *policies.Book
	heard []func() bool // whether each handler has heard of what was there when it began
	ready atomic.Bool

	mu       sync.RWMutex
	defaults map[string]*statefulset.Policy // by scheduler name
}

// synced tells whether the handlers have heard of everything that was there
// when they began: who is in a set, and which slots were bound before.
func (s *source) synced() bool {
	if !s.ready.Load() && !slices.ContainsFunc(s.heard, func(synced func() bool) bool { return !synced() }) {
		s.ready.Store(true)
	}
	return s.ready.Load()
}

// Policy returns the policy of the set, else the default of the profile.
func (s *source) Policy(key statefulset.SetKey, schedulerName string) (*statefulset.Policy, error) {
	if !s.synced() {
		return nil, errors.New("what runs has not been read yet")
	}
	if known, why := s.book.Known(); !known {
		return nil, errors.New(why)
	}
	if key.Selected {
		return s.book.OfSelected(key), nil
	}
	if set := s.Set(key); set != nil {
		if policy := s.book.OfSet(set); policy != nil {
			return policy, nil
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.defaults[schedulerName], nil
}

// Default sets what places the sets of a profile that no policy is for.
func (s *slots) Default(profile string, placement *v1alpha1.Placement) error {
	policy, errs := policies.Compile("", placement, nil)
	if err := errs.ToAggregate(); err != nil {
		return err
	}
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	s.source.defaults[profile] = policy
	return nil
}

// SlotOf returns the slot that a pod fills: one of a StatefulSet, or one of
// the pods that a policy selects.
func (s *slots) SlotOf(pod *v1.Pod) (statefulset.Slot, bool) {
	if slot, ok := statefulset.SlotOf(pod); ok {
		return slot, true
	}
	return s.source.book.SlotOf(pod)
}

// Current is SlotOf for a pod as the informer knows it: what the queue hands on
// may be older than the change that made us wake it.
func (s *slots) Current(pod *v1.Pod) (statefulset.Slot, bool) {
	if now := s.source.Pod(pod.Namespace, pod.Name); now != nil && now.UID == pod.UID {
		pod = now
	}
	return s.SlotOf(pod)
}

// Placing is Current for a pod that is being placed, which shows that this
// process is the one that places pods.
func (s *slots) Placing(pod *v1.Pod) (statefulset.Slot, bool) {
	s.herald.leads()
	return s.Current(pod)
}

// Place and the following make slots what the plugins ask for.
func (s *slots) Place(slot statefulset.Slot, pod *v1.Pod) (statefulset.Answer, error) {
	return s.planner.Place(slot, pod)
}

// Suits: see statefulset.Planner.
func (s *slots) Suits(slot statefulset.Slot, uid types.UID, node *v1.Node) (suits, known bool) {
	return s.planner.Suits(slot, uid, node)
}

// Start tells whether a pod may start, and tells people if it may not. In a
// simulation all may: it asks where slots will be, and not when.
func (s *slots) Start(slot statefulset.Slot, pod *v1.Pod) statefulset.Gate {
	if s.simulated {
		return statefulset.Gate{}
	}
	gate := s.planner.Start(slot, pod)
	if gate.Closed {
		s.herald.gated(pod, gate.String())
	} else {
		s.herald.open(pod)
	}
	return gate
}

// Reserve: see statefulset.Planner.
func (s *slots) Reserve(slot statefulset.Slot, uid types.UID, node *v1.Node) {
	s.planner.Reserve(slot, uid, node)
}

// Unreserve: see statefulset.Planner.
func (s *slots) Unreserve(slot statefulset.Slot, uid types.UID) {
	s.activate(s.planner.Unreserve(slot, uid))
}

// activate wakes pods whose answer became another one.
func (s *slots) activate(pods []*v1.Pod) {
	if len(pods) == 0 {
		return
	}
	byName := make(map[string]*v1.Pod, len(pods))
	for _, pod := range pods {
		s.logger.V(4).Info("What a waiting pod was told is not so any more", "pod", klog.KObj(pod))
		byName[pod.Namespace+"/"+pod.Name] = pod
	}
	s.wake(s.logger, byName)
}
