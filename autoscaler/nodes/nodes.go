// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodes decides which node groups grow and which nodes go.
//
// Decide is a pure function of its Input and of the answers of a Simulator: the
// time and the history are values in, the new history is a value out.
//
// Adds: pods that no plugin can tell apart are a class. The classes are placed
// on present nodes, then on nodes on their way, then on new nodes, the largest
// pods first: first-fit-decreasing. What a class still needs is an option of
// each group that the simulator says would take it: how many pods one new node
// takes is reckoned, and so is what of the classes behind it would fill the
// rest. The Expanders choose among the options, and the group grows until the
// class is placed, its next node would not be filled, or something stops it.
// Every placement is the simulator's: what is reckoned only orders the
// questions, of which there are about as many as pods, and as classes times groups.
// One call may grow several groups.
//
// Headroom: pods of a priority below ExpendablePriority neither cause an add
// nor keep a node. To hold room ready, run pods that only sleep, of a
// priority below all others but not below ExpendablePriority: they cause nodes
// as any pod does, others preempt them, and they come back as the next
// reason to add. A pod nominated to a node counts as placed there.
//
// Nodes that a group owes for too long, and machines that its provider gave up,
// are forgone: the target falls, the group is left alone for a while, and
// other groups help in the same call.
//
// Removals: nodes of groups that stayed under-used, if everything on them can go
// elsewhere, and nodes that never became ready. Who may be moved is said by the
// rules of nodes/drain; where to, by the simulation, for all nodes that go at once.
//
// Invariants, each a property test:
//   - no group grows beyond its maximum, or shrinks below its minimum but for
//     a node that never became ready;
//   - nothing grows beyond the totals of the cluster;
//   - what is forgone never came, and a group that forgoes nodes does not grow;
//   - groups that differ in their zone only and can all help differ by at most
//     one node among those that grow;
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
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

// Simulator answers, as the scheduler would, where a pod goes.
//
// It knows the present nodes and the pods on them, but for expendable ones:
// whoever needs their room preempts them. What is placed stays placed until the
// Fork before it is reverted.
type Simulator interface {
	// Fork marks the state that the matching Revert returns to. Forks nest.
	Fork()
	Revert()
	// AddNode adds a node that does not exist yet, or shows a present one in a
	// new state. Added nodes take pods only when no other node can, and in the
	// order in which they were added.
	AddNode(node *v1.Node) error
	// AddTemplate adds a node that does not exist yet, with the CSI drivers that
	// it will have and how much each StorageClass can provision on it alone.
	AddTemplate(node *v1.Node, drivers map[string]int32, storage map[string]resource.Quantity) error
	// Room is what a node has left for pods, those that it will run as daemons
	// taken off; nothing for a node that it does not know.
	Room(node string) v1.ResourceList
	// Place puts the pod on one of the named nodes, or on any when none is
	// named, and returns which: of added nodes the first as they are named. It
	// returns no node and why, in words, when none fits; an error when there is no answer.
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
	// Resized are pods on nodes, by UID, as they come back when they are moved, where that is larger.
	Resized map[types.UID]*v1.Pod
	// Replaced are pods on nodes, by UID, that the simulation has no more: their successors are of the Forecast.
	Replaced map[types.UID]bool
	// World is what keeps pods where they are, without its Now, Config and Nodes.
	World drain.World
	// Slots are the pods that have a place of their own though no StatefulSet
	// owns them: no other pod's answer is theirs.
	Slots map[types.NamespacedName]bool
	// Seed is what the expander Random draws from.
	Seed uint64
}

// Config holds the limits. Those that Defaults sets must be set.
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
	// ExpendablePriority: pods of a lower priority never cause an add, and take no room.
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
	Drain   drain.Config
	// Expanders choose among groups, each where the one before sees no
	// difference; none is LeastWaste.
	Expanders []Expander
	// BalanceSimilarGroups shares new nodes among groups that differ only in
	// their zone and in what follows from it.
	BalanceSimilarGroups bool
	// MaxNodesTotal, MaxCores and MaxMemory, in bytes, bound what all nodes
	// have, also those of no group; 0 is no bound. Below MinCores and MinMemory nothing is removed.
	MaxNodesTotal        int
	MinCores, MaxCores   int64
	MinMemory, MaxMemory int64
	// StartupTaints are keys of taints that go once a node has started: until
	// then the node is not ready, and templates are taken to be without them.
	StartupTaints []string
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
	// Drivers are the CSI drivers that a new node will have, with the number of
	// volumes that each can attach, 0 for no limit; Storage is how much each
	// StorageClass can provision on it alone.
	Drivers map[string]int32
	Storage map[string]resource.Quantity
	// Priority counts for the expander Priority: the higher wins.
	Priority int
	// PricePerHour is the price of a node for the expander Price, in a currency
	// that is the same for all groups.
	PricePerHour float64
	PriceKnown   bool
	// Options are the group's own limits.
	Options Options
	// Failing are machines of the target that will never be nodes.
	Failing []Failing
	// Busy says why the group is not to be asked for more now; empty where it may be. Its target counts all the same.
	Busy string
}

// Options are limits that a group has for itself; what is 0 is as in Config.
type Options struct {
	UtilizationThreshold float64
	UnneededTime         time.Duration
	UnreadyTime          time.Duration
	MaxNodeProvisionTime time.Duration
}

// Failing is a number of machines that will never be nodes, and why.
type Failing struct {
	Count  int
	Reason string
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
	Forgo    []Forgo
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

// Forgo takes back the wish for Count nodes of a group that do not come: its
// target is decreased.
type Forgo struct {
	Group  string
	Count  int
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
