// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package resize decides how recommended sizes reach the pods that run: which pod
// is changed next, in place or by being re-created, and which change is taken back.
//
// What it promises, whatever the node agents do and wherever a leader is replaced:
//
//   - of a set one ordinal changes at a time, the highest first. The next one waits
//     until the last is ready and its resize is acknowledged; one that can not be
//     changed now is stepped over, with its reason. Ordinals below the partition are
//     left alone;
//   - no PodDisruptionBudget, quorum, maxUnavailable or minReplicas is broken.
//     A container restart counts as a disruption, a resize without one does not;
//   - nothing is patched that the API server or the kubelet would refuse by a rule
//     that can be known before (class.go names the rules and their source);
//   - a pod is evicted only after an answer that its successor gets the new size and
//     has a place; what a resize has reserved is given back before;
//   - a resize that does not come through is reverted, and tried again after a time
//     that doubles. A resize that somebody else asked for is never touched.
//
// What must be known about the node or the scheduler is asked as a Question and
// answered in the next Input: Decide is called again until it asks nothing more.
//
// # After a change of the leader
//
// Everything that makes it resume is at the API server:
//
//   - spec.containers[*].resources against status.containerStatuses[*].resources and
//     allocatedResources, the conditions PodResizePending and PodResizeInProgress, and
//     status.observedGeneration say whether a resize is under way;
//   - the annotation RecordAnnotation on the pod, written before each patch, says whose
//     resize it is, what was there before, since when, and how often it failed. A record
//     whose sizes are not in the spec is an intention that was not carried out;
//   - an eviction needs no note: the slot is absent or its pod not ready, and the pod's
//     creationTimestamp keeps it from being evicted again at once.
//
// History holds only what the API server refused: a new leader asks once more.
package resize

