// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package quorumguard

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
)

// attempt is one search for victims over all nodes. Nodes are judged in
// parallel; what is promised to a set is worked out once, when the first list
// touches it.
type attempt struct {
	shared Shared
	pod    *v1.Pod // the preemptor
	// exempt is a preemptor that may take what it needs.
	exempt bool

	mu       sync.Mutex
	promises map[Subject]*promise // nil for a set that is promised nothing
	budgets  map[string][]*budget // by namespace
	spared   map[Subject]struct{}
	victims  map[string][]*v1.Pod // by node
}

// budget is a PodDisruptionBudget that selects something.
type budget struct {
	object   *policyv1.PodDisruptionBudget
	selector labels.Selector
}

func newAttempt(shared Shared, pod *v1.Pod) *attempt {
	return &attempt{
		shared: shared, pod: pod, exempt: critical(pod),
		promises: map[Subject]*promise{}, spared: map[Subject]struct{}{}, victims: map[string][]*v1.Pod{},
	}
}

// Clone returns the attempt itself: its nodes share what is known.
func (a *attempt) Clone() fwk.StateData { return a }

// judge returns the first promise that a list of victims breaks, nil for none.
func (a *attempt) judge(victims []*v1.Pod, pdbs []*policyv1.PodDisruptionBudget) *breach {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.touched(victims, pdbs) {
		if broken := p.judge(victims); broken != nil {
			a.spared[p.subject] = struct{}{}
			return broken
		}
	}
	return nil
}

// touched returns the promises to the sets that victims are of.
func (a *attempt) touched(victims []*v1.Pod, pdbs []*policyv1.PodDisruptionBudget) []*promise {
	var touched []*promise
	touch := func(subject Subject, made func() *promise) {
		p, known := a.promises[subject]
		if !known {
			// Waits before reading: what changes afterwards wakes the pod.
			a.promises[subject] = nil
			a.shared.Waiters.Spare(a.pod, slices.Collect(maps.Keys(a.promises)))
			p = made()
			a.promises[subject] = p
		}
		if p != nil && !slices.Contains(touched, p) {
			touched = append(touched, p)
		}
	}
	if a.budgets == nil {
		a.budgets = selecting(pdbs)
	}
	for _, victim := range victims {
		slot, ok := a.shared.Sets.SlotOf(victim)
		if !ok {
			continue
		}
		subject := Subject{Set: slot.Set}
		touch(subject, func() *promise { return a.quorum(subject, victim.Spec.SchedulerName) })
		for _, b := range a.budgets[victim.Namespace] {
			if b.selector.Matches(labels.Set(victim.Labels)) {
				subject := Subject{Set: statefulset.SetKey{Namespace: victim.Namespace}, Budget: b.object.Name}
				touch(subject, func() *promise { return a.budget(subject, b) })
			}
		}
	}
	return touched
}

// quorum is what the policy of a set promises.
func (a *attempt) quorum(subject Subject, schedulerName string) *promise {
	quorum, err := a.shared.Sets.Quorum(subject.Set, schedulerName)
	if err == nil && quorum.None() {
		return nil
	}
	p := &promise{subject: subject, pods: map[types.UID]bool{}}
	members, available := a.shared.Sets.Members(subject.Set), 0
	for _, pods := range members {
		runs := false
		for _, pod := range pods {
			if a.leaves(pod) {
				continue
			}
			p.pods[pod.UID] = statefulset.PodReady(pod)
			runs = runs || p.pods[pod.UID]
		}
		if runs {
			available++
		}
	}
	if err != nil {
		p.room, p.text = -1, func(int) string { return fmt.Sprintf(ErrReasonUnknown, subject.Set, err) }
		return p
	}
	needs := quorum.Of(len(members))
	p.room = available - needs
	p.text = func(taken int) string {
		return fmt.Sprintf(ErrReasonQuorum, subject.Set, available-taken, len(members), quorum, needs)
	}
	return p
}

// budget is what a PodDisruptionBudget promises. Its status follows the pods a
// moment later, so there is room only as far as both show it: the status, and
// the pods as they are.
func (a *attempt) budget(subject Subject, b *budget) *promise {
	if now := a.shared.Sets.Budget(subject.Set.Namespace, subject.Budget); now != nil {
		b.object = now
	}
	status := &b.object.Status
	p := &promise{subject: subject, pods: map[types.UID]bool{}}
	available, inFlight := 0, 0
	for _, pod := range a.shared.Sets.Pods(subject.Set.Namespace) {
		if !b.selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		_, disrupted := status.DisruptedPods[pod.Name]
		switch ready := statefulset.PodReady(pod); {
		case pod.DeletionTimestamp != nil || disrupted:
		case a.shared.Flights.Has(pod.UID):
			if ready {
				inFlight++
			}
		default:
			p.pods[pod.UID] = ready
			if ready {
				available++
			}
		}
	}
	p.room = available - int(status.DesiredHealthy)
	if allowed := max(int(status.DisruptionsAllowed)-inFlight, 0); p.room > allowed {
		p.room = allowed
	}
	p.text = func(taken int) string {
		return fmt.Sprintf(ErrReasonBudget, subject.Set.Namespace+"/"+subject.Budget, taken, max(p.room, 0))
	}
	return p
}

// leaves tells whether a pod goes anyway.
func (a *attempt) leaves(pod *v1.Pod) bool {
	return pod.DeletionTimestamp != nil || a.shared.Flights.Has(pod.UID)
}

// chose remembers the victims that a node would give.
func (a *attempt) chose(node string, victims []*v1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.victims[node] = victims
}

// subjects returns who was spared.
func (a *attempt) subjects() []Subject {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.spared))
}

// selecting reads the selectors once. As upstream, a budget without one, or
// with one that is empty or invalid, keeps nothing.
func selecting(pdbs []*policyv1.PodDisruptionBudget) map[string][]*budget {
	budgets := map[string][]*budget{}
	for _, pdb := range pdbs {
		selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
		if err != nil || selector.Empty() {
			continue
		}
		budgets[pdb.Namespace] = append(budgets[pdb.Namespace], &budget{object: pdb, selector: selector})
	}
	for _, of := range budgets {
		slices.SortFunc(of, func(a, b *budget) int { return cmp.Compare(a.object.Name, b.object.Name) })
	}
	return budgets
}
