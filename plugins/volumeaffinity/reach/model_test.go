// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/component-helpers/storage/volume"
)

// world is an index beside a model that asks upstream about every node.
type world struct {
	t     *testing.T
	dice  dice
	index *Index

	nodes   map[string]*v1.Node
	volumes map[string]*Volume // as the index knows them now
	held    []*holding         // those handed out, some of them forgotten since
}

// holding is a volume in someone's hand.
type holding struct {
	volume *Volume
	pv     *v1.PersistentVolume
	lost   bool              // no longer known to the index
	want   sets.Set[string]  // what upstream says now
	nodes  *Nodes            // the last answer, nil once upstream said something else
	copy   map[string]string // what it held when it was given
}

func newWorld(t *testing.T, d dice) *world {
	w := &world{t: t, dice: d, index: NewIndex(), nodes: map[string]*v1.Node{}, volumes: map[string]*Volume{}}
	w.hold(nil, &v1.PersistentVolume{})
	return w
}

func (w *world) step() {
	switch pv, node := fmt.Sprint("pv", w.dice.pick(5)), fmt.Sprint("n", w.dice.pick(6)); w.dice.pick(8) {
	case 0, 1:
		w.setNode(node, w.labels())
	case 2, 3:
		if was, ok := w.nodes[node]; ok {
			labels := maps.Clone(was.Labels)
			labels[keys[w.dice.pick(len(keys))]] = values[w.dice.pick(len(values))]
			w.setNode(node, labels)
		}
	case 4:
		_, known := w.nodes[node]
		delete(w.nodes, node)
		if _, changed := w.index.SetNode(node, nil); changed != known {
			w.t.Fatalf("SetNode(%s, nil) = %v, known %v", node, changed, known)
		}
	case 5, 6:
		w.setVolume(&v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: pv}, Spec: v1.PersistentVolumeSpec{NodeAffinity: w.affinity()}})
	case 7:
		w.index.ForgetVolume(pv)
		delete(w.volumes, pv)
	}
	w.learn()
	w.check()
}

func (w *world) setNode(name string, labels map[string]string) {
	was, known := w.nodes[name]
	want := !known || !maps.Equal(was.Labels, labels)
	w.nodes[name] = &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, changed := w.index.SetNode(name, w.nodes[name]); changed != want {
		w.t.Fatalf("SetNode(%s, %v) = %v, want %v", name, labels, changed, want)
	}
}

func (w *world) setVolume(pv *v1.PersistentVolume) {
	v := w.index.Volume(pv)
	if again := w.index.Volume(pv); again != v {
		w.t.Fatalf("the same affinity was read twice: %v", pv.Spec.NodeAffinity)
	}
	if updated := w.index.Volume(pv.DeepCopy()); updated != v {
		w.t.Fatalf("an update that leaves the affinity made a new volume: %v", pv.Spec.NodeAffinity)
	}
	delete(w.volumes, pv.Name)
	if v != nil {
		w.volumes[pv.Name] = v
	}
	for _, node := range w.nodes {
		if got, err := v.ReachedFrom(node.Labels), volume.CheckNodeAffinity(pv, node.Labels); got != (err == nil) {
			w.t.Fatalf("ReachedFrom(%v) = %v, upstream says %v\naffinity %v, shared as %s", node.Labels, got, err, pv.Spec.NodeAffinity, v.Where())
		}
	}
	w.hold(v, pv)
}

func (w *world) hold(v *Volume, pv *v1.PersistentVolume) {
	if slices.ContainsFunc(w.held, func(h *holding) bool { return h.volume == v }) {
		return
	}
	if i := slices.IndexFunc(w.held, func(h *holding) bool { return h.lost }); i > 0 && len(w.held) > 8 {
		w.held = slices.Delete(w.held, i, i+1)
	}
	w.held = append(w.held, &holding{volume: v, pv: pv})
}

// learn asks upstream about every node and every volume in hand.
func (w *world) learn() {
	for _, h := range w.held {
		want := sets.New[string]()
		for name, node := range w.nodes {
			if volume.CheckNodeAffinity(h.pv, node.Labels) == nil {
				want.Insert(name)
			}
		}
		known := slices.Contains(slices.Collect(maps.Values(w.volumes)), h.volume)
		h.lost = h.volume != nil && !known
		if h.lost || !want.Equal(h.want) {
			h.intact(w.t)
			h.nodes = nil
		}
		h.want = want
	}
}

// check asks the index about some volumes in hand, so that some sets stand
// through changes and others do not.
func (w *world) check() {
	for _, h := range w.held {
		if w.dice.pick(3) == 0 {
			continue
		}
		got := w.index.Nodes(h.volume)
		if diff := cmp.Diff(sets.List(h.want), sets.List(got.Shared())); diff != "" {
			w.t.Fatalf("nodes that reach %s (-want +got):\n%s", h.volume.Where(), diff)
		}
		if h.nodes != nil && !same(*h.nodes, got) {
			w.t.Fatalf("the members are the same, the set of %s is another", h.volume.Where())
		}
		h.intact(w.t)
		if h.nodes == nil && !h.lost {
			h.nodes, h.copy = &got, map[string]string{}
			for name := range got.All() {
				h.copy[name] = name
			}
		}
		if diff := cmp.Diff(w.gaps(h), w.index.Missing(h.volume)); diff != "" {
			w.t.Fatalf("what %s misses (-want +got):\n%s", h.volume.Where(), diff)
		}
	}
	w.checkJoint()
	w.audit()
}

