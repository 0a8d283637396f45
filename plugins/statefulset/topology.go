// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// PassingTaint tells taints that describe a state that passes: cordoned, not
// ready, being initialised by its cloud, being drained by an autoscaler. A
// domain does not leave the plan because its nodes are rebooting.
func PassingTaint(key string) bool {
	return strings.HasPrefix(key, "node.kubernetes.io/") ||
		strings.HasPrefix(key, "node.cloudprovider.kubernetes.io/") ||
		key == "ToBeDeletedByClusterAutoscaler"
}

// topologyChanged tells whether two states of a node can give two plans: labels
// and lasting taints can, the rest of a node never does. A nil node is one that
// is not there.
func topologyChanged(before, after *corev1.Node) bool {
	if before == nil || after == nil {
		return before != after
	}
	return !maps.Equal(before.Labels, after.Labels) ||
		!slices.EqualFunc(before.Spec.Taints, after.Spec.Taints, func(a, b corev1.Taint) bool {
			return a.Key == b.Key && a.Value == b.Value && a.Effect == b.Effect
		})
}

// topology is the nodes at one moment, arranged for the planner. Its parts are
// made when first asked for, under the planner's lock.
type topology struct {
	nodes   []*corev1.Node
	byName  map[string]*corev1.Node
	byLabel map[string]map[string][]*corev1.Node
}

func newTopology(nodes []*corev1.Node) *topology {
	t := &topology{
		nodes:   nodes,
		byName:  make(map[string]*corev1.Node, len(nodes)),
		byLabel: map[string]map[string][]*corev1.Node{},
	}
	for _, node := range nodes {
		t.byName[node.Name] = node
	}
	return t
}

// domainOf returns the value of key on a node, empty if there is none.
func (t *topology) domainOf(node, key string) string {
	if n := t.byName[node]; n != nil {
		return n.Labels[key]
	}
	return ""
}

// labelled returns the nodes where label key has one of values.
func (t *topology) labelled(key string, values []string) []*corev1.Node {
	index, made := t.byLabel[key]
	if !made {
		index = map[string][]*corev1.Node{}
		for _, node := range t.nodes {
			if value, has := node.Labels[key]; has {
				index[value] = append(index[value], node)
			}
		}
		t.byLabel[key] = index
	}
	if len(values) == 1 {
		return index[values[0]]
	}
	var nodes []*corev1.Node
	for _, value := range values {
		nodes = append(nodes, index[value]...)
	}
	return nodes
}

// domains returns the values of key on the usable nodes, sorted.
func domains(nodes []*corev1.Node, key string, usable func(*corev1.Node) bool) []string {
	found := map[string]struct{}{}
	for _, node := range nodes {
		domain := node.Labels[key]
		if domain == "" {
			continue
		}
		if _, known := found[domain]; !known && usable(node) {
			found[domain] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// reach returns the values of key that a volume can be reached from, sorted;
// none for a volume that may be reached from anywhere, or from no node that
// exists.
func (t *topology) reach(volume *corev1.PersistentVolume, key string, reaches func(*corev1.PersistentVolume, *corev1.Node) bool) []string {
	if volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return nil
	}
	terms := volume.Spec.NodeAffinity.Required.NodeSelectorTerms
	nodes := t.nodes
	var named []string
	if len(terms) == 1 {
		for _, requirement := range terms[0].MatchExpressions {
			if requirement.Operator != corev1.NodeSelectorOpIn {
				continue
			}
			if requirement.Key == key {
				named = slices.Sorted(slices.Values(requirement.Values))
			}
			if found := t.labelled(requirement.Key, requirement.Values); len(found) < len(nodes) {
				nodes = found
			}
		}
	}
	if len(named) == 1 {
		return named
	}
	reached := domains(nodes, key, func(node *corev1.Node) bool { return reaches(volume, node) })
	if len(reached) == 0 {
		return named // no such node exists today, but the volume says where it would be
	}
	return reached
}
