// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"iter"
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// JointLimit is how many nodes Joint writes into a new set, at most. The
// scheduler never looks for fewer than 100 feasible nodes, so up to there it
// would visit them all anyway; beyond, a set made for one pod costs more than
// refusing the nodes that are really visited.
const JointLimit = 100

// Nodes is an immutable set of node names. The zero value is empty.
type Nodes struct{ names sets.Set[string] }

// Len is how many nodes there are.
func (n Nodes) Len() int { return len(n.names) }

// Has tells whether the node is one of them.
func (n Nodes) Has(name string) bool { return n.names.Has(name) }

// All are the names, in no order.
func (n Nodes) All() iter.Seq[string] { return maps.Keys(n.names) }

// Shared is the set itself, for PreFilterResult, which the framework clones
// before it narrows it. It belongs to everyone and must never be written to.
// It is never nil, which the framework would take for all nodes.
func (n Nodes) Shared() sets.Set[string] {
	if n.names == nil {
		return sets.Set[string]{}
	}
	return n.names
}

// Nodes are the known nodes that reach the volume.
func (x *Index) Nodes(v *Volume) Nodes {
	if v == nil {
		v = x.everywhere
	}
	if nodes := v.nodes.Load(); nodes != nil {
		return *nodes
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if nodes := v.nodes.Load(); nodes != nil {
		return *nodes
	}
	if v.uses == 0 {
		return Nodes{names: x.scan(v)}
	}
	nodes := &Nodes{names: x.gather(v)}
	v.nodes.Store(nodes)
	return *nodes
}

// gather works the set of a known volume out, and leaves word where a change
// will be noticed: at the values of the most selective label of each term, or
// with every node if a term does not ask for values.
func (x *Index) gather(v *Volume) sets.Set[string] {
	anchors := make([]*requirement, len(v.terms))
	most := 0
	for i, t := range v.terms {
		if anchors[i] = x.anchor(t); anchors[i] == nil {
			x.loose.Insert(v)
			return x.scan(v)
		}
		most = max(most, x.carriers(anchors[i]))
	}
	names := make(sets.Set[string], most)
	for i, t := range v.terms {
		for _, value := range anchors[i].Values {
			p := x.keys[anchors[i].Key].place(value)
			p.volumes.Insert(v)
			v.places = append(v.places, p)
			for name := range p.nodes {
				if len(t) == 1 || t.metBy(x.nodes[name]) {
					names.Insert(name)
				}
			}
		}
	}
	return names
}

// anchor is the In requirement of the term that the fewest nodes meet, nil if
// there is none.
func (x *Index) anchor(t term) *requirement {
	var anchor *requirement
	fewest := 0
	for i := range t {
		if t[i].Operator != v1.NodeSelectorOpIn {
			continue
		}
		if n := x.carriers(&t[i]); anchor == nil || n < fewest {
			anchor, fewest = &t[i], n
		}
	}
	return anchor
}

// carriers is how many nodes carry one of the values of an In requirement.
func (x *Index) carriers(r *requirement) int {
	n := 0
	for _, value := range r.Values {
		if p, ok := x.keys[r.Key].places[value]; ok {
			n += len(p.nodes)
		}
	}
	return n
}

// scan asks every node.
func (x *Index) scan(v *Volume) sets.Set[string] {
	names := sets.New[string]()
	for name, labels := range x.nodes {
		if v.ReachedFrom(labels) {
			names.Insert(name)
		}
	}
	return names
}

// drop lets go of the set that stands, if one does.
func (x *Index) drop(v *Volume) {
	v.nodes.Store(nil)
	x.loose.Delete(v)
	for _, p := range v.places {
		p.volumes.Delete(v)
		p.tidy()
	}
	v.places = nil
}

// Joint are the nodes that reach all volumes, if that is known for less than
// it is worth: always when one set is the answer as it stands, else when no
// more than JointLimit nodes are left. Not known does not mean none: Filter
// has to judge each node with ReachedFrom.
func (x *Index) Joint(volumes []*Volume) (nodes Nodes, known bool) {
	var room [8]Nodes // so that the usual pod allocates nothing
	distinct := room[:0]
	smallest := 0
	for i, v := range volumes {
		if v == nil || slices.Contains(volumes[:i], v) {
			continue
		}
		distinct = append(distinct, x.Nodes(v))
		if last := len(distinct) - 1; distinct[last].Len() < distinct[smallest].Len() {
			smallest = last
		}
	}
	if len(distinct) == 0 {
		return x.Nodes(nil), true
	}
	few := distinct[smallest]
	if len(distinct) == 1 {
		return few, true
	}
	var names [JointLimit]string
	n := 0
next:
	for name := range few.names {
		for i, other := range distinct {
			if i != smallest && !other.Has(name) {
				continue next
			}
		}
		if n == len(names) {
			return Nodes{}, false
		}
		names[n] = name
		n++
	}
	if n == few.Len() {
		return few, true
	}
	return Nodes{names: sets.New(names[:n]...)}, true
}
