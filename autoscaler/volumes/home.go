// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// home is the one node that a local volume is on.
type home struct {
	// place is the value by which the volume's affinity names the node.
	place string
	// noted are names that notes tell of; there may be none.
	noted    []string
	affinity *v1.NodeSelector
}

// node is the name that people know it by.
func (h home) node() string {
	if len(h.noted) > 0 {
		return h.noted[0]
	}
	return h.place
}

// homeOf returns where the volume of a claim is. It is not ok where the claim
// has none or is on its way out, and where the volume is, or may be, in more
// than one place or in none that ends with a node.
func homeOf(c Claim) (h home, ok bool) {
	if c.Object.DeletionTimestamp != nil || c.Volume == nil || !local(c) {
		return home{}, false
	}
	affinity := c.Volume.Spec.NodeAffinity
	if !bound(c) || affinity == nil || affinity.Required == nil || len(affinity.Required.NodeSelectorTerms) == 0 {
		return home{}, false
	}
	h = home{noted: c.Nodes, affinity: affinity.Required}
	for _, term := range h.affinity.NodeSelectorTerms {
		place := h.placeOf(term)
		if place == "" || (h.place != "" && h.place != place) {
			return home{}, false
		}
		h.place = place
	}
	return h, true
}

// bound tells that a claim and its volume are each other's.
func bound(c Claim) bool {
	ref := c.Volume.Spec.ClaimRef
	return c.Object.Spec.VolumeName == c.Volume.Name && ref != nil && ref.UID == c.Object.UID
}

// local tells that the data is in a node. Of a driver that attaches nothing
// that is so where the affinity names a single node, which placeOf sees to.
func local(c Claim) bool {
	spec := c.Volume.Spec
	return spec.Local != nil || spec.HostPath != nil || spec.CSI != nil && !c.Attached
}

// placeOf returns the value by which a term names a single node: its hostname,
// its name, or a label whose value is the name that was noted. A zone, or a
// rack, is no node.
func (h home) placeOf(term v1.NodeSelectorTerm) string {
	for _, r := range term.MatchExpressions {
		if single(r) && (r.Key == v1.LabelHostname || slices.Contains(h.noted, r.Values[0])) {
			return r.Values[0]
		}
	}
	for _, r := range term.MatchFields {
		if single(r) && r.Key == metav1.ObjectNameField {
			return r.Values[0]
		}
	}
	return ""
}

func single(r v1.NodeSelectorRequirement) bool {
	return r.Operator == v1.NodeSelectorOpIn && len(r.Values) == 1 && r.Values[0] != ""
}

// census is the nodes, by every name they go by.
type census struct {
	nodes []*v1.Node
	names map[string]bool
	// nameless tells that a node lacks the label by which volumes know it.
	nameless bool
}

func newCensus(in Input) census {
	c := census{nodes: in.Nodes, names: map[string]bool{}}
	if len(in.Claims) == 0 {
		return c // nobody asks
	}
	for _, node := range in.Nodes {
		c.names[node.Name] = true
		hostname, labelled := node.Labels[v1.LabelHostname]
		c.names[hostname] = true
		c.nameless = c.nameless || !labelled
		for _, address := range node.Status.Addresses {
			if address.Type == v1.NodeHostName {
				c.names[address.Address] = true
			}
		}
	}
	return c
}

// without tells that the node of a home is gone for certain: a node that goes
// by a name of it, lost its labels or not, is there, and so is one that its
// affinity admits. Where nobody noted the node's name, each node without a
// hostname may be it.
func (c census) without(h home) bool {
	named := func(name string) bool { return c.names[name] }
	if c.names[h.place] || slices.ContainsFunc(h.noted, named) || (len(h.noted) == 0 && c.nameless) {
		return false
	}
	// Many nodes are asked only about volumes that are about to be called lost.
	selector, err := nodeaffinity.NewNodeSelector(h.affinity)
	return err == nil && !slices.ContainsFunc(c.nodes, selector.Match)
}

// reaches tells that a node is there which has the volume of a claim for certain.
func (c census) reaches(claim Claim) bool {
	if claim.Volume == nil || !bound(claim) {
		return false
	}
	affinity := claim.Volume.Spec.NodeAffinity
	if affinity == nil || affinity.Required == nil {
		return true
	}
	selector, err := nodeaffinity.NewNodeSelector(affinity.Required)
	return err == nil && slices.ContainsFunc(c.nodes, selector.Match)
}
