// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package quorumguard

import (
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
)

// spotter is a handle that notices which victims upstream takes without a
// deletion: those whose binding it ends in time. Nothing else tells them from
// victims that are deleted while they are being bound: both are unbound for
// whoever looks.
type spotter struct {
	fwk.Handle
	flights *Flights
}

// GetWaitingPod returns nil for a pod that does not wait.
func (s *spotter) GetWaitingPod(uid types.UID) fwk.WaitingPod {
	if pod := s.Handle.GetWaitingPod(uid); pod != nil {
		return &waitingPod{WaitingPod: pod, requeued: func() { s.flights.requeued(uid) }}
	}
	return nil
}

// GetPodInPreBind returns nil for a pod that is not on its way to be bound.
func (s *spotter) GetPodInPreBind(uid types.UID) fwk.PodInPreBind {
	if pod := s.Handle.GetPodInPreBind(uid); pod != nil {
		return &podInPreBind{PodInPreBind: pod, requeued: func() { s.flights.requeued(uid) }}
	}
	return nil
}

type waitingPod struct {
	fwk.WaitingPod
	requeued func()
}

func (p *waitingPod) Preempt(plugin, message string) bool {
	done := p.WaitingPod.Preempt(plugin, message)
	if done {
		p.requeued()
	}
	return done
}

type podInPreBind struct {
	fwk.PodInPreBind
	requeued func()
}

func (p *podInPreBind) CancelPod(message string) bool {
	done := p.PodInPreBind.CancelPod(message)
	if done {
		p.requeued()
	}
	return done
}
