// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"cmp"
	"iter"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// remember notes the node that a slot's last pod was bound to; none forgets
// the slot. Between a checkpoint and its restoring it can be taken back.
func (p *Planner) remember(slot Slot, node string) {
	was := p.bound[slot.Set][slot.Ordinal]
	if was == node {
		return
	}
	p.enter(slot, node)
	if p.forks > 0 {
		p.undo = append(p.undo, func() {
			p.enter(slot, was)
			// What happened meanwhile outside of the simulation is not undone.
			name, _ := p.Names(slot)
			if pod := p.source.Pod(slot.Set.Namespace, name); pod != nil && pod.Spec.NodeName != "" {
				p.enter(slot, pod.Spec.NodeName)
			}
		})
	}
}

func (p *Planner) enter(slot Slot, node string) {
	nodes := p.bound[slot.Set]
	switch {
	case node == "":
		if delete(nodes, slot.Ordinal); len(nodes) == 0 {
			delete(p.bound, slot.Set)
		}
	case nodes == nil:
		p.bound[slot.Set] = map[int]string{slot.Ordinal: node}
	default:
		nodes[slot.Ordinal] = node
	}
}

// LastNode returns the node that the slot's pod was bound to last: as it was
// seen, else as a claim of the slot remembers it. It is empty if nobody knows.
func (p *Planner) LastNode(slot Slot) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, claims := p.Names(slot)
	return reader{source: p.source, bound: p.bound}.last(slot, claims)
}

// last returns the node that a slot was on last. Where it has claims, it was
// there with their data: new ones know of no node, whoever else does.
func (g reader) last(slot Slot, claims []string) string {
	note, kept := g.note(slot, claims)
	if !kept && len(claims) > 0 {
		return ""
	}
	return cmp.Or(g.bound[slot.Set][slot.Ordinal], note.Node)
}

// note returns what the claims of a slot remember, and whether any has data. A
// claim that goes takes its memory with it.
func (g reader) note(slot Slot, claims []string) (note Note, kept bool) {
	for _, name := range claims {
		claim := g.source.Claim(slot.Set.Namespace, name)
		if claim == nil || claim.DeletionTimestamp != nil || claim.Spec.VolumeName == "" {
			continue
		}
		kept = true
		if is, err := ParseNote(claim.Annotations[LastNode]); err == nil {
			return is, true
		}
	}
	return Note{}, kept
}

// Noted returns what the claims of a slot remember.
func (p *Planner) Noted(slot Slot) (Note, bool) {
	_, claims := p.Names(slot)
	note, _ := reader{source: p.source}.note(slot, claims)
	return note, note.Node != ""
}

// Confined tells whether a slot's volumes leave it no node but this one: one of
// them is reached from no other. Whether this one reaches it does not matter: a
// node may lose its labels for a while, and has the volume still.
func (p *Planner) Confined(slot Slot, node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, claims := p.Names(slot)
	topology := p.nodes()
	for _, name := range claims {
		claim := p.source.Claim(slot.Set.Namespace, name)
		if claim == nil || claim.DeletionTimestamp != nil || claim.Spec.VolumeName == "" {
			continue
		}
		volume := p.source.Volume(claim.Spec.VolumeName)
		if volume == nil || volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
			continue
		}
		if !elsewhere(topology.reaching(volume, p.rules.Reaches), node) {
			return true
		}
	}
	return false
}

// Reached tells whether any of these nodes, which may be nil, reaches a volume of
// a slot.
func (p *Planner) Reached(slot Slot, nodes ...*corev1.Node) bool {
	_, claims := p.Names(slot)
	for _, name := range claims {
		claim := p.source.Claim(slot.Set.Namespace, name)
		if claim == nil || claim.Spec.VolumeName == "" {
			continue
		}
		volume := p.source.Volume(claim.Spec.VolumeName)
		if volume != nil && slices.ContainsFunc(nodes, func(node *corev1.Node) bool { return node != nil && p.rules.Reaches(volume, node) }) {
			return true
		}
	}
	return false
}

func elsewhere(nodes iter.Seq[string], node string) bool {
	for name := range nodes {
		if name != node {
			return true
		}
	}
	return false
}

// Names returns what the pod and the claims of a slot are called.
func (p *Planner) Names(slot Slot) (pod string, claims []string) {
	read := reader{source: p.source}
	if !slot.Set.Selected {
		if set := p.source.Set(slot.Set); set != nil {
			read.templates = Templates(set)
		}
	}
	return read.names(slot)
}

// Wants tells whether the set of a slot wants it: a StatefulSet that is not
// about to go does so for its replicas, a set that a policy selects for its
// members.
func (p *Planner) Wants(slot Slot) bool {
	if slot.Set.Selected {
		return slices.Contains(p.source.Members(slot.Set), slot.Ordinal)
	}
	set := p.source.Set(slot.Set)
	if set == nil || set.DeletionTimestamp != nil {
		return false
	}
	start, replicas := span(set)
	return start <= slot.Ordinal && slot.Ordinal < start+replicas
}

// Given returns the ordinals that a set wanted before a change or after it, and
// not on both sides. Either side may be nil.
func Given(before, after *appsv1.StatefulSet) (ordinals []int) {
	was, is := wanted(before), wanted(after)
	for _, side := range []struct{ ours, others []int }{{was, is}, {is, was}} {
		for ordinal := side.ours[0]; ordinal < side.ours[1]; ordinal++ {
			if ordinal < side.others[0] || ordinal >= side.others[1] {
				ordinals = append(ordinals, ordinal)
			}
		}
	}
	return ordinals
}

// wanted returns the first ordinal that a set wants, and the one after the last.
func wanted(set *appsv1.StatefulSet) []int {
	if set == nil || set.DeletionTimestamp != nil {
		return []int{0, 0}
	}
	start, replicas := span(set)
	return []int{start, start + min(replicas, MaxOrdinals)}
}