// intact fails if the set that was handed out has been written to since.
func (h *holding) intact(t *testing.T) {
	if h.nodes == nil {
		return
	}
	if want, got := slices.Sorted(maps.Keys(h.copy)), slices.Sorted(h.nodes.All()); !slices.Equal(want, got) {
		t.Fatalf("the set of %s was %v when handed out and is %v", h.volume.Where(), want, got)
	}
}

func (w *world) checkJoint() {
	var volumes []*Volume
	want := sets.KeySet(w.nodes)
	for range w.dice.pick(5) {
		h := w.held[w.dice.pick(len(w.held))]
		volumes = append(volumes, h.volume)
		want = want.Intersection(h.want)
	}
	got, known := w.index.Joint(volumes)
	if !known || got.Shared() == nil {
		w.t.Fatalf("Joint of so few nodes is known %v, %v", known, got)
	}
	if diff := cmp.Diff(sets.List(want), sets.List(got.Shared())); diff != "" {
		w.t.Fatalf("joint nodes (-want +got):\n%s", diff)
	}
}

// gaps is what Missing should say, found by asking upstream about each
// requirement alone.
func (w *world) gaps(h *holding) []Gap {
	if len(h.want) > 0 || h.volume == nil {
		return nil
	}
	var gaps []Gap
	for _, t := range h.pv.Spec.NodeAffinity.Required.NodeSelectorTerms {
		if _, err := nodeaffinity.NewNodeSelector(&v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{t}}); err != nil || len(t.MatchExpressions)+len(t.MatchFields) == 0 {
			continue
		}
		i := slices.IndexFunc(t.MatchExpressions, func(r v1.NodeSelectorRequirement) bool {
			alone := &v1.PersistentVolume{Spec: v1.PersistentVolumeSpec{NodeAffinity: required(v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{r}})}}
			for _, node := range w.nodes {
				if volume.CheckNodeAffinity(alone, node.Labels) == nil {
					return false
				}
			}
			return true
		})
		if i < 0 {
			return nil
		}
		r := t.MatchExpressions[i]
		found := false
		for _, node := range w.nodes {
			_, has := node.Labels[r.Key]
			found = found || has
		}
		gaps = append(gaps, Gap{NodeSelectorRequirement: r, KeyFound: found})
	}
	return gaps
}

// audit looks inside: what the index keeps is what its nodes and volumes need.
func (w *world) audit() {
	x := w.index
	keys := sets.New[string]()
	for _, v := range x.distinct {
		keys = keys.Union(sets.New(slices.Collect(v.inKeys())...))
	}
	if diff := cmp.Diff(sets.List(keys), sets.List(sets.KeySet(x.keys))); diff != "" {
		w.t.Fatalf("label keys of %d volumes (-want +got):\n%s", len(x.distinct), diff)
	}
	if distinct := sets.New(slices.Collect(maps.Values(w.volumes))...); len(distinct) != len(x.distinct) || len(w.volumes) != len(x.known) {
		w.t.Fatalf("%d distinct volumes of %d are kept, want %d of %d", len(x.distinct), len(x.known), len(distinct), len(w.volumes))
	}
	for v := range x.loose {
		if v.uses == 0 || v.nodes.Load() == nil {
			w.t.Fatalf("no set of %s stands, yet nodes are watched for it", v.where)
		}
	}
	for key, k := range x.keys {
		for value, p := range k.places {
			if len(p.nodes) == 0 && len(p.volumes) == 0 {
				w.t.Fatalf("nothing hangs on %s=%s", key, value)
			}
			for v := range p.volumes {
				if v.uses == 0 || v.nodes.Load() == nil {
					w.t.Fatalf("no set of %s stands, yet %s=%s is watched for it", v.where, key, value)
				}
			}
		}
	}
}

// end forgets everything and looks whether anything stayed.
func (w *world) end() {
	for name := range w.volumes {
		w.index.ForgetVolume(name)
	}
	for name := range w.nodes {
		w.index.SetNode(name, nil)
	}
	if x := w.index; len(x.known)+len(x.distinct)+len(x.keys)+len(x.nodes) > 0 || x.loose.Delete(x.everywhere).Len() > 0 {
		w.t.Fatalf("left behind: volumes %v %v, keys %v, nodes %v, loose %v", x.known, x.distinct, x.keys, x.nodes, x.loose)
	}
}

// same tells whether two sets are one in memory.
func same(a, b Nodes) bool {
	return reflect.ValueOf(a.names).Pointer() == reflect.ValueOf(b.names).Pointer()
}
