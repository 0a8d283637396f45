// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "fmt"

// whatIfReport is what would become of a change. As with the other reports,
// names of fields stay as they are, and fields may be added.
type whatIfReport struct {
	Change changeReport `json:"change"`
	// BerthActs is what the autoscaler does about nodes; absent where that is not known.
	BerthActs string `json:"berthActs,omitempty"`
	// Pods are those that would come, wait or move, and where to.
	Pods []placeReport `json:"pods,omitempty"`
	// Held are pods that would not come.
	Held []heldReport `json:"held,omitempty"`
	// Going are the pods that would end, Fewer is how many would of which nobody knows which.
	Going []string `json:"going,omitempty"`
	Fewer int      `json:"fewer,omitempty"`
	// Groups are the node groups that would grow, for these pods and all others that wait or are about to come.
	Groups []growthReport `json:"groups,omitempty"`
	// Node is, of a drain, what the autoscaler says of the node; Removal is why Berth would not remove it by
	// itself, empty where it would.
	Node    *nodeReport `json:"node,omitempty"`
	Removal []string    `json:"removal,omitempty"`
	Notes   []string    `json:"notes,omitempty"`
}

// changeReport is what is tried.
type changeReport struct {
	// Verb is scale or drain.
	Verb      string `json:"verb"`
	Kind      kind   `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// From and To are numbers of replicas.
	From *int `json:"from,omitempty"`
	To   *int `json:"to,omitempty"`
}

// place is what kind of node a pod would go to; empty where it would wait.
type place string

const (
	placePresent  place = "Present"
	placeUpcoming place = "Upcoming"
	placeNew      place = "New"
)

// placeReport is where a pod would go.
type placeReport struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	// State is Pending or ToCome of a pod without a node, Moves, Ends or Stays of one that has a node.
	State state `json:"state"`
	Place place `json:"place,omitempty"`
	// Node is absent where the node is not there yet.
	Node  string `json:"node,omitempty"`
	Group string `json:"group,omitempty"`
	// Nth numbers the nodes of a group that are not there yet, from 1.
	Nth int `json:"nth,omitempty"`
	// Detail says of a pod that has a node why it moves, ends or stays.
	Detail string `json:"detail,omitempty"`
	// Reasons are those of the nodes why the pod would wait, Groups those of node groups.
	Reasons []string `json:"reasons,omitempty"`
	Groups  []string `json:"groups,omitempty"`
}

// heldReport is a number of pods that would not come, and why.
type heldReport struct {
	Pods   int    `json:"pods"`
	Reason string `json:"reason"`
}

// growthReport is a node group that would grow.
type growthReport struct {
	Group  string `json:"group"`
	From   int    `json:"from"`
	To     int    `json:"to"`
	Reason string `json:"reason"`
}

// waits tells that the pod would have no node.
func (r *placeReport) waits() bool {
	return r.State == stateStays || r.State == stateWaits || r.Place == "" && r.State != stateEnds && r.State != stateTerminating
}

// unmet says what would not come out; empty where everything would.
func (r *whatIfReport) unmet() string {
	waiting := 0
	for i := range r.Pods {
		if r.Pods[i].waits() {
			waiting++
		}
	}
	held := 0
	for _, h := range r.Held {
		held += h.Pods
	}
	switch {
	case r.Change.Verb == "drain" && waiting > 0:
		return fmt.Sprintf("%s could not leave, or would wait", count(waiting, "pod"))
	case waiting > 0 && held > 0:
		return fmt.Sprintf("%s would wait, and %d would not come", count(waiting, "pod"), held)
	case waiting > 0:
		return fmt.Sprintf("%s would wait", count(waiting, "pod"))
	case held > 0:
		return fmt.Sprintf("%s would not come", count(held, "pod"))
	}
	return ""
}
