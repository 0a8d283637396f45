// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// SelectedNode is the annotation on a claim by which the scheduler tells a provisioner
// where its volume is wanted.
const SelectedNode = "volume.kubernetes.io/selected-node"

// gatherer finds the homes of one set's slots.
type gatherer struct {
	source    Source
	reaches   func(*corev1.PersistentVolume, *corev1.Node) bool
	topology  *topology
	key       string // topology key
	templates []string
	reserved  map[Slot]reservation
}

// home finds what ties a slot to a domain: the volume of a claim; else the
// node a claim is being provisioned for; else the node its pod is on; else the
// node its pod is reserved on.
func (g gatherer) home(slot Slot) Home {
	var within Home
	var provisioning Home
	for _, template := range g.templates {
		name := ClaimName(template, slot)
		claim := g.source.Claim(slot.Set.Namespace, name)
		if claim == nil || claim.DeletionTimestamp != nil {
			continue // a claim that goes takes its volume with it
		}
		if claim.Spec.VolumeName == "" {
			node := claim.Annotations[SelectedNode]
			if domain := g.topology.domainOf(node, g.key); domain != "" && provisioning.Domain == "" {
				provisioning = Home{Domain: domain, Tie: VolumeBeingProvisioned, Claim: name, Node: node}
			}
			continue
		}
		within = within.narrowed(g.volume(name, claim.Spec.VolumeName))
	}
	if within.Domain != "" {
		return within
	}
	for _, home := range []Home{provisioning, g.pod(slot), g.reservation(slot)} {
		if home.Domain != "" {
			return home
		}
	}
	return within
}

// volume returns what a bound volume says about the home of its slot.
func (g gatherer) volume(claim, name string) Home {
	volume := g.source.Volume(name)
	if volume == nil {
		return Home{}
	}
	home := Home{Tie: BoundVolume, Claim: claim, Volume: name}
	switch domains := g.topology.reach(volume, g.key, g.reaches); len(domains) {
	case 0:
		return Home{}
	case 1:
		home.Domain = domains[0]
	default:
		home.Within = domains
	}
	return home
}

// narrowed joins what two volumes of one slot say. Where they contradict each
// other the first wins: no node suits both, and the plugin that watches over
// volumes says so.
func (h Home) narrowed(by Home) Home {
	switch {
	case h.Domain != "" || by.Tie == Free:
		return h
	case h.Tie == Free || by.Domain != "":
		return by
	}
	if both := slices.DeleteFunc(slices.Clone(h.Within), func(d string) bool { return !slices.Contains(by.Within, d) }); len(both) > 0 {
		h.Within = both
	}
	if len(h.Within) == 1 {
		h.Domain, h.Within = h.Within[0], nil
	}
	return h
}

func (g gatherer) pod(slot Slot) Home {
	pod := g.source.Pod(slot.Set.Namespace, slot.PodName())
	if pod == nil || pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return Home{}
	}
	if its, ok := SlotOf(pod); !ok || its != slot {
		return Home{}
	}
	return Home{Domain: g.topology.domainOf(pod.Spec.NodeName, g.key), Tie: RunningPod, Node: pod.Spec.NodeName}
}

func (g gatherer) reservation(slot Slot) Home {
	r, ok := g.reserved[slot]
	if !ok {
		return Home{}
	}
	return Home{Domain: r.labels[g.key], Tie: ReservedPod, Node: r.node}
}
