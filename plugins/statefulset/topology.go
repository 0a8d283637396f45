// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// DrainTaint is the taint of nodes that an autoscaler is about to remove.
const DrainTaint = "ToBeDeletedByClusterAutoscaler"

// PassingTaint tells taints that describe a state that passes: cordoned, not
// ready, being initialised by its cloud, being drained by an autoscaler. A
// domain does not leave the plan because its nodes are rebooting.
func PassingTaint(key string) bool {
	return strings.HasPrefix(key, "node.kubernetes.io/") ||
		strings.HasPrefix(key, "node.cloudprovider.kubernetes.io/") ||
		key == DrainTaint
}

// topologyChanged tells whether two states of a node can give two plans:
// labels, lasting taints and readiness can, the rest of a node never does. A
// nil node is one that is not there.
func topologyChanged(before, after *corev1.Node) bool {
	return arrangementChanged(before, after) || readySince(before) != readySince(after)
}

// arrangementChanged is topologyChanged without readiness, which matters only
// where domains can be lost.
func arrangementChanged(before, after *corev1.Node) bool {
	if before == nil || after == nil {
		return before != after
	}
	return !maps.Equal(before.Labels, after.Labels) ||
		!slices.EqualFunc(before.Spec.Taints, after.Spec.Taints, func(a, b corev1.Taint) bool {
			return a.Key == b.Key && a.Value == b.Value && a.Effect == b.Effect
		})
}

// relabelled tells whether two states of a node can reach other volumes.
func relabelled(before, after *corev1.Node) bool {
	return before == nil || after == nil || !maps.Equal(before.Labels, after.Labels)
}

// readiness is whether a node is ready, and if not, since when.
type readiness struct {
	ready bool
	since time.Time
}

func readySince(node *corev1.Node) readiness {
	if node == nil {
		return readiness{}
	}
	for i := range node.Status.Conditions {
		if c := &node.Status.Conditions[i]; c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				return readiness{ready: true}
			}
			return readiness{since: c.LastTransitionTime.Time}
		}
	}
	return readiness{since: node.CreationTimestamp.Time}
}

// label is a node label with its value.
type label struct{ key, value string }

// topology is the nodes, arranged for the planner. The index of a label is made
// when first asked for and follows the nodes from then on. It is guarded by the
// planner's lock.
type topology struct {
	byName  map[string]*corev1.Node
	byLabel map[string]map[string]map[string]*corev1.Node // key, value, name
}

func newTopology(nodes []*corev1.Node) *topology {
	t := &topology{
		byName:  make(map[string]*corev1.Node, len(nodes)),
		byLabel: map[string]map[string]map[string]*corev1.Node{},
	}
	for _, node := range nodes {
		t.byName[node.Name] = node
	}
	return t
}

// replace puts a node in the place of what was known under its name; nil
// removes it.
func (t *topology) replace(name string, node *corev1.Node) {
	if before := t.byName[name]; before != nil {
		for key, index := range t.byLabel {
			if value, has := before.Labels[key]; has {
				if delete(index[value], name); len(index[value]) == 0 {
					delete(index, value)
				}
			}
		}
	}
	if node == nil {
		delete(t.byName, name)
		return
	}
	t.byName[name] = node
	for key, index := range t.byLabel {
		enter(index, key, node)
	}
}

func enter(index map[string]map[string]*corev1.Node, key string, node *corev1.Node) {
	value, has := node.Labels[key]
	if !has {
		return
	}
	if index[value] == nil {
		index[value] = map[string]*corev1.Node{}
	}
	index[value][node.Name] = node
}

// labelled returns the nodes by the values of a label.
func (t *topology) labelled(key string) map[string]map[string]*corev1.Node {
	index, made := t.byLabel[key]
	if !made {
		index = map[string]map[string]*corev1.Node{}
		for _, node := range t.byName {
			enter(index, key, node)
		}
		t.byLabel[key] = index
	}
	return index
}

// domainOf returns the value of key on a node, empty if there is none.
func (t *topology) domainOf(node, key string) string {
	if n := t.byName[node]; n != nil {
		return n.Labels[key]
	}
	return ""
}

