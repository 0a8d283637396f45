// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/nodes"
)

// notebook is a simulation that notes where pods went.
type notebook struct {
	Simulation
	// marks are the notes as they were at each fork, final those of when the outermost was reverted.
	marks []map[types.NamespacedName]string
	now   map[types.NamespacedName]string
	final map[types.NamespacedName]string

	groupOf  map[string]string // of present nodes
	upcoming map[string]bool
	groups   []nodes.Group
}

func newNotebook(in nodes.Input) *notebook {
	n := &notebook{now: map[types.NamespacedName]string{}, groupOf: map[string]string{}, upcoming: map[string]bool{}, groups: slices.Clone(in.Groups)}
	slices.SortFunc(n.groups, func(a, b nodes.Group) int { return cmp.Compare(len(b.Name), len(a.Name)) })
	for _, node := range in.Nodes {
		n.groupOf[node.Object.Name] = node.Group
	}
	for _, node := range nodes.Upcoming(in) {
		n.upcoming[node.Name] = true
	}
	return n
}

func (n *notebook) Fork() {
	n.marks = append(n.marks, maps.Clone(n.now))
	n.Simulation.Fork()
}

func (n *notebook) Revert() {
	if n.final = n.now; len(n.marks) > 0 {
		n.now, n.marks = n.marks[len(n.marks)-1], n.marks[:len(n.marks)-1]
	}
	n.Simulation.Revert()
}

func (n *notebook) Place(pod *corev1.Pod, among ...string) (string, []string, error) {
	node, reasons, err := n.Simulation.Place(pod, among...)
	if node != "" {
		n.now[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = node
	}
	return node, reasons, err
}

// describe tells of a node of the simulation whether it is there, on its way, or new, and its group.
func (n *notebook) describe(node string) (name, group string, upcoming, added bool) {
	if group, present := n.groupOf[node]; present {
		return node, group, n.upcoming[node], false
	}
	for _, g := range n.groups { // the longest names first: one may begin with another
		if rest, ok := strings.CutPrefix(node, g.Name+"-"); ok && (strings.HasPrefix(rest, "new-") || strings.HasPrefix(rest, "awaited-")) {
			return "", g.Name, n.upcoming[node], !n.upcoming[node]
		}
	}
	return node, "", n.upcoming[node], !n.upcoming[node]
}

// nth numbers a node that is not there yet among those of its group; 0 for others.
func (n *notebook) nth(node string) int {
	name, group, upcoming, _ := n.describe(node)
	if name != "" {
		return 0
	}
	seen := map[string]bool{}
	for _, other := range n.final {
		if name, of, way, _ := n.describe(other); name == "" && of == group && way == upcoming {
			seen[other] = true
		}
	}
	inOrder := slices.SortedFunc(maps.Keys(seen), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return slices.Index(inOrder, node) + 1
}
