// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"cmp"
	"maps"
	"slices"
)

// Again decides anew for the targets that have asked something in the last decision, and leaves what was decided for the
// others: what those take of budgets and nodes counts. In is that of the last decision, with more answers.
func Again(in Input, last Decision) Decision {
	asked := map[Key]bool{}
	for _, e := range last.Pods {
		asked[e.Target] = asked[e.Target] || e.Step == Asks
	}
	stays := Decision{
		Actions: slices.DeleteFunc(slices.Clone(last.Actions), func(a Action) bool { return asked[a.Target] }),
		Rooms:   slices.DeleteFunc(slices.Clone(last.Rooms), func(r Room) bool { return asked[r.Target] }),
		Pods:    slices.DeleteFunc(slices.Clone(last.Pods), func(e Explanation) bool { return asked[e.Target] }),
		History: History{Refusals: last.History.Refusals, Rooms: maps.Clone(last.History.Rooms)},
	}
	in.Targets = slices.DeleteFunc(slices.Clone(in.Targets), func(t Target) bool { return !asked[t.Key] })
	in.History, in.Refused = last.History, nil
	for _, t := range in.Targets {
		for _, p := range t.Pods {
			delete(stays.History.Rooms, p.Object.UID)
		}
	}
	return stays.with(decide(in, stays.Actions))
}

// with is a decision about some targets and another one about others.
func (d Decision) with(other Decision) Decision {
	d.Questions = append(d.Questions, other.Questions...)
	d.Actions = append(d.Actions, other.Actions...)
	d.Rooms = append(d.Rooms, other.Rooms...)
	d.Pods = append(d.Pods, other.Pods...)
	slices.SortStableFunc(d.Actions, func(a, b Action) int { return a.Target.compare(b.Target) })
	slices.SortStableFunc(d.Rooms, func(a, b Room) int { return a.Target.compare(b.Target) })
	slices.SortStableFunc(d.Pods, func(a, b Explanation) int { return a.Target.compare(b.Target) })
	if d.History.Rooms == nil {
		d.History.Rooms = other.History.Rooms
	} else {
		maps.Copy(d.History.Rooms, other.History.Rooms)
	}
	return d
}

func (k Key) compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Namespace, other.Namespace), cmp.Compare(k.Name, other.Name))
}

// count takes what an action that is decided already needs of budgets and nodes.
func (d *decider) count(a Action) {
	switch a.Kind {
	case Evict:
		d.spend(&group{}, a.Pod, true)
		d.taken[a.Node] = a.Node != ""
	case Patch:
		if a.Class == InPlaceRestart {
			d.spend(&group{}, a.Pod, false)
		}
		if a.Sizes.grows(sizesOf(a.Pod.Spec.Containers)) && !unbound(a.Pod) {
			d.taken[a.Pod.Spec.NodeName] = true
		}
	}
}
