// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
)

// toy is a Simulator of cpu, memory and node selectors, whose state is copied
// at every Fork so that a forgotten undo cannot hide.
type toy struct {
	toyState
	saved []toyState
	// fail, when set, is asked before every Place.
	fail func(pod *v1.Pod) error
	// leaving is what is free of nodes on their way out, which take pods once they are shown without their taint.
	leaving map[string]capacity
	// asked counts the calls of Place.
	asked int
}

type toyState struct {
	nodes  []toyNode
	placed map[string]string // pod to node
}

type toyNode struct {
	object *v1.Node
	free   capacity
	added  bool
}

func newToy(in Input) *toy {
	t := &toy{toyState: toyState{placed: map[string]string{}}, leaving: map[string]capacity{}}
	for _, n := range in.Nodes {
		free := capacityOf(n.Object)
		for _, pod := range n.Pods {
			if !Expendable(pod, in.Config.ExpendablePriority) {
				free = free.minus(needsOf(pod))
			}
		}
		if state := stateIn(n.Object, in); state != ready {
			if state == leaving {
				t.leaving[n.Object.Name] = free
			}
			continue
		}
		t.nodes = append(t.nodes, toyNode{object: n.Object, free: free})
	}
	return t
}

func within(c, d capacity) bool { return c.cpu <= d.cpu && c.memory <= d.memory }

func stateIn(n *v1.Node, in Input) state {
	return newPlanner(Input{Now: in.Now, Config: in.Config, History: in.History}, nil).stateOf(n, in.Config.MaxNodeProvisionTime)
}

func (s toyState) copied() toyState {
	copied := toyState{nodes: append([]toyNode(nil), s.nodes...), placed: map[string]string{}}
	for k, v := range s.placed {
		copied.placed[k] = v
	}
	return copied
}

func (t *toy) Fork() { t.saved = append(t.saved, t.copied()) }

func (t *toy) Revert() {
	last := len(t.saved) - 1
	t.toyState, t.saved = t.saved[last], t.saved[:last]
}

func (t *toy) AddNode(n *v1.Node) error {
	for _, known := range t.nodes {
		if known.object.Name == n.Name {
			return fmt.Errorf("node %s was added twice", n.Name)
		}
	}
	if free, present := t.leaving[n.Name]; present {
		t.nodes = append(t.nodes, toyNode{object: n, free: free, added: true})
		return nil
	}
	t.nodes = append(t.nodes, toyNode{object: n, free: capacityOf(n), added: true})
	return nil
}

func (t *toy) RemovePod(pod *v1.Pod) error {
	for i := range t.nodes {
		if n := &t.nodes[i]; n.object.Name == pod.Spec.NodeName {
			n.free = n.free.plus(needsOf(pod))
		}
	}
	delete(t.placed, pod.Name)
	return nil
}

func (t *toy) RemoveNode(name string) error {
	t.nodes = slices.DeleteFunc(slices.Clone(t.nodes), func(n toyNode) bool { return n.object.Name == name })
	return nil
}

func (t *toy) AddTemplate(n *v1.Node, _ map[string]int32, _ map[string]resource.Quantity) error {
	return t.AddNode(n)
}

func (t *toy) Room(node string) v1.ResourceList {
	for _, n := range t.nodes {
		if n.object.Name == node {
			return v1.ResourceList{
				v1.ResourceCPU:    *resource.NewMilliQuantity(n.free.cpu, resource.DecimalSI),
				v1.ResourceMemory: *resource.NewQuantity(n.free.memory, resource.BinarySI),
			}
		}
	}
	return nil
}

func (t *toy) Place(pod *v1.Pod, among ...string) (string, []string, error) {
	t.asked++
	if t.fail != nil {
		if err := t.fail(pod); err != nil {
			return "", nil, err
		}
	}
	refusals := map[string]int{}
	for i := range t.nodes {
		n := &t.nodes[i]
		if len(among) > 0 && !slices.Contains(among, n.object.Name) {
			continue
		}
		switch {
		case !labels.SelectorFromSet(pod.Spec.NodeSelector).Matches(labels.Set(n.object.Labels)):
			refusals["wrong label"]++
		case !within(needsOf(pod), n.free):
			refusals["Insufficient cpu"]++
		default:
			n.free = n.free.minus(needsOf(pod))
			t.placed[pod.Name] = n.object.Name
			return n.object.Name, nil, nil
		}
	}
	var reasons []string
	for _, reason := range []string{"Insufficient cpu", "wrong label"} {
		if refusals[reason] > 0 {
			reasons = append(reasons, fmt.Sprintf("%d %s", refusals[reason], reason))
		}
	}
	return "", reasons, nil
}
