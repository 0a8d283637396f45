// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The reports are what the commands print as YAML and JSON. Names of fields,
// and the words of State and of PolicyReport.Source, stay as they are; fields
// may be added.

// planReport is where the ordinals of a set belong.
type planReport struct {
	Set    setReport     `json:"set"`
	Policy policyReport  `json:"policy"`
	Spread *spreadReport `json:"spread,omitempty"`
	// Ordinals are the wanted ones, in their order.
	Ordinals []ordinalReport `json:"ordinals"`
	Notes    []string        `json:"notes,omitempty"`
}

// setReport names a set.
type setReport struct {
	// Kind is StatefulSet, or PlacementPolicy for the pods that one selects.
	Kind      kind   `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Replicas is how many a StatefulSet wants, ScaledTo what --replicas says.
	Replicas *int `json:"replicas,omitempty"`
	ScaledTo *int `json:"scaledTo,omitempty"`
}

// policyReport is what places a set.
type policyReport struct {
	// Source is PlacementPolicy, ProfileDefault, PluginDefault or None.
	Source policySource `json:"source"`
	// Name is that of the PlacementPolicy.
	Name string `json:"name,omitempty"`
	// SchedulerName is what the pods ask for.
	SchedulerName string `json:"schedulerName"`
	// Configuration is where the scheduler's was read.
	Configuration string `json:"configuration,omitempty"`
}

type policySource string

const (
	fromPolicy  policySource = "PlacementPolicy"
	fromProfile policySource = "ProfileDefault"
	fromPlugin  policySource = "PluginDefault"
	fromNone    policySource = "None"
)

// spreadReport is the domains.
type spreadReport struct {
	TopologyKey string         `json:"topologyKey"`
	Domains     []domainReport `json:"domains"`
}

// domainReport is a domain with its nodes that the pods may use.
type domainReport struct {
	Name  string `json:"name"`
	Nodes int    `json:"nodes"`
	Ready int    `json:"ready"`
}

// ordinalReport is one slot.
type ordinalReport struct {
	Ordinal int `json:"ordinal"`
	// Shard is the ordinals of the slot's shard.
	Shard string `json:"shard,omitempty"`
	// Domain is empty where the slot has none, for the reason in Why.
	Domain string `json:"domain,omitempty"`
	Why    string `json:"why,omitempty"`
	Pod    string `json:"pod,omitempty"`
	Node   string `json:"node,omitempty"`
	// NodeDomain is the domain of Node.
	NodeDomain string        `json:"nodeDomain,omitempty"`
	Claims     []claimReport `json:"claims,omitempty"`
	State      state         `json:"state"`
	// Detail completes the State for people.
	Detail string `json:"detail,omitempty"`
}

// claimReport is one claim of a slot.
type claimReport struct {
	Name string `json:"name"`
	// Volume is empty until the claim is bound.
	Volume string `json:"volume,omitempty"`
	// Domains are those from which the volume can be reached; none for one that
	// can be reached from anywhere, or whose nodes are gone.
	Domains []string `json:"domains,omitempty"`
	// Detail says what the claim waits for, or what is wrong with it.
	Detail string `json:"detail,omitempty"`
}

// state is what became of a slot.
type state string

const (
	stateReady       state = "Ready"
	stateRunning     state = "Running"   // not ready
	stateScheduled   state = "Scheduled" // on its node, not running yet
	stateMisplaced   state = "Misplaced" // on a node outside of the planned domain
	statePending     state = "Pending"
	stateGated       state = "Gated" // waits for a lower ordinal
	stateTerminating state = "Terminating"
	stateSucceeded   state = "Succeeded"
	stateFailed      state = "Failed"
	stateAbsent      state = "Absent" // wanted, and there is no pod
	stateToCome      state = "ToCome" // wanted once the set is scaled
	stateMoves       state = "Moves"  // would be evicted, and come back elsewhere
	stateWaits       state = "Waits"  // could not be evicted now
	stateEnds        state = "Ends"   // would not come back
	stateStays       state = "Stays"  // could not be evicted
)

// explainReport is where a pod belongs, and what keeps it from being there.
type explainReport struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	// Set, Policy and Slot are absent for a pod that fills no slot.
	Set         *setReport     `json:"set,omitempty"`
	Policy      *policyReport  `json:"policy,omitempty"`
	Slot        *ordinalReport `json:"slot,omitempty"`
	TopologyKey string         `json:"topologyKey,omitempty"`
	// Fallback are the domains that the slot may have as well, the best first.
	Fallback []string `json:"fallback,omitempty"`
	Gate     string   `json:"gate,omitempty"`
	// Room is what is kept for the slot itself.
	Room *holdReport `json:"room,omitempty"`
	// Nodes are those that the slot may have by its plan, and what speaks
	// against them.
	Nodes []nodesReport `json:"nodes,omitempty"`
	// Scheduler is what the scheduler said last.
	Scheduler []saying `json:"scheduler,omitempty"`
	// Groups is what node groups do for the pod: that none can help and why, or
	// that a node was asked for.
	Groups []string `json:"nodeGroups,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}

// nodesReport is the nodes of one domain.
type nodesReport struct {
	// Domain is empty where the plan names none: then it is all nodes.
	Domain    string           `json:"domain,omitempty"`
	Total     int              `json:"total"`
	Obstacles []obstacleReport `json:"obstacles,omitempty"`
}

// obstacleReport is what speaks against some nodes.
type obstacleReport struct {
	Reason string `json:"reason"`
	// Asked and Free are quantities: what the pod asks for, and the most that
	// one of the nodes has left.
	Asked string   `json:"asked,omitempty"`
	Free  string   `json:"free,omitempty"`
	Nodes []string `json:"nodes"`
	// Holds are what is kept on these nodes, where that is in the way: by node,
	// and then as in a holdsReport.
	Holds []holdReport `json:"holds,omitempty"`
}

// saying is something that the scheduler wrote.
type saying struct {
	Where string `json:"where"`
	Text  string `json:"text"`
}

// holdsReport is the room that is kept.
type holdsReport struct {
	// Holds are by namespace, set and ordinal.
	Holds []holdReport `json:"holds"`
	Notes []string     `json:"notes,omitempty"`

	everywhere bool
	// blind says why holds would not be seen.
	blind string
}

// holdReport is the room that is kept for one slot.
type holdReport struct {
	Set     setReport `json:"set"`
	Ordinal int       `json:"ordinal"`
	// Pod is the one that leaves, or the next one that waits.
	Pod   string `json:"pod,omitempty"`
	State state  `json:"state"`
	// Detail completes the State for people.
	Detail    string `json:"detail,omitempty"`
	Node      string `json:"node"`
	NodeState string `json:"nodeState"`
	// Requests are what is kept for the slot: what its last pod asked for or
	// what its next one does, whichever is more of each.
	Requests v1.ResourceList `json:"requests,omitempty"`
	// Priority is that of the last pod: pods of a higher one may take the room.
	Priority int32 `json:"priority"`
	// Since is when the last pod began to leave.
	Since metav1.Time `json:"since"`
	// Fixed means that the slot can run on this node only, and that the hold
	// does not expire. Others end HoldFor after the last pod is gone, between the
	// two times, which are absent while it is not gone.
	Fixed         bool             `json:"fixed"`
	HoldFor       *metav1.Duration `json:"holdFor,omitempty"`
	EndsNotBefore *metav1.Time     `json:"endsNotBefore,omitempty"`
	EndsNotAfter  *metav1.Time     `json:"endsNotAfter,omitempty"`

	required bool // by its policy, whatever its volume
	now      time.Time
}
