// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/autoscaler/simulator"
)

// timed simulates, and measures what of the processor that takes: the clock of the storm stands still meanwhile.
func (s *storm) timed(sim *simulator.Simulator) Simulate {
	return func(ctx context.Context, nodes []*corev1.Node, pods []*corev1.Pod) (Simulation, error) {
		began := processorTime()
		session, err := sim.Begin(ctx, nodes, pods)
		if err != nil {
			return nil, err
		}
		return &timedSimulation{session, func() {
			took := processorTime() - began
			s.mu.Lock()
			defer s.mu.Unlock()
			s.decisions, s.cpu, s.most = s.decisions+1, s.cpu+took, max(s.most, took)
		}}, nil
	}
}

type timedSimulation struct {
	*simulator.Session
	done func()
}

func (s *timedSimulation) Close() {
	s.Session.Close()
	s.done()
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
