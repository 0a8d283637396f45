// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Source is where the planner reads what exists. It must be at least as new as
// the changes the planner is told of; informer stores are. Objects that do not
// exist are nil.
type Source interface {
	// Set returns the StatefulSet of a key that is not Selected.
	Set(SetKey) *appsv1.StatefulSet
	// Members returns the ordinals of a Selected set, sorted: those with a pod
	// or a claim. The slice is not changed once returned.
	Members(SetKey) []int
	// Member returns the names of the pod and the claims of a Selected slot.
	Member(Slot) (pod string, claims []string)
	// Policy returns what places the set when pods of it ask for this
	// scheduler, nil if nothing does. An error says why that is not known yet.
	Policy(key SetKey, schedulerName string) (*Policy, error)

	Claim(namespace, name string) *corev1.PersistentVolumeClaim
	Volume(name string) *corev1.PersistentVolume
	Pod(namespace, name string) *corev1.Pod
	Node(name string) *corev1.Node
	Nodes() []*corev1.Node
	// BoundByScheduler tells whether claims of this class are bound only when a
	// pod that uses them is placed.
	BoundByScheduler(storageClass string) bool
}

// Rules are the judgements that live outside this package because upstream
// has them already, and the clock.
type Rules struct {
	// Usable returns whether a pod may use a node as far as its node selector,
	// required node affinity and lasting taints go.
	Usable func(*corev1.Pod) func(*corev1.Node) bool
	// Reaches tells whether a volume's node affinity admits a node.
	Reaches func(*corev1.PersistentVolume, *corev1.Node) bool
	// Now is the time, by which a domain is lost or not yet.
	Now func() time.Time
	// EmptyIsLost makes a domain without any node count as lost at once where
	// the policy lets domains be lost. Somebody who watches knows since when it
	// is empty; somebody who looks once does not.
	EmptyIsLost bool
}

// SetUnknownError says that the set of a slot is not known: it is not yet in
// the cache, or it is gone and its pods will follow.
type SetUnknownError struct{ Slot Slot }

func (e *SetUnknownError) Error() string {
	return fmt.Sprintf("StatefulSet %s is unknown, so %s has no place yet", e.Slot.Set, e.Slot)
}

// PolicyUnknownError says that the policies can not be read yet. A slot must
// not be placed without its policy: its volume would stay where it came to be.
type PolicyUnknownError struct {
	Slot Slot
	Why  error
}

func (e *PolicyUnknownError) Error() string {
	return fmt.Sprintf("%s has no place yet: %s", e.Slot, e.Why)
}

func (e *PolicyUnknownError) Unwrap() error { return e.Why }
