// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// RemoveNode takes a node away as if it were gone, with what is left on it.
func (s *Session) RemoveNode(name string) error {
	s.refusals.forget()
	undo, err := s.simulator.snapshot.removeNode(name)
	if err != nil {
		return err
	}
	s.done(undo)
	undo, err = s.simulator.overlay.hide(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil {
		return err
	}
	s.done(undo)
	return nil
}

// removeNode takes a node and the pods on it away and returns how to undo it.
func (s *snapshot) removeNode(name string) (undo func(), err error) {
	former, ok := s.byName[name]
	if !ok {
		return nil, fmt.Errorf("no node %s in the snapshot", name)
	}
	before := *s
	i := slices.IndexFunc(s.nodes, func(n fwk.NodeInfo) bool { return n == fwk.NodeInfo(former) })
	s.nodes = slices.Delete(slices.Clone(s.nodes), i, i+1)
	if i < s.present {
		s.present--
	}
	delete(s.byName, name)
	for _, pod := range former.GetPods() {
		s.count(pod.GetPod(), -1)
	}
	s.index()
	return func() {
		s.nodes, s.present, s.byName[name] = before.nodes, before.present, former
		for _, pod := range former.GetPods() {
			s.count(pod.GetPod(), 1)
		}
		s.index()
	}, nil
}
