// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodes decides which node groups grow and which nodes go.
//
// Decide is a pure function of its Input and of the answers of a Simulator: the
// time and the history are values in, the new history is a value out.
//
// Adds: pods that wait and pods of the forecast are placed on present nodes,
// then on nodes on their way, then on templates of groups that can still grow,
// the largest pod first. A new node is of the group that it leaves least of
// unused, once everything else that still waits has been tried on it too. One
// call may grow several groups.
//
// Removals: nodes of groups that stayed under-used, if everything on them can go
// elsewhere, and nodes that never became ready. Who may be moved is said by the
// rules of nodes/drain; where to, by the simulation, for all nodes that go at once.
//
// Invariants, each a property test:
//   - no group grows beyond its maximum, or shrinks below its minimum but for
//     a node that never became ready;
//   - nothing is added for pods while all of them fit;
//   - no node goes that a pod of this call was placed on;
//   - every pod of a node that goes has a place on a ready node that stays;
//   - no group grows and gives up a ready node in one call;
//   - while the simulation cannot answer, nothing is removed, and nothing is
//     added for the pods it did not answer for;
//   - equal input and equal answers give an equal decision, whatever the order of the input.
package nodes

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

// Simulator answers, as the scheduler would, where a pod goes.
//
// It knows the present nodes and the pods on them. What is placed stays placed
// until the Fork before it is reverted.
type Simulator interface {
	// Fork marks the state that the matching Revert returns to. Forks nest.
	Fork()
	Revert()
	// AddNode adds a node that does not exist yet, or shows a present one in a
	// new state. Added nodes take pods only when no other node can, and in the
	// order in which they were added.
	AddNode(node *v1.Node) error
	// Place puts the pod on one of the named nodes, or on any when none is
	// named, and returns which. It returns no node and why, in words, when
	// none fits; an error when there is no answer.
	Place(pod *v1.Pod, among ...string) (node string, reasons []string, err error)
	// RemovePod takes a pod away as if it were gone.
	RemovePod(pod *v1.Pod) error
	// RemoveNode takes a node away as if it were gone, with what is on it.
	RemoveNode(name string) error
}

// Input is everything that a decision depends on.
type Input struct {
	Now    time.Time
	Config Config
	Groups []Group
	Nodes  []Node
	// Pending are the pods without a node. Those that no node can help are left out by Decide.
	Pending []*v1.Pod
	// Forecast are pods that do not exist yet and will.
	Forecast []*v1.Pod
	// Volumes are the bound volumes of wanted slots.
	Volumes []Volume
	History History

	// Reserve are pods that the next decisions may bring. They add no node, and
	// none goes whose room they need.
	Reserve []*v1.Pod
	// World is what keeps pods where they are, without its Now, Config and Nodes.
	World drain.World
}

// Config holds the limits. Each must be set; see Defaults.
type Config struct {
	// UnneededTime is how long a node must have been under-used before it goes.
	UnneededTime time.Duration
	// DelayAfterAdd is how long after an add no node goes.
	DelayAfterAdd time.Duration
	// MaxNodeProvisionTime is how long a node may take from its creation to ready.
	MaxNodeProvisionTime time.Duration
	// MaxTotalUnreadyPercentage of unready nodes stops everything, once
	// more than OKTotalUnready nodes are unready.
	MaxTotalUnreadyPercentage int
	OKTotalUnready            int
	// ExpendablePriority: pods of a lower priority never cause an add.
	ExpendablePriority int32
	// Backoff is how long a group that failed is left alone at first; each
	// further failure doubles it up to MaxBackoff, and BackoffReset after the
	// last one it starts again.
	Backoff, MaxBackoff, BackoffReset time.Duration

	// UtilizationThreshold is the share of a node, of its cpu or its memory, whichever is
	// more, under which it goes, when pods request no more for its time.
	UtilizationThreshold float64
	// IgnoreDaemonSets leaves pods of DaemonSets and mirror pods out of that share.
	IgnoreDaemonSets bool
	// UnreadyTime is UnneededTime of nodes that are not ready any more.
	UnreadyTime time.Duration
	// MaxEmptyRemovals and MaxDrains are how many nodes may be on their way out at
	// a time, without pods that move and with some.
	MaxEmptyRemovals, MaxDrains int
	// MaxCandidates is how many nodes one decision simulates the removal of.
	MaxCandidates int
	// Recheck is how long a node is left alone that could not go.
	Recheck time.Duration
	// MinCores and MinMemory, in bytes, are what all nodes together keep.
	MinCores, MinMemory int64
	Drain               drain.Config
}

