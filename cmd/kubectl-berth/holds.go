// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// holds lists the room that is kept for the slots of one set, of the namespace
// or of all namespaces.
func (c *cluster) holds(ctx context.Context, about *target, everywhere bool) (*holdsReport, error) {
	namespace := c.namespace
	if everywhere {
		namespace = metav1.NamespaceAll
	}
	all, err := c.survey(ctx, namespace)
	if err != nil {
		return nil, err
	}
	var only *statefulset.SetKey
	report := &holdsReport{Holds: []holdReport{}, everywhere: everywhere}
	if about != nil {
		v := all.of(c.namespace)
		key, err := v.find(*about, "holds")
		if err != nil {
			return nil, err
		}
		if only = &key; !key.Selected && len(v.templatesOf(key)) == 0 {
			report.blind = fmt.Sprintf("StatefulSet %s has no claims to carry notes: room may be kept for its slots, and is not seen from here", key)
			report.Notes = append(report.Notes, report.blind)
		}
	}
	assumed := false
	for _, s := range all.held(ctx, only) {
		report.Holds = append(report.Holds, s.holdReport(s.hold, all.now))
		assumed = assumed || s.hold.assumed && !s.hold.Fixed
	}
	if assumed {
		report.Notes = append(report.Notes, fmt.Sprintf("the scheduler's configuration was not found (%s): where no policy is for a set, home.holdFor and home.returnToNode are taken to be the defaults; name the file by --config", all.profiles.unread))
	}
	return report, nil
}

// heldSlot is a slot that room is kept for.
type heldSlot struct {
	*subject
	hold hold
}

// held lists the slots of a set that room is kept for, of all sets where none is
// named: by namespace, set and ordinal.
func (s *survey) held(ctx context.Context, only *statefulset.SetKey) []heldSlot {
	var all []heldSlot
	for _, namespace := range keys(s.claims) {
		v := s.of(namespace)
		subjects := map[statefulset.SetKey]*subject{}
		for slot := range v.noted() {
			if only != nil && slot.Set != *only {
				continue
			}
			if subjects[slot.Set] == nil {
				subjects[slot.Set] = v.about(ctx, slot.Set, nil)
			}
			if hold, kept := subjects[slot.Set].kept(slot); kept {
				all = append(all, heldSlot{subject: subjects[slot.Set], hold: hold})
			}
		}
	}
	slices.SortFunc(all, func(a, b heldSlot) int {
		return cmp.Or(cmp.Compare(a.key.Namespace, b.key.Namespace), cmp.Compare(a.key.Name, b.key.Name), cmp.Compare(a.hold.Slot.Ordinal, b.hold.Slot.Ordinal))
	})
	return all
}

// room is what is kept for a slot, nil if nothing is.
func (s *subject) room(slot statefulset.Slot, now time.Time) *holdReport {
	h, kept := s.kept(slot)
	if !kept {
		return nil
	}
	report := s.holdReport(h, now)
	return &report
}

// holdReport is what there is to say about a hold.
func (s *subject) holdReport(h hold, now time.Time) holdReport {
	r := holdReport{
		Set:     setReport{Kind: kindSet, Namespace: s.key.Namespace, Name: s.key.Name},
		Ordinal: h.Slot.Ordinal, State: stateAbsent, Node: h.Node, NodeState: nodeState(s.Node(h.Node)),
		Requests: h.Needs.Requests, Priority: h.Priority, Since: metav1.NewTime(h.Since), Fixed: h.Fixed, required: h.required, now: now,
	}
	if s.key.Selected {
		r.Set.Kind = kindPolicy
	}
	switch {
	case h.pod != nil && h.pod.Spec.NodeName == "":
		r.Pod = h.pod.Name
		r.State, r.Detail = s.waiting(h.Slot, h.pod)
	case h.pod != nil:
		r.Pod, r.State = h.pod.Name, stateTerminating
	}
	if h.Fixed {
		return r
	}
	r.HoldFor = &metav1.Duration{Duration: h.holdFor}
	if earliest, latest := h.ends(now); !latest.IsZero() {
		first, last := metav1.NewTime(earliest), metav1.NewTime(latest)
		r.EndsNotBefore, r.EndsNotAfter = &first, &last
	}
	return r
}

// nodeState is the state of a node in the words of kubectl get nodes, and
// whether an autoscaler is about to remove it.
func nodeState(node *v1.Node) string {
	text := "NotReady"
	if ready(node) {
		text = "Ready"
	}
	if node.Spec.Unschedulable {
		text += ",SchedulingDisabled"
	}
	if draining(node) {
		text += ",ToBeDeleted"
	}
	return text
}

func draining(node *v1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t v1.Taint) bool { return t.Key == statefulset.DrainTaint })
}
