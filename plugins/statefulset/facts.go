// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// SelectedNode is the annotation on a claim by which the scheduler tells a provisioner
// where its volume is wanted.
const SelectedNode = "volume.kubernetes.io/selected-node"

// fact is what is known of one slot. Facts are read again as a whole.
type fact struct {
	// home is never nil and never changed once read.
	home *Home
	// scheduled and ready are those of its pod.
	scheduled, ready bool
	// before tells that a claim shows that the slot was bound before.
	before bool
	// held is the only node that reaches the slot's volumes, where slots want
	// nodes of their own; empty if there is none or more than one.
	held string
	// asked are the nodes that were looked up by name, whether they exist or not.
	asked [3]string
	// byNodes tells that any node may change the home: its volume is tied to
	// labels that are not the domain.
	byNodes bool
	// stale tells that the fact is to be read again.
	stale bool
}

// dependsOn tells whether another state of the node may give another fact.
func (f *fact) dependsOn(node string, relabelled bool) bool {
	return (f.byNodes && relabelled) || (node != "" && slices.Contains(f.asked[:], node))
}

// reader reads the facts of one set's slots.
type reader struct {
	source    Source
	reaches   func(*corev1.PersistentVolume, *corev1.Node) bool
	topology  *topology
	key       string // topology key, empty where there are no domains
	templates []string
	reserved  map[Slot]reservation
	// bound are the nodes that slots were bound to last.
	bound map[SetKey]map[int]string
	// returns tells that a slot belongs where it was last.
	returns bool
	// separate tells that slots want nodes of their own.
	separate bool
}

// read finds what ties a slot to a domain: the volume of a claim; else the
// node a claim is being provisioned for; else the node its pod is on; else the
// node its pod is reserved on; else, where it must return, the node it was on.
func (g reader) read(slot Slot) fact {
	var f fact
	var within, provisioning Home
	podName, claims := g.names(slot)
	for _, name := range claims {
		claim := g.source.Claim(slot.Set.Namespace, name)
		if claim == nil || claim.DeletionTimestamp != nil {
			continue // a claim that goes takes its volume with it
		}
		f.before = f.before || claim.Annotations[LastNode] != "" || g.bindingShows(claim)
		if claim.Spec.VolumeName == "" {
			node := claim.Annotations[SelectedNode]
			f.asked[0] = node
			if domain := g.topology.domainOf(node, g.key); domain != "" && provisioning.Domain == "" {
				provisioning = Home{Domain: domain, Tie: VolumeBeingProvisioned, Claim: name, Node: node}
			}
			continue
		}
		home, asked := g.volume(name, claim.Spec.VolumeName)
		f.byNodes = f.byNodes || asked
		within = within.narrowed(home)
		if only, asked := g.only(claim.Spec.VolumeName); asked {
			f.byNodes = true
			f.held = cmp.Or(f.held, only)
		}
	}
	pod := g.pod(slot, podName)
	f.scheduled, f.ready, f.asked[1] = pod.scheduled, pod.ready, pod.home.Node
	home := within
	var last Home
	if g.returns {
		node := g.last(slot, claims)
		last = Home{Domain: g.topology.domainOf(node, g.key), Tie: LastPod, Node: node}
		f.asked[2] = node
	}
	for _, next := range []Home{provisioning, pod.home, g.reservation(slot), last} {
		if home.Domain == "" && next.Domain != "" {
			home = next
		}
	}
	f.home = &home
	return f
}

// names returns what the pod and the claims of a slot are called.
func (g reader) names(slot Slot) (pod string, claims []string) {
	if slot.Set.Selected {
		return g.source.Member(slot)
	}
	claims = make([]string, len(g.templates))
	for i, template := range g.templates {
		claims[i] = ClaimName(template, slot)
	}
	return slot.PodName(), claims
}

// bindingShows tells whether a claim could only be bound because a pod that
// uses it was placed.
func (g reader) bindingShows(claim *corev1.PersistentVolumeClaim) bool {
	if claim.Spec.VolumeName == "" {
		return false
	}
	if claim.Annotations[SelectedNode] != "" {
		return true
	}
	return claim.Spec.StorageClassName != nil && g.source.BoundByScheduler(*claim.Spec.StorageClassName)
}

// volume returns what a bound volume says about the home of its slot.
func (g reader) volume(claim, name string) (home Home, asked bool) {
	volume := g.source.Volume(name)
	if volume == nil || g.key == "" {
		return Home{}, false
	}
	domains, asked := g.topology.reach(volume, g.key, g.reaches)
	home = Home{Tie: BoundVolume, Claim: claim, Volume: name}
	switch len(domains) {
	case 0:
		return Home{}, asked
	case 1:
		home.Domain = domains[0]
	default:
		home.Within = domains
	}
	return home, asked
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

// podFact is what a slot's pod says.
type podFact struct {
	home             Home
	scheduled, ready bool
}

func (g reader) pod(slot Slot, name string) podFact {
	pod := g.source.Pod(slot.Set.Namespace, name)
	if pod == nil || pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return podFact{}
	}
	if its, ok := SlotOf(pod); !slot.Set.Selected && (!ok || its != slot) {
		return podFact{}
	}
	return podFact{
		home:      Home{Domain: g.topology.domainOf(pod.Spec.NodeName, g.key), Tie: RunningPod, Node: pod.Spec.NodeName},
		scheduled: true,
		ready:     PodReady(pod),
	}
}

// only returns the one node that reaches a volume where slots want nodes of
// their own, and whether nodes had to be asked.
func (g reader) only(name string) (node string, asked bool) {
	if !g.separate {
		return "", false
	}
	volume := g.source.Volume(name)
	if volume == nil || volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return "", false
	}
	return g.topology.only(volume, g.reaches), true
}

// PodReady tells whether a pod is ready and stays.
func PodReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func (g reader) reservation(slot Slot) Home {
	r, ok := g.reserved[slot]
	if !ok {
		return Home{}
	}
	return Home{Domain: r.labels[g.key], Tie: ReservedPod, Node: r.node}
}
