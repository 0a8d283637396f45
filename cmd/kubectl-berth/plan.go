// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/berth-dev/berth/plugins/statefulset"
	"k8s.io/utils/ptr"
)

// plan works out where the ordinals of a set belong, as it is or as if it had
// so many replicas.
func (v *view) plan(ctx context.Context, about target, scaleTo *int) (*planReport, error) {
	key, err := v.find(about, "plan")
	if err != nil {
		return nil, err
	}
	report := &planReport{Set: setReport{Kind: kindPolicy, Namespace: key.Namespace, Name: key.Name}}
	first, present := 0, statefulset.MaxOrdinals
	if key.Selected && scaleTo != nil {
		return nil, fmt.Errorf("--replicas is for StatefulSets: how many pods PlacementPolicy %q selects is up to the operator that makes them", key.Name)
	}
	if !key.Selected {
		set := v.Set(key)
		report.Set.Kind, present = kindSet, replicasOf(set)
		report.Set.Replicas, report.Set.ScaledTo = ptr.To(present), scaleTo
		if scaleTo != nil {
			set = set.DeepCopy()
			set.Spec.Replicas = ptr.To(int32(*scaleTo))
			v.sets[key.Name] = set
		}
	}
	s := v.about(ctx, key, nil)
	if s.set != nil {
		first = s.start()
	}
	wanted := s.wanted()
	if s.set != nil && replicasOf(s.set) > len(wanted) {
		s.notes = append(s.notes, fmt.Sprintf("only the first %d ordinals are planned", len(wanted)))
	}
	report.Policy, report.Notes = s.from, s.notes
	if s.topologyKey() != "" {
		report.Spread = &spreadReport{TopologyKey: s.topologyKey(), Domains: s.domains()}
	}
	placements, err := s.placements(wanted)
	if err != nil {
		return nil, err
	}
	report.Ordinals = make([]ordinalReport, len(wanted))
	for i, ordinal := range wanted {
		row := s.report(placements[i])
		if row.State == stateAbsent && s.set != nil && ordinal >= first+present {
			row.State = stateToCome
		}
		report.Ordinals[i] = row
	}
	return report, nil
}

// placements asks where the wanted ordinals belong; nowhere in particular
// where nothing spreads them.
func (s *subject) placements(wanted []int) ([]statefulset.Placement, error) {
	placements := make([]statefulset.Placement, len(wanted))
	if len(wanted) == 0 {
		return nil, nil
	}
	plan, _, err := s.planner.PlanOf(slotAt(s.key, wanted[0]), s.asks)
	if err != nil {
		return nil, err
	}
	planned := map[int]statefulset.Placement{}
	for placement := range plan.All() {
		planned[placement.Slot.Ordinal] = placement
	}
	for i, ordinal := range wanted {
		placements[i] = planned[ordinal]
		placements[i].Slot = slotAt(s.key, ordinal)
	}
	return placements, nil
}

// find returns the set that a target of a command means.
func (v *view) find(t target, command string) (statefulset.SetKey, error) {
	key := statefulset.SetKey{Namespace: v.namespace, Name: t.name}
	if t.kind == kindSet {
		if v.Set(key) == nil {
			return key, notFound(string(kindSet), v.namespace, t.name, keys(v.sets))
		}
		return key, nil
	}
	policy := v.policies.of(v.namespace, t.name)
	if policy == nil {
		return key, notFound(string(kindPolicy), v.namespace, t.name, v.policies.names(v.namespace))
	}
	if key.Selected = true; v.policies.book.OfSelected(key) != nil {
		return key, nil
	}
	if ref := policy.Spec.TargetRef; ref != nil {
		return key, fmt.Errorf("PlacementPolicy %q is for a StatefulSet: see kubectl berth %s sts/%s", t.name, command, ref.Name)
	}
	if policy.Spec.Ordinal == nil {
		return key, fmt.Errorf("PlacementPolicy %q selects StatefulSets: see kubectl berth %s sts/NAME", t.name, command)
	}
	return key, fmt.Errorf("PlacementPolicy %q is invalid and has no effect: see kubectl describe pp %s -n %s", t.name, t.name, v.namespace)
}
