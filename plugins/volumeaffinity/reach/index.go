// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reach knows which nodes reach a volume. It judges as upstream's own
// volume check does, on the labels of a node and nothing else, and keeps the
// answers: what a node set costs is paid when a node that belongs to it comes,
// goes or is relabelled, not for every pod.
//
// Invariants:
//   - A set of nodes holds exactly the known nodes whose labels upstream's
//     check accepts, at a moment between the call and its return.
//   - A set that was handed out never changes. As long as its members stay the
//     same, every ask gives that very set, without a lock or an allocation.
//   - Volumes of the same affinity, written in any order, share one Volume;
//     what the index keeps for it goes with the last of them.
//   - The name of a node is never compared with a label.
package reach

import (
	"maps"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Index is the nodes of a cluster by the labels that volumes ask for. It is
// safe for concurrent use. Use NewIndex.
type Index struct {
	// mu guards all below. It is not needed to read a set that stands.
	mu    sync.RWMutex
	nodes map[string]map[string]string
	// keys are the label keys that a known volume asks for by In.
	keys map[string]*labelKey
	// known is the volumes by the name of the PersistentVolume.
	known map[string]known
	// distinct is the same volumes by their affinity.
	distinct map[string]*Volume
	// loose are those with a set that no label value can be made answerable
	// for: they are asked again about every node that changes.
	loose sets.Set[*Volume]
	// everywhere is the volume without an affinity.
	everywhere *Volume
}

// known is a volume and what it was read from.
type known struct {
	required *v1.NodeSelector
	volume   *Volume
}

// labelKey is a label key and how many distinct volumes ask for it.
type labelKey struct {
	uses   int
	places map[string]*place
}

// place is a label value: the nodes that carry it, and the volumes whose sets
// were gathered here, so that no node outside can enter or leave them.
type place struct {
	key     *labelKey
	value   string
	nodes   sets.Set[string]
	volumes sets.Set[*Volume]
}

// NewIndex returns an index that knows no node and no volume.
func NewIndex() *Index {
	return &Index{
		nodes:      map[string]map[string]string{},
		keys:       map[string]*labelKey{},
		known:      map[string]known{},
		distinct:   map[string]*Volume{},
		loose:      sets.New[*Volume](),
		everywhere: &Volume{where: anywhere, terms: []term{nil}, uses: 1},
	}
}

// SetNode makes the node known as it is now; nil forgets it. It tells whether
// the node came, went or was relabelled, and its labels before, nil if it was
// not known. The labels are kept, not copied, and must not be written to
// afterwards.
func (x *Index) SetNode(name string, node *v1.Node) (was map[string]string, changed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	before, had := x.nodes[name]
	if was = before; had && was == nil {
		was = map[string]string{}
	}
	if node == nil {
		if !had {
			return nil, false
		}
		delete(x.nodes, name)
		x.move(name, before, nil, func(v *Volume) bool { return v.ReachedFrom(before) })
		return was, true
	}
	now := node.Labels
	if had && maps.Equal(before, now) {
		return was, false
	}
	x.nodes[name] = now
	x.move(name, before, now, func(v *Volume) bool { return (had && v.ReachedFrom(before)) != v.ReachedFrom(now) })
	return was, true
}

// move takes a node from the places of its labels before to those of its
// labels now, and drops the sets of all volumes that it enters or leaves.
func (x *Index) move(name string, before, now map[string]string, concerns func(*Volume) bool) {
	review := func(volumes sets.Set[*Volume]) {
		for v := range volumes {
			if concerns(v) {
				x.drop(v)
			}
		}
	}
	review(x.loose)
	for key, value := range before {
		k, asked := x.keys[key]
		if !asked {
			continue
		}
		p := k.place(value)
		if is, has := now[key]; !has || is != value {
			p.nodes.Delete(name)
		}
		review(p.volumes)
		p.tidy()
	}
	for key, value := range now {
		k, asked := x.keys[key]
		if !asked {
			continue
		}
		p := k.place(value)
		p.nodes.Insert(name)
		review(p.volumes)
	}
}

// Volume returns where the volume can be reached from, or nil if it is
// reached from everywhere. It is read once: as long as pv holds the very same
// affinity object, the answer is found by name.
func (x *Index) Volume(pv *v1.PersistentVolume) *Volume {
	var required *v1.NodeSelector
	if pv.Spec.NodeAffinity != nil {
		required = pv.Spec.NodeAffinity.Required
	}
	x.mu.RLock()
	k := x.known[pv.Name]
	x.mu.RUnlock()
	if k.required == required {
		return k.volume
	}
	if required == nil {
		x.ForgetVolume(pv.Name)
		return nil
	}

	where := textOf(required)
	x.mu.Lock()
	defer x.mu.Unlock()
	v, ok := x.distinct[where]
	if !ok {
		v = newVolume(where, required)
		x.distinct[where] = v
		x.watch(v)
	}
	v.uses++
	x.release(x.known[pv.Name].volume)
	x.known[pv.Name] = known{required: required, volume: v}
	return v
}

// ForgetVolume lets go of the volume of that name. A Volume still in
// someone's hand keeps answering rightly, only slowly.
func (x *Index) ForgetVolume(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.release(x.known[name].volume)
	delete(x.known, name)
}

// release ends one use of the volume, and with the last one all that is kept
// for it.
func (x *Index) release(v *Volume) {
	if v == nil {
		return
	}
	if v.uses--; v.uses > 0 {
		return
	}
	x.drop(v)
	delete(x.distinct, v.where)
	for key := range v.inKeys() {
		if k := x.keys[key]; k.uses > 1 {
			k.uses--
		} else {
			delete(x.keys, key)
		}
	}
}

// watch makes sure that the nodes are known by the keys the volume asks for.
func (x *Index) watch(v *Volume) {
	for key := range v.inKeys() {
		k, ok := x.keys[key]
		if !ok {
			k = &labelKey{places: map[string]*place{}}
			x.keys[key] = k
			for name, labels := range x.nodes {
				if value, has := labels[key]; has {
					k.place(value).nodes.Insert(name)
				}
			}
		}
		k.uses++
	}
}

// place returns the place of a value, a new one if there is none.
func (k *labelKey) place(value string) *place {
	p, ok := k.places[value]
	if !ok {
		p = &place{key: k, value: value, nodes: sets.New[string](), volumes: sets.New[*Volume]()}
		k.places[value] = p
	}
	return p
}

// tidy removes a place that nothing hangs on.
func (p *place) tidy() {
	if len(p.nodes) == 0 && len(p.volumes) == 0 {
		delete(p.key.places, p.value)
	}
}
