// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package drain empties a node that is to go, pod by pod.
//
// Two questions, both pure. Judge says of a pod what becomes of it when its
// node goes: an ordered list of rules, those of Cluster Autoscaler and Berth's
// own. Next says of a node the next step: taint it, evict these pods, wait for
// that, delete it, or leave it after all.
//
// The taint is the state. Its value says whose it is and since when, so that a
// process that remembers nothing goes on where another one stopped.
//
// Invariants, each a property test:
//   - nothing is evicted before the taint has been there for a while;
//   - no budget is gone below, and no set below its quorum, by all steps of one Judge together;
//   - one slot of a set is on its way at a time;
//   - a drain without progress ends: its node is deleted, or left without the taint;
//   - a node is deleted only when nothing is left on it that would have to move.
package drain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/disruption"
)

const (
	// Taint is the key that kube-proxy and the service controller drain connections on.
	Taint = "ToBeDeletedByClusterAutoscaler"
	// Ours begins the value of a taint of Berth's. Cluster Autoscaler's is a number alone.
	Ours = "berth.dev_"
	// ScaleDownDisabled is the annotation by which people keep a node.
	ScaleDownDisabled = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
)

// Config holds the limits. Use DefaultConfig.
type Config struct {
	// SkipLocalStorage keeps nodes with pods that write to their disk, SkipSystemPods those with pods of
	// kube-system that no PodDisruptionBudget covers.
	SkipLocalStorage, SkipSystemPods bool
	// MinReplicas keeps pods of ReplicaSets that want fewer.
	MinReplicas int
	// AfterTaint is how long a node has its taint before anything is evicted or deleted.
	AfterTaint time.Duration
	// MaxPodEvictionTime is how long a drain may go on without progress.
	MaxPodEvictionTime time.Duration
	// MaxGracefulTermination is how long a pod may take to end.
	MaxGracefulTermination time.Duration
}

// DefaultConfig has Cluster Autoscaler's defaults.
func DefaultConfig() Config {
	return Config{
		SkipLocalStorage: true, SkipSystemPods: true,
		AfterTaint: 5 * time.Second, MaxPodEvictionTime: 2 * time.Minute, MaxGracefulTermination: 10 * time.Minute,
	}
}

// World is what keeps pods where they are, in one look at the cluster.
type World struct {
	Now    time.Time
	Config Config
	// Nodes are the nodes that stay, by name: a volume may be reached from them.
	Nodes []*v1.Node
	// Budgets are those that cover any pod in question.
	Budgets []disruption.Budget
	// Sets are those that any pod in question is a slot of.
	Sets []Set
	// Controllers are the ReplicaSets and StatefulSets that exist, by UID. One that is not in it is gone.
	Controllers map[types.UID]Controller
	// Volumes are those, by the UID of the pod, that not every node reaches.
	Volumes map[types.UID][]Volume
}

// Set is a set whose slots move one at a time.
type Set struct {
	// Name is namespace/name.
	Name string
	// Wanted is how many slots there should be, and Quorum how many must stay available; 0 for none.
	Wanted, Quorum int
	// MinReady is how long a slot has to be ready before the next may move.
	MinReady time.Duration
	// Absent are the wanted ordinals without a pod.
	Absent []int
	Slots  []Slot
}

// Slot is an ordinal with its pod.
type Slot struct {
	Ordinal int
	Pod     *v1.Pod
	// Extra tells that the set is to have no such slot any more.
	Extra bool
}

// Controller is what is known of the controller of pods.
type Controller struct {
	Replicas int
}

// Volume is a volume that not every node reaches.
type Volume struct {
	Name     string
	Affinity *v1.NodeSelector
}

// Mark returns the taint of a node that is to go from now on.
func Mark(now time.Time) v1.Taint {
	return v1.Taint{Key: Taint, Value: Ours + strconv.FormatInt(now.Unix(), 10), Effect: v1.TaintEffectNoSchedule}
}

// Marked tells whether Berth has marked the node to go. A taint of the same key that is somebody else's is none.
func Marked(n *v1.Node) bool {
	_, marked := mark(n)
	return marked
}

// Since is when Berth has marked the node.
func Since(n *v1.Node) (time.Time, error) {
	value, marked := mark(n)
	if !marked {
		return time.Time{}, fmt.Errorf("node %s has no taint %s of Berth's", n.Name, Taint)
	}
	seconds, err := strconv.ParseInt(strings.TrimPrefix(value, Ours), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("taint %s=%s: no time in its value", Taint, value)
	}
	return time.Unix(seconds, 0), nil
}

func mark(n *v1.Node) (value string, marked bool) {
	i := slices.IndexFunc(n.Spec.Taints, func(t v1.Taint) bool { return t.Key == Taint && strings.HasPrefix(t.Value, Ours) })
	if i < 0 {
		return "", false
	}
	return n.Spec.Taints[i].Value, true
}
