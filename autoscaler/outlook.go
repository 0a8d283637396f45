// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/plugins/policies"
)

// Outlook tells what a conductor would make of a change that nobody has made:
// by the same forecast, simulation and node decision, and without a write. It is used once.
type Outlook struct {
	conductor *Conductor
	simulate  Simulate
	// prepare makes the change in the simulation, notes are what became of the questions.
	prepare func(Simulation) error
	notes   *notebook
}

// NewOutlook returns an outlook. The provider tells of node groups and is asked for nothing else. Past is what is known
// of failures.
func NewOutlook(c *config.Autoscaler, reader *observe.Reader, book *policies.Book, simulate Simulate, provider cloud.Provider, past nodes.History) *Outlook {
	o := &Outlook{simulate: simulate, prepare: func(Simulation) error { return nil }}
	o.conductor = New(c, Parts{Reader: reader, Policies: book, Simulate: o.begin, Nodes: &NodeParts{Provider: provider}}, func() {})
	o.conductor.history.nodes.engine = past
	return o
}

// Prospect is what would become of a change.
type Prospect struct {
	// Replicas is how many the workload asks for now.
	Replicas int
	// Pods are those that the change is about, and where each would go.
	Pods []Place
	// Held are pods that would not come, and why.
	Held []forecast.Held
	// Going are pods that would end.
	Going []*corev1.Pod
	// Fewer is how many pods would end of which nobody knows which.
	Fewer int
	// Decision is what would be done about nodes, for the pods and for all others that wait or are about to come.
	Decision nodes.Decision
	// Kept says, of a drain, why Berth would not remove the node by itself.
	Kept []string
}

// Place is where a pod would go.
type Place struct {
	Pod *corev1.Pod
	// Exists tells that the pod is there, and waits or moves.
	Exists bool
	// Node is where it would go; empty where it would wait. A node that is not there yet has no name: New tells that it
	// would be added, Upcoming that it is on its way.
	Node          string
	New, Upcoming bool
	// Group is that of the node.
	Group string
	// Nth numbers the new nodes of a group, and those on their way, from 1.
	Nth int
	// Reasons are those of the present nodes why the pod would wait, Groups those of node groups.
	Reasons, Groups []string
	// Fate is what a drain would make of a pod, and Why says why it is not simply moved: Later, if that is only because
	// of others that move.
	Fate  drain.Fate
	Why   string
	Later bool
}

// decide asks the engine. Present and pods are what there is, remaining the pods that are left.
func (o *Outlook) decide(ctx context.Context, present []*corev1.Node, pods, remaining []*corev1.Pod, change func(*nodes.Input), future forecast.Decision) (nodes.Decision, error) {
	c := o.conductor
	in, _, err := c.observeNodes(ctx, present, remaining)
	if err != nil {
		return nodes.Decision{}, err
	}
	left := map[types.UID]bool{}
	for _, pod := range remaining {
		left[pod.UID] = true
	}
	in.Pending = slices.DeleteFunc(in.Pending, func(pod *corev1.Pod) bool { return !left[pod.UID] })
	if change != nil {
		change(&in)
	}
	o.notes = newNotebook(in)
	return c.placeNodes(ctx, in, present, pods, future)
}

// begin is the simulation that the conductor gets: the one with the change, which is noted down.
func (o *Outlook) begin(ctx context.Context, present []*corev1.Node, pods []*corev1.Pod) (Simulation, error) {
	s, err := o.simulate(ctx, present, pods)
	if err != nil {
		return nil, err
	}
	if err := o.prepare(s); err != nil {
		s.Close()
		return nil, err
	}
	o.notes.Simulation = s
	return o.notes, nil
}

// place is where a pod went.
func (o *Outlook) place(pod *corev1.Pod, exists bool, d nodes.Decision) Place {
	name := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	place := Place{Pod: pod, Exists: exists}
	if node := o.notes.final[name]; node != "" {
		place.Node, place.Group, place.Upcoming, place.New = o.notes.describe(node)
		place.Nth = o.notes.nth(node)
		return place
	}
	if i := slices.IndexFunc(d.Unhelped, func(u nodes.Unhelped) bool { return u.Pod == name }); i >= 0 {
		place.Reasons, place.Groups = d.Unhelped[i].Present, d.Unhelped[i].Groups
	}
	if len(place.Reasons)+len(place.Groups) == 0 {
		place.Reasons = []string{cmp.Or(d.Blocked, d.Incomplete, o.conductor.behind(pod, d.Unhelped), "nobody was asked for a place for it")}
	}
	return place
}
