// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"
)

// claimsOf lists the claims of a slot that exist.
func (s *subject) claimsOf(slot statefulset.Slot) []claimReport {
	var names []string
	if slot.Set.Selected {
		_, names = s.Member(slot)
	} else if s.set != nil {
		for _, template := range statefulset.Templates(s.set) {
			names = append(names, statefulset.ClaimName(template, slot))
		}
	}
	var reports []claimReport
	for _, name := range names {
		if claim := s.claims[name]; claim != nil {
			reports = append(reports, s.claimReport(claim))
		}
	}
	return reports
}

func (s *subject) claimReport(claim *v1.PersistentVolumeClaim) claimReport {
	r := claimReport{Name: claim.Name, Volume: claim.Spec.VolumeName}
	volume := s.Volume(r.Volume)
	node := claim.Annotations[statefulset.SelectedNode]
	switch {
	case claim.DeletionTimestamp != nil:
		r.Detail = "being deleted"
	case r.Volume == "" && node != "":
		r.Detail = "being provisioned for node " + node
	case r.Volume == "" && claim.Spec.StorageClassName != nil && s.BoundByScheduler(*claim.Spec.StorageClassName):
		r.Detail = "provisioned once its pod has a node"
	case r.Volume == "":
		r.Detail = "not bound"
	case volume == nil:
		r.Detail = "the volume is gone"
	case s.topologyKey() != "":
		r.Domains = s.planner.Reach(volume, s.topologyKey())
	}
	return r
}

// otherClaims lists the claims that the pod uses and its set did not make.
func (s *subject) otherClaims(known []claimReport) []claimReport {
	var others []claimReport
	for i := range s.asks.Spec.Volumes {
		volume := &s.asks.Spec.Volumes[i]
		name := ""
		switch {
		case volume.PersistentVolumeClaim != nil:
			name = volume.PersistentVolumeClaim.ClaimName
		case volume.Ephemeral != nil:
			name = ephemeral.VolumeClaimName(s.asks, volume)
		}
		if name == "" || slices.ContainsFunc(known, func(r claimReport) bool { return r.Name == name }) {
			continue
		}
		if claim := s.claims[name]; claim != nil {
			others = append(others, s.claimReport(claim))
		} else {
			others = append(others, claimReport{Name: name, Detail: "does not exist"})
		}
	}
	return others
}
