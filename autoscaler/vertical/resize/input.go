// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/disruption"
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

// Refused is a write that the API server refused.
type Refused struct {
	Pod     types.UID
	Kind    Kind
	Message string
}

// Budget is a PodDisruptionBudget with every pod that it covers.
type Budget = disruption.Budget

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
