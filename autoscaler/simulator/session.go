// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/daemon"
)

// Session is a train of questions about one state of the cluster. It is used
// by one goroutine. When its context ends it answers with an error.
type Session struct {
	ctx       context.Context
	simulator *Simulator
	logger    klog.Logger

	// journal holds how to undo what was done, in order; marks are the forks.
	journal  []func()
	marks    []mark
	refusals refusals
	live     map[string]bool // nodes that exist
}

type mark struct {
	journal  int
	refusals refusals
	restore  func()
}

// Begin opens a session on the given nodes, and the pods: those bound to a
// node occupy it, those nominated to one reserve their room there. It waits
// for the session before it to be closed.
func (s *Simulator) Begin(ctx context.Context, nodes []*v1.Node, pods []*v1.Pod) (*Session, error) {
	s.session.Lock()
	if err := s.snapshot.reset(nodes, pods); err != nil {
		s.session.Unlock()
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	s.nominated.reset(pods)
	session := &Session{
		ctx:       ctx,
		simulator: s,
		logger:    klog.FromContext(ctx),
		refusals:  newRefusals(s.slot),
		live:      make(map[string]bool, len(nodes)),
	}
	for _, n := range nodes {
		session.live[n.Name] = true
	}
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
	s.marks = append(s.marks, mark{len(s.journal), s.refusals.fork(), s.simulator.checkpoint()})
}

// Revert returns to the last Fork.
func (s *Session) Revert() {
	last := s.marks[len(s.marks)-1]
	s.marks = s.marks[:len(s.marks)-1]
	for i := len(s.journal) - 1; i >= last.journal; i-- {
		s.journal[i]()
	}
	s.journal = s.journal[:last.journal]
	s.refusals = last.refusals
	last.restore()
}

func (s *Session) done(undo func()) { s.journal = append(s.journal, undo) }

// AddObject shows the plugins an object that does not exist yet, a claim of a
// future pod say, or another state of one that does.
func (s *Session) AddObject(object runtime.Object) error {
	undo, err := s.simulator.overlay.put(object)
	if err != nil {
		return err
	}
	s.done(undo)
	s.refusals.forget()
	return nil
}

// RemovePod takes a pod away as if it were gone: plugins hear of it, so that the
// room of a slot is kept for its next pod.
func (s *Session) RemovePod(pod *v1.Pod) error {
	s.refusals.forget()
	if pod.Spec.NodeName == "" {
		s.done(s.simulator.nominated.remove(pod))
	} else {
		undo, err := s.simulator.snapshot.removePod(s.logger, pod)
		if err != nil {
			return err
		}
		s.done(undo)
	}
	undo, err := s.simulator.overlay.hide(pod)
	if err != nil {
		return err
	}
	s.done(undo)
	return nil
}

// AddNode adds a node that does not exist yet, with the daemon pods that it
// will run, or shows one that does in a new state. The informers of plugins
// never show a node that does not exist: a domain is not there before its
// first node is.
func (s *Session) AddNode(node *v1.Node) error {
	s.refusals.forget()
	if s.live[node.Name] {
		if err := s.AddObject(node); err != nil {
			return err
		}
	}
	s.done(s.simulator.snapshot.addNode(node))
	daemons, err := s.daemonPods(node)
	if err != nil {
		return err
	}
	for _, pod := range daemons {
		undo, err := s.simulator.snapshot.addPod(s.logger, pod)
		if err != nil {
			return err
		}
		s.done(undo)
	}
	return nil
}

// daemonPods returns the daemon pods that the node will have and has not.
func (s *Session) daemonPods(node *v1.Node) ([]*v1.Pod, error) {
	sets, err := s.simulator.daemonSets.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing DaemonSets: %w", err)
	}
	info := s.simulator.snapshot.byName[node.Name]
	running := map[types.UID]bool{}
	for _, pod := range info.GetPods() {
		if owner := metav1.GetControllerOf(pod.GetPod()); owner != nil {
			running[owner.UID] = true
		}
	}
	var pods []*v1.Pod
	for _, set := range sets {
		if set.DeletionTimestamp != nil || running[set.UID] {
			continue
		}
		if should, _ := daemon.NodeShouldRunDaemonPod(s.logger, node, set); !should {
			continue
		}
		pod := daemon.NewPod(set, node.Name)
		pod.Name = fmt.Sprintf("%s-%s", set.Name, node.Name)
		pods = append(pods, identified(pod))
	}
	slices.SortFunc(pods, byName)
	return pods, nil
}

// identified returns the pod, with a UID if it has none: the scheduler knows
// pods on nodes by it.
func identified(pod *v1.Pod) *v1.Pod {
	if pod.UID != "" {
		return pod
	}
	pod = pod.DeepCopy()
	pod.UID = types.UID(fmt.Sprintf("simulated/%s/%s", pod.Namespace, pod.Name))
	return pod
}