import (
	"cmp"
	"slices"
	"time"

	policyv1 "k8s.io/api/policy/v1"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// Input is one observation, what was answered to the last decision, and what it left.
type Input struct {
	Now     time.Time
	Config  Config
	Targets []Target
	Budgets []Budget
	// Answers are those to Decision.Questions of the call before, of this same tick.
	Answers []Answer
	// Refused are writes that the API server refused since the last decision. What
	// failed otherwise (a conflict, a timeout) is not in it.
	Refused []Refused
	History History
}

// Key names a VPA.
type Key struct{ Namespace, Name string }

// Target is a VPA that wins its workload, and the workload's pods.
type Target struct {
	Key
	Update    *vpav1.PodUpdatePolicy
	Resources *vpav1.PodResourcePolicy
	// LimitRanges are those of the namespace.
	LimitRanges []*v1.LimitRange
	Workload    Workload
	// Pods are all pods of the workload that have not ended, those that terminate too.
	Pods []Pod
	// Hold says why nothing is written at all, such as another master; empty if nothing holds it.
	Hold string
}

// Workload is what the owner of the pods asks for.
type Workload struct {
	Kind, Name string
	// Ordered: the pods have ordinals, and change one at a time. Otherwise Absent,
	// Partition, MaxUnavailable, MinReady, Revision and OnDelete mean nothing.
	Ordered bool
	// Replicas is how many pods there should be.
	Replicas int
	// Absent are the wanted ordinals without a pod.
	Absent []int
	// Partition is the lowest ordinal that may be changed.
	Partition int
	// MaxUnavailable is how many pods may be unavailable during a disruption; below 1 is 1.
	MaxUnavailable int
	// MinReady is how long a pod has to be ready before the next may change (minReadySeconds).
	MinReady time.Duration
	// Quorum is how many pods must stay available; 0 for none.
	Quorum int
	// Revision is the revision that pods from Partition upwards should have; empty if unknown.
	Revision string
	// OnDelete: a pod gets Revision whenever somebody deletes it.
	OnDelete bool
	// Rolling: a rollout of an unordered workload is under way.
	Rolling bool
}

// Pod is a pod with what is known about it.
type Pod struct {
	Object  *v1.Pod
	Ordinal int
	// Containers are the recommendations for its slot. A container without one is left as it is.
	Containers []Recommendation
	// Usage is the memory that a container uses now; a container may be missing.
	Usage map[string]Bytes
	Node  Node
}

// Bytes is an amount of memory.
type Bytes int64

// Recommendation is what a container should request.
type Recommendation struct {
	Container            string
	Target, Lower, Upper v1.ResourceList
}

// Node is what matters of the pod's node. The zero value is a node of which nothing is known.
type Node struct {
	Name        string
	Allocatable v1.ResourceList
	Windows     bool
	// StaticCPU and StaticMemory: the kubelet's cpu or memory manager has the static policy.
	StaticCPU, StaticMemory bool
	// Swap: containers may swap (LimitedSwap).
	Swap bool
}

// Budget is a PodDisruptionBudget with every pod that it covers, as seen now: its
// status follows a moment after its pods.
type Budget struct {
	Object *policyv1.PodDisruptionBudget
	Pods   []*v1.Pod
}

// Refused is a write that the API server refused.
type Refused struct {
	Pod     types.UID
	Kind    Kind
	Message string
}

// Config are the numbers that are not a VPA's. Use DefaultConfig.
type Config struct {
	// MinReplicas, Tolerance, UpdateThreshold, Lifetime and QuickOOM are upstream's
	// --min-replicas, --eviction-tolerance, --pod-update-threshold,
	// --in-recommendation-bounds-eviction-lifetime-threshold and --evict-after-oom-threshold.
	MinReplicas     int
	Tolerance       float64
	UpdateThreshold float64
	Lifetime        time.Duration
	QuickOOM        time.Duration
	// Deferred is how long a resize may be Deferred or fail with an Error, and
	// InProgress how long it may take, before it is reverted.
	Deferred, InProgress time.Duration
	// Settle is the age below which a pod is not re-created for its size.
	Settle time.Duration
	// BackOff is the time until a resize that failed is tried again; it doubles with
	// each failure up to MaxBackOff.
	BackOff, MaxBackOff time.Duration
}

// DefaultConfig has upstream's defaults where upstream has the number.
func DefaultConfig() Config {
	return Config{
		MinReplicas: 2, Tolerance: 0.5, UpdateThreshold: 0.1, Lifetime: 12 * time.Hour, QuickOOM: 10 * time.Minute,
		Deferred: time.Minute, InProgress: 10 * time.Minute, Settle: 10 * time.Minute,
		BackOff: 10 * time.Minute, MaxBackOff: 12 * time.Hour,
	}
}

// Decision says what to do now, what must be known first, and why.
type Decision struct {
	Actions   []Action
	Questions []Question
	// Rooms are pods that will be re-created with their new size once there is a node
	// for it. They stay in it while the node is on its way.
	Rooms []Room
	// Pods explains every pod, by VPA, then from the highest ordinal, then by name.
	Pods    []Explanation
	History History
}

// Kind is what is done to a pod.
type Kind string

const (
	// Patch: the sizes are written to the resize subresource.
	Patch Kind = "Patch"
	// Revert: the same, with the sizes of before.
	Revert Kind = "Revert"
	// Evict: the pod goes through the eviction API, bound to its UID and resourceVersion.
	Evict Kind = "Evict"
)

// Action is one write. Of a Patch or Revert, Record goes to RecordAnnotation first and
// Sizes to the resize subresource then: that one does not take metadata along
// (dropNonResizeUpdates in pkg/registry/core/pod/strategy.go of Kubernetes 1.36).
type Action struct {
	Kind   Kind
	Target Key
	Pod    *v1.Pod
	Class  Class
	Sizes  Sizes
	Record string
	// Node is where the simulation placed the successor of an evicted pod.
	Node   string
	Reason string
}

// Room is the place that a pod would need.
type Room struct {
	Target Key
	Pod    *v1.Pod
	Sizes  Sizes
}

// Explanation is everything about one pod.
type Explanation struct {
	Target  Key
	Pod     string
	UID     types.UID
	Ordinal int
	Class   Class
	// Reason is why it is of this class or needs no change, with numbers.
	Reason string
	// Step is what happens now; Waits says what for, where it is Waits.
	Step  Step
	Waits string
	// From is what the pod has and To what it should have; they hold the containers that differ.
	From, To Sizes
	// Diff is the sum of relative differences, as upstream ranks pods.
	Diff float64
}

// Step is what happens to a pod now.
type Step string

const (
	// Nothing: it has its size, or nothing may be changed.
	Nothing Step = "Nothing"
	// Waits: it should be changed, and is not yet.
	Waits Step = "Waits"
	// Asks: a question about it is open.
	Asks Step = "Asks"
	// Resizes: its resize is under way.
	Resizes Step = "Resizes"
	// Patches, Reverts, Evicts: there is an Action for it.
	Patches Step = "Patches"
	Reverts Step = "Reverts"
	Evicts  Step = "Evicts"
)

// History is what must be remembered between decisions.
type History struct {
	Refusals map[types.UID]Refusal
}

// Refusal is how often and when the API server last refused to resize a pod.
type Refusal struct {
	At      time.Time
	Tries   int
	Message string
}

// Decide says what to do.
func Decide(in Input) Decision {
	d := &decider{Input: in, spent: map[types.NamespacedName]int{}, taken: map[string]bool{}}
	d.out.History = in.History.learn(in)
	targets := slices.SortedFunc(slices.Values(in.Targets), func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, t := range targets {
		d.decide(t)
	}
	return d.out
}

// decider gathers a decision over the targets, which share the budgets.
type decider struct {
	Input
	out Decision
	// spent counts the disruptions that this decision takes from a budget.
	spent map[types.NamespacedName]int
	// taken are the nodes to which this decision lets a pod grow or go.
	taken map[string]bool
}

// learn takes the refusals in and forgets pods that are gone.
func (h History) learn(in Input) History {
	next := History{Refusals: map[types.UID]Refusal{}}
	for _, t := range in.Targets {
		for _, p := range t.Pods {
			if r, ok := h.Refusals[p.Object.UID]; ok {
				next.Refusals[p.Object.UID] = r
			}
		}
	}
	for _, r := range in.Refused {
		if r.Kind != Patch {
			continue // an eviction is refused by a budget that changes, and a revert is due until it is done
		}
		old := next.Refusals[r.Pod]
		next.Refusals[r.Pod] = Refusal{At: in.Now, Tries: old.Tries + 1, Message: r.Message}
	}
	return next
}
