// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// addNode adds a node after all others and returns how to undo it. One that is
// known moves there in its new state, with its pods.
func (s *snapshot) addNode(node *v1.Node) (undo func()) {
	former, info := s.node(node.Name), framework.NewNodeInfo()
	restore := func() {
		s.nodes = s.nodes[:len(s.nodes)-1]
		delete(s.at, node.Name)
	}
	if former != nil {
		info = former.SnapshotConcrete()
		restore = s.drop(node.Name)
	}
	info.SetNode(node)
	s.at[node.Name] = len(s.nodes)
	s.nodes = append(s.nodes, info)
	if former != nil {
		s.index()
	}
	return restore
}

// removeNode takes a node away with the pods that are on it, and returns how to
// undo it.
func (s *snapshot) removeNode(name string) (undo func()) {
	pods := s.node(name).GetPods()
	by := func(sign int, company func(guest, string)) {
		for _, pod := range pods {
			s.count(pod.GetPod(), sign)
			s.singular += sign * singular(pod)
			company(s.guest(pod.GetPod()), name)
		}
	}
	restore := s.drop(name)
	by(-1, s.company.leaves)
	s.index()
	return func() {
		restore()
		by(1, s.company.joins)
	}
}

// drop takes a node out of the lists of nodes, which are made anew, and returns
// how to have the former ones back.
func (s *snapshot) drop(name string) (undo func()) {
	nodes, present, at := s.nodes, s.present, s.at
	i := at[name]
	s.nodes, s.at = slices.Delete(slices.Clone(nodes), i, i+1), maps.Clone(at)
	if i < present {
		s.present--
	}
	delete(s.at, name)
	for _, info := range s.nodes[i:] {
		s.at[info.Node().Name]--
	}
	return func() {
		s.nodes, s.present, s.at = nodes, present, at
		s.index()
	}
}
