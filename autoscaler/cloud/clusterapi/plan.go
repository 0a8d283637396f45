// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

// plan is a change of a group: marks first, then the size.
type plan struct {
	replicas int
	// marked are the chosen ones that have a mark already, mark those that get one.
	marked, mark, unmark []machine
}

// chosen are the Machines that the plan deletes.
func (p plan) chosen() []machine { return slices.Concat(p.marked, p.mark) }

// grow plans n more Machines.
func (n *now) grow(by int) (plan, error) {
	// A group that grows again before a marked Machine was taken would keep it.
	if leaving, _, err := n.marks(); err == nil && len(leaving) > 0 {
		return plan{}, &UnsettledError{Group: n.group, Why: fmt.Sprintf("%d of its Machines are about to be deleted", len(leaving))}
	}
	if n.replicas+by > n.high {
		return plan{}, &cloud.AtMaximumError{Group: n.group, Size: n.replicas, Asked: by, Max: n.high}
	}
	return plan{replicas: n.replicas + by}, nil
}

// forgo plans to take back Machines that have yet to be made, then those behind which there is no machine.
func (n *now) forgo(by int) (plan, error) {
	if err := n.settled(); err != nil {
		return plan{}, err
	}
	leaving, idle, err := n.marks()
	if err != nil {
		return plan{}, err
	}
	unborn, there := n.unborn(leaving)
	unmade := max(0, n.replicas-there)
	if by > unmade+len(unborn) {
		return plan{}, &cloud.NothingToForgoError{Group: n.group, Awaited: unmade + len(unborn), Asked: by}
	}
	if by <= unmade {
		return plan{replicas: n.replicas - by}, nil
	}
	return n.shrink(by, idle, unborn[:by-unmade]...)
}

// remove plans to delete the chosen Machines that are neither gone nor about to go.
func (n *now) remove(chosen map[types.UID]bool) (plan, error) {
	nothing := plan{replicas: n.replicas}
	var going []machine
	for _, m := range n.machines {
		if chosen[m.GetUID()] {
			going = append(going, m)
		}
	}
	if len(going) == 0 {
		return nothing, nil
	}
	if err := n.settled(); err != nil {
		return plan{}, err
	}
	leaving, idle, err := n.marks()
	if err != nil {
		return plan{}, err
	}
	going = slices.DeleteFunc(going, func(m machine) bool { _, already := leaving[m.GetUID()]; return already })
	if len(going) == 0 {
		return nothing, nil
	}
	if n.replicas > len(n.machines) {
		return plan{}, &UnsettledError{Group: n.group, Why: fmt.Sprintf("it has %d Machines of %d: if fewer were wanted, Cluster API would make fewer and delete none", len(n.machines), n.replicas)}
	}
	return n.shrink(len(going), idle, going...)
}

// marks sorts the marked Machines: those that Cluster API is about to delete, as
// there are more Machines than there should be, and those that were marked and no more.
func (n *now) marks() (leaving, idle map[types.UID]machine, err error) {
	marked := map[types.UID]machine{}
	for _, m := range n.machines {
		if is, _ := m.marked(); is {
			marked[m.GetUID()] = m
		}
	}
	surplus := len(n.machines) - n.replicas
	switch {
	case surplus <= 0:
		return nil, marked, nil
	case surplus == len(marked):
		return marked, nil, nil
	}
	return nil, nil, &UnsettledError{Group: n.group, Why: fmt.Sprintf("it has %d Machines where %d are wanted, and %d of them are marked with %s: which ones will go is not sure", len(n.machines), n.replicas, len(marked), deleteAnnotation)}
}

// shrink is the plan to take the given Machines, which do not leave yet, and no other.
func (n *now) shrink(by int, idle map[types.UID]machine, chosen ...machine) (plan, error) {
	p := plan{replicas: n.replicas - by}
	for _, m := range chosen {
		if _, already := idle[m.GetUID()]; already {
			p.marked = append(p.marked, m)
		} else {
			p.mark = append(p.mark, m)
		}
		delete(idle, m.GetUID())
	}
	for _, m := range n.machines { // in the order of the list, not of the map
		if _, left := idle[m.GetUID()]; !left {
			continue
		}
		if _, ours := m.marked(); !ours {
			return plan{}, &UnsettledError{Group: n.group, Why: fmt.Sprintf("Machine %s has the annotation %s, so that Cluster API would delete it instead: delete it, or take the annotation off", m.GetName(), deleteAnnotation)}
		}
		p.unmark = append(p.unmark, m)
	}
	return p, nil
}

// settled is an error while another Machine than a marked one could be taken.
func (n *now) settled() error {
	if n.rolling {
		return &UnsettledError{Group: n.group, Why: "it rolls out: its Machines belong to more than one MachineSet, and the rollout decides which of these gets smaller"}
	}
	return nil
}

// unborn returns the Machines that may be given up, those with the least hope first, and how many there are with them.
func (n *now) unborn(leaving map[types.UID]machine) (unborn []machine, there int) {
	for _, m := range n.machines {
		if _, gone := leaving[m.GetUID()]; gone {
			continue
		}
		there++
		if m.unborn() {
			unborn = append(unborn, m)
		}
	}
	hope := func(m machine) int {
		marked, _ := m.marked()
		switch {
		case marked:
			return 0
		case m.failure() != nil:
			return 1
		}
		return 2
	}
	slices.SortFunc(unborn, func(a, b machine) int {
		return cmp.Or(cmp.Compare(hope(a), hope(b)), b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
	})
	if n.object.GetKind() == poolKind {
		there = max(there, len(providerIDs(n.object))) // the machine of a pool comes before its Machine
	}
	return unborn, there
}
