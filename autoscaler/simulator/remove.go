// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RemovePod takes a pod away as if it were gone: plugins hear of it, so that the
// room of a slot is kept for its next pod.
func (s *Session) RemovePod(pod *v1.Pod) error {
	s.forget()
	pod = identified(pod)
	if pod.Spec.NodeName == "" {
		s.done(s.simulator.nominated.remove(pod))
		return s.hide(pod)
	}
	undo, err := s.simulator.snapshot.removePod(s.logger, pod)
	if err != nil {
		return err
	}
	s.done(undo)
	return s.hide(pod)
}

// RemoveNode takes a node away as if it were gone, with the pods that are still
// on it: those that are to go elsewhere are removed before.
func (s *Session) RemoveNode(name string) error {
	info := s.simulator.snapshot.node(name)
	if info == nil {
		return fmt.Errorf("no node %s in the snapshot", name)
	}
	s.forget()
	pods := slices.Clone(info.GetPods())
	s.done(s.simulator.snapshot.removeNode(name))
	for _, pod := range pods {
		if err := s.hide(pod.GetPod()); err != nil {
			return err
		}
	}
	if !s.live[name] {
		return nil
	}
	if err := s.hide(&storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		return err
	}
	return s.hide(info.Node())
}