// Defaults returns the limits that Cluster Autoscaler's users know.
func Defaults() Config {
	return Config{
		UnneededTime:              10 * time.Minute,
		DelayAfterAdd:             10 * time.Minute,
		MaxNodeProvisionTime:      15 * time.Minute,
		MaxTotalUnreadyPercentage: 45,
		OKTotalUnready:            3,
		ExpendablePriority:        -10,
		Backoff:                   5 * time.Minute,
		MaxBackoff:                30 * time.Minute,
		BackoffReset:              3 * time.Hour,

		UtilizationThreshold: 0.5,
		UnreadyTime:          20 * time.Minute,
		MaxEmptyRemovals:     10,
		// Cluster Autoscaler drains one. These share no set and no room, and no budget
		// beyond what it lets through, so that they do not have to wait for each other.
		MaxDrains:     5,
		MaxCandidates: 30,
		Recheck:       5 * time.Minute,
		Drain:         drain.DefaultConfig(),
	}
}

// Group is a node group that may be scaled.
type Group struct {
	Name     string
	Min, Max int
	// Target is the number of nodes that the provider works towards.
	Target int
	// Template is a new node of the group. Its name does not matter.
	Template *v1.Node
}

// Node is a present node.
type Node struct {
	Object *v1.Node
	// Group is empty for a node that Berth does not scale.
	Group string
	// Pods are the pods bound to the node.
	Pods []*v1.Pod

	// Draining tells that Berth has marked the node to go, and may still think better
	// of it: its group counts it.
	Draining bool
}

// Volume is a bound volume that a wanted slot has or comes back to.
type Volume struct {
	// Slot names the slot, for the reason: namespace/set-ordinal.
	Slot string
	// Affinity is where the volume can be reached; nil is everywhere.
	Affinity *v1.NodeSelector
}

// Decision is what should happen, with the numbers that led to it.
type Decision struct {
	Adds     []Add
	Removals []Removal
	// Unhelped are the pods that no present node and no group can take.
	Unhelped []Unhelped
	// Kept are the nodes that were under-used long enough and stay all the same.
	Kept []Kept
	// Upcoming is the number of nodes on their way that were counted on.
	Upcoming int
	// Placed is the number of pods that need no new node.
	Placed int
	// Blocked says why nothing at all was decided; empty when it was.
	Blocked string
	// Incomplete says why the simulation did not answer for every pod; empty when it did.
	Incomplete string
	// History is the input of the next call.
	History History

	// Recalls are the nodes on their way out that have to stay.
	Recalls []Recall
}

// Add asks a group for Count more nodes.
type Add struct {
	Group string
	Count int
	// Target is the size of the group afterwards.
	Target int
	// Pods are those that the new nodes are for.
	Pods   []types.NamespacedName
	Reason string
}

// Removal asks for a node to be deleted.
type Removal struct {
	Node  string
	UID   types.UID
	Group string
	// Failed tells that the node never became ready, so that its group should
	// be considered failing.
	Failed bool
	Reason string

	// Moves are the pods that go elsewhere, and where the simulation placed them.
	Moves       []Move
	Utilization Utilization
}

// Move is a pod that goes to another node; to none where it is expendable.
type Move struct {
	Pod types.NamespacedName
	To  string
}

// Utilization is the share of a node that its pods request.
type Utilization struct{ CPU, Memory float64 }

// Recall is a node on its way out that has to stay, and why.
type Recall struct {
	Node   string
	UID    types.UID
	Reason string
}

// Unhelped is a pod that stays pending, and why.
type Unhelped struct {
	Pod types.NamespacedName
	// Forecast tells that the pod does not exist yet.
	Forecast bool
	// Present are the reasons of the present nodes, Groups those of each group.
	Present []string
	Groups  []string
}

// Kept is a node that has been under-used long enough and stays, and why.
type Kept struct {
	Node   string
	Reason string
	// Rule is the name of the rule that keeps it.
	Rule string
}

// Decide decides. It leaves the simulator as it found it.
func Decide(in Input, sim Simulator) Decision {
	sim.Fork()
	defer sim.Revert()

	p := newPlanner(in, sim)
	if p.blocked(); p.decision.Blocked != "" {
		p.decision.History = p.history()
		return p.decision
	}
	if p.expect(); p.decision.Incomplete == "" {
		p.fillMinimum()
		p.add()
		p.remove()
	}
	p.decision.History = p.history()
	return p.decision
}
