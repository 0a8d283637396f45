// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package quorumguard

import (
	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
)

// Subject is what a promise is about: the quorum of a set, or a
// PodDisruptionBudget that covers slots.
type Subject struct {
	// Set is the set of a quorum; of a budget it is the namespace alone.
	Set statefulset.SetKey
	// Budget is the name of the PodDisruptionBudget, empty for a quorum.
	Budget string
}

// promise is that pods of a subject stay available.
type promise struct {
	subject Subject
	// room is how many available pods may go. Below 0 there are fewer than
	// promised already: then none of the others may go either, for they are how
	// the set comes back.
	room int
	// pods are those it is about, true where available. Who leaves anyway is
	// not among them: taking it takes nothing.
	pods map[types.UID]bool
	// text says what taking so many available pods would mean.
	text func(taken int) string
}

// breach is a promise that a list of victims breaks.
type breach struct {
	reason string
	// ways are the choices that are left. Every list that keeps the promise
	// spares the pods of one of them, and perhaps more.
	ways [][]types.UID
}

// judge looks at a list of victims as a whole. They are ordered by importance,
// the most important first.
func (p *promise) judge(victims []*v1.Pod) *breach {
	var available, others []types.UID
	for _, victim := range victims {
		switch ready, concerned := p.pods[victim.UID]; {
		case !concerned:
		case ready:
			available = append(available, victim.UID)
		default:
			others = append(others, victim.UID)
		}
	}
	switch {
	case p.room < 0 && len(available)+len(others) > 0:
		return &breach{reason: p.text(len(available)), ways: [][]types.UID{append(available, others...)}}
	case p.room >= 0 && len(available) > p.room:
		b := &breach{reason: p.text(len(available))}
		for _, uid := range available[:p.room+1] {
			b.ways = append(b.ways, []types.UID{uid})
		}
		return b
	}
	return nil
}

// choice is what upstream would evict from a node, or why there is nothing.
type choice struct {
	victims    []*v1.Pod
	violations int
	status     *fwk.Status
}

// search looks for victims on a node that break no promise. What upstream
// chooses of its own accord is taken if it breaks none. Else upstream chooses
// again without some of its victims, in each of the ways that a breach leaves:
// that finds a list wherever there is one, as long as the tries last.
type search struct {
	choose func(spared sets.Set[types.UID]) choice
	judge  func(victims []*v1.Pod) *breach
	tries  int
}

func (s *search) run(spared sets.Set[types.UID]) choice {
	s.tries--
	found := s.choose(spared)
	if !found.status.IsSuccess() {
		return found
	}
	broken := s.judge(found.victims)
	if broken == nil {
		return found
	}
	for _, way := range broken.ways {
		if s.tries <= 0 {
			break
		}
		next := s.run(spared.Clone().Insert(way...))
		if next.status.IsSuccess() || next.status.IsError() {
			return next
		}
	}
	return choice{status: fwk.NewStatus(fwk.Unschedulable, broken.reason)}
}