// domains returns the values of key on the nodes that suit, sorted.
func (t *topology) domains(key string, suits func(*corev1.Node) bool) []string {
	var found []string
	for value := range t.labelled(key) {
		if value != "" && t.has(label{key, value}, suits) {
			found = append(found, value)
		}
	}
	slices.Sort(found)
	return found
}

// has tells whether a node with the label suits.
func (t *topology) has(l label, suits func(*corev1.Node) bool) bool {
	for _, node := range t.labelled(l.key)[l.value] {
		if suits(node) {
			return true
		}
	}
	return false
}

// unready tells whether no node with the label is ready, and since when that
// is so. Without any node since is zero.
func (t *topology) unready(l label) (since time.Time, unready bool) {
	for _, node := range t.labelled(l.key)[l.value] {
		r := readySince(node)
		if r.ready {
			return time.Time{}, false
		}
		if r.since.After(since) {
			since = r.since
		}
	}
	return since, true
}

// reach returns the values of key that a volume can be reached from, sorted;
// none for a volume that may be reached from anywhere, or from no node that
// exists. It also tells whether nodes had to be asked: whether another node
// can change the answer.
func (t *topology) reach(volume *corev1.PersistentVolume, key string, reaches func(*corev1.PersistentVolume, *corev1.Node) bool) (domains []string, asked bool) {
	if volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return nil, false
	}
	named, narrow := namedBy(volume, key)
	if len(named) == 1 {
		return named, false
	}
	found := map[string]struct{}{}
	look := func(nodes map[string]*corev1.Node) {
		for _, node := range nodes {
			domain := node.Labels[key]
			if _, known := found[domain]; !known && domain != "" && reaches(volume, node) {
				found[domain] = struct{}{}
			}
		}
	}
	switch {
	case narrow != nil:
		for _, value := range narrow.Values {
			look(t.labelled(narrow.Key)[value])
		}
	case named != nil:
		for _, domain := range named { // its nodes mostly reach it, and the first is enough
			if t.has(label{key, domain}, func(node *corev1.Node) bool { return reaches(volume, node) }) {
				found[domain] = struct{}{}
			}
		}
	default:
		look(t.byName)
	}
	if len(found) == 0 {
		return named, true // no such node exists today, but the volume says where it would be
	}
	return slices.Sorted(maps.Keys(found)), true
}

// namedBy returns the values of key that a volume's node affinity names,
// sorted, and the requirement by which its nodes are found quickest, both nil
// if it has none.
func namedBy(volume *corev1.PersistentVolume, key string) (named []string, narrow *corev1.NodeSelectorRequirement) {
	terms := volume.Spec.NodeAffinity.Required.NodeSelectorTerms
	if len(terms) != 1 {
		return nil, nil
	}
	for i := range terms[0].MatchExpressions {
		requirement := &terms[0].MatchExpressions[i]
		if requirement.Operator != corev1.NodeSelectorOpIn {
			continue
		}
		if requirement.Key == key {
			named = slices.Sorted(slices.Values(requirement.Values))
		} else if narrow == nil || requirement.Key == corev1.LabelHostname {
			narrow = requirement
		}
	}
	return named, narrow
}

// only returns the one node that reaches a volume, empty if none or more do.
func (t *topology) only(volume *corev1.PersistentVolume, reaches func(*corev1.PersistentVolume, *corev1.Node) bool) (found string) {
	for name := range t.reaching(volume, reaches) {
		if found != "" && name != found {
			return ""
		}
		found = name
	}
	return found
}

// reaching yields the nodes that reach a volume, some perhaps twice.
func (t *topology) reaching(volume *corev1.PersistentVolume, reaches func(*corev1.PersistentVolume, *corev1.Node) bool) iter.Seq[string] {
	return func(yield func(string) bool) {
		among := func(nodes map[string]*corev1.Node) bool {
			for name, node := range nodes {
				if reaches(volume, node) && !yield(name) {
					return false
				}
			}
			return true
		}
		_, narrow := namedBy(volume, "")
		if narrow == nil {
			among(t.byName)
			return
		}
		for _, value := range narrow.Values {
			if !among(t.labelled(narrow.Key)[value]) {
				return
			}
		}
	}
}
