// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"fmt"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// Session is a train of questions about one state of the cluster. It is used
// by one goroutine. When its context ends it answers with an error.
type Session struct {
	ctx       context.Context
	simulator *Simulator
	logger    klog.Logger

	// journal holds how to undo what was done, in order; marks are the forks.
	journal []func()
	marks   []mark
	// changes counts what was done and undone.
	changes int
	live    map[string]bool // nodes that exist
	hosts   map[string]bool // what they are called, by name or by label
	daemons daemons
	ofNew   []*storagev1.CSIStorageCapacity

	memory  *memory
	wording *wording
	shapes  map[*v1.Pod]shape
	ids     map[string]int  // of shapes
	spare   map[string]bool // classes whose volumes wait for a claim, as of
	spareOf *memory
	blank   record
	order   []int // 0, 1, 2, ...
}

type mark struct {
	journal int
	memory  *memory
	learned int
	restore func()
}

// Begin opens a session on the given nodes, and the pods: those bound to a
// node occupy it, those nominated to one reserve their room there. It waits
// for the session before it to be closed.
func (s *Simulator) Begin(ctx context.Context, nodes []*v1.Node, pods []*v1.Pod) (*Session, error) {
	daemonSets, err := s.daemonSets.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing DaemonSets: %w", err)
	}
	capacities, err := s.capacities.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing CSIStorageCapacities: %w", err)
	}
	session := &Session{
		ctx:       ctx,
		simulator: s,
		logger:    klog.FromContext(ctx),
		live:      make(map[string]bool, len(nodes)),
		hosts:     make(map[string]bool, len(nodes)),
		daemons:   newDaemons(daemonSets),
		ofNew:     toldOfNew(capacities),
		memory:    newMemory(),
		wording:   newWording(),
		shapes:    map[*v1.Pod]shape{},
		ids:       map[string]int{},
	}
	for _, n := range nodes {
		session.live[n.Name], session.hosts[n.Name] = true, true
		if hostname := n.Labels[v1.LabelHostname]; hostname != "" {
			session.hosts[hostname] = true
		}
	}
	s.session.Lock()
	s.snapshot.reset(nodes, pods)
	s.nominated.reset(pods)
	session.Fork()
	return session, nil
}

// Close takes everything back and lets the next session begin.
func (s *Session) Close() {
	for len(s.marks) > 0 {
		s.Revert()
	}
	s.simulator.session.Unlock()
}

// Fork marks the state that the matching Revert returns to. Forks nest.
func (s *Session) Fork() {
	s.marks = append(s.marks, mark{len(s.journal), s.memory, len(s.memory.learned), s.simulator.checkpoint()})
}

// Revert returns to the last Fork.
func (s *Session) Revert() {
	last := s.marks[len(s.marks)-1]
	s.marks = s.marks[:len(s.marks)-1]
	for i := len(s.journal) - 1; i >= last.journal; i-- {
		s.journal[i]()
	}
	s.journal = s.journal[:last.journal]
	last.restore()
	s.changes++
	s.memory = last.memory
	s.memory.unlearn(last.learned)
}

func (s *Session) done(undo func()) {
	s.changes++
	s.journal = append(s.journal, undo)
}

// forget drops what is known of who fits nowhere: there is something new to fit.
func (s *Session) forget() { s.memory = newMemory() }

// AddObject shows the plugins an object that does not exist yet, a claim of a
// future pod say, or another state of one that does.
func (s *Session) AddObject(object runtime.Object) error {
	s.forget()
	return s.lay(object)
}

func (s *Session) lay(object runtime.Object) error {
	undo, err := s.simulator.overlay.put(object)
	if err != nil {
		return err
	}
	s.done(undo)
	return nil
}

func (s *Session) hide(object runtime.Object) error {
	undo, err := s.simulator.overlay.hide(object)
	if err != nil {
		return err
	}
	s.done(undo)
	return nil
}

// identified returns the pod, with a UID if it has none: the scheduler knows
// pods on nodes by it.
func identified(pod *v1.Pod) *v1.Pod {
	if pod.UID != "" {
		return pod
	}
	named := *pod
	named.UID = types.UID(fmt.Sprintf("simulated/%s/%s", pod.Namespace, pod.Name))
	return &named
}
