// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"slices"

	"github.com/berth-dev/berth/plugins/volumeaffinity"
	v1 "k8s.io/api/core/v1"
)

// Pinned returns a function from a topology key to the one domain that the
// bound volumes of a pod leave it, nil if it has none.
func (s *slots) Pinned(pod *v1.Pod) func(topologyKey string) (domain string, pinned bool) {
	volumes := s.source.volumesOf(pod)
	if len(volumes) == 0 {
		return nil
	}
	return func(topologyKey string) (string, bool) {
		var left []string
		for _, volume := range volumes {
			domains := s.planner.Reach(volume, topologyKey)
			switch {
			case len(domains) == 0: // from anywhere, or from nowhere that exists
			case left == nil:
				left = domains
			default:
				left = slices.DeleteFunc(slices.Clone(left), func(d string) bool { return !slices.Contains(domains, d) })
			}
		}
		if len(left) != 1 {
			return "", false
		}
		return left[0], true
	}
}

// Planned tells a pod that fills a slot whose policy spreads it.
func (s *slots) Planned(pod *v1.Pod) bool {
	slot, ok := s.SlotOf(pod)
	if !ok {
		return false
	}
	policy, err := s.source.Policy(slot.Set, pod.Spec.SchedulerName)
	return err == nil && policy != nil && policy.Spread != nil
}

// volumesOf returns the bound volumes of a pod that can not be reached from
// everywhere.
func (l listers) volumesOf(pod *v1.Pod) (volumes []*v1.PersistentVolume) {
	for name := range volumeaffinity.ClaimsOf(pod) {
		claim := l.Claim(pod.Namespace, name)
		if claim == nil || claim.Spec.VolumeName == "" {
			continue
		}
		if bound := l.Volume(claim.Spec.VolumeName); bound != nil && bound.Spec.NodeAffinity != nil {
			volumes = append(volumes, bound)
		}
	}
	return volumes
}
