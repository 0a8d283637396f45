// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

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
	Refusals map[Write]Refusal
	// Rooms are the sizes for which a place was asked for.
	Rooms map[types.UID]Sizes
}

// Write is one kind of write to a pod.
type Write struct {
	Pod  types.UID
	Kind Kind
}

// Refusal is how often and when the API server last refused a write.
type Refusal struct {
	At      time.Time
	Tries   int
	Message string
}
