// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vertical decides what the containers of a workload should request, by the
// rules of the VerticalPodAutoscaler's recommender: decaying histograms of cpu usage
// and of memory peaks, percentiles with a safety margin, bounds as wide as the history
// is short, container policies, checkpoints.
//
// What it promises:
//
//   - on the same samples the recommendation is the one of upstream's recommender, and so
//     it is after a restart from the same checkpoints;
//   - the order of samples, pods and VPAs in the input does not matter;
//   - a tick in which a VPA or its pods are missing costs no history: what is not seen
//     is forgotten by age alone.
//
// Where it differs from upstream, on purpose:
//
//   - every slot of a set has a recommendation of its own, between what its history asks
//     for and what the set's does (see Slot);
//   - a resource that was never measured is not recommended: upstream would fall to the
//     pod minimum, which is no advice for a database that has just been deployed;
//   - a container that no pod has any more is not recommended for, and takes no share of
//     the pod minimum, while pods are there: upstream keeps it for eight days, and after
//     a restart for ever;
//   - an OOM that a pod's status keeps telling of counts once.
//
// Histories are kept per slot, so that the ordinals of a set can be told apart, and
// merged for the recommendation of the workload.
package vertical

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// Input is what was seen since the last decision, and what that decision left.
type Input struct {
	Now     time.Time
	VPAs    []VPA
	Samples []Sample
	OOMs    []OOM
	// MaxAllowed is the most that is recommended to any container, of each resource of
	// which its policy names no maximum.
	MaxAllowed corev1.ResourceList
	// History is Decision.History of the last call, taken over as append takes over a
	// slice: it must not be used afterwards. The zero value is an empty history.
	History History
}

// Key names a VPA.
type Key struct{ Namespace, Name string }

// VPA is one VerticalPodAutoscaler with the pods of its target. A pod that two of them
// list belongs to the first by namespace and name.
type VPA struct {
	Key
	Policy *vpav1.PodResourcePolicy
	Pods   []Pod
}

// Pod is a pod of a target that can be measured.
type Pod struct {
	UID types.UID
	// Slot is the ordinal whose history this pod continues; pods without one share a
	// history.
	Slot       string
	Containers []string
}

// MilliCPU is an amount of cpu in thousandths of a core.
type MilliCPU int64

// Bytes is an amount of memory.
type Bytes int64

// Sample is the usage of a container; negative amounts are not counted.
type Sample struct {
	Pod       types.UID
	Container string
	Time      time.Time
	CPU       MilliCPU
	Memory    Bytes
}

// OOM is a container that was killed because it ran out of memory.
type OOM struct {
	Pod       types.UID
	Container string
	Time      time.Time
	// Request is the memory that the container requested when it was killed.
	Request Bytes
}

// Decision holds one recommendation for every VPA of the input.
type Decision struct {
	Recommendations map[Key]Recommendation
	History         History
}

// Reason is why there is no recommendation.
type Reason string

const (
	// Provided: there is one.
	Provided Reason = ""
	// NoPodsMatched: the target has no pods, and had none that are remembered.
	NoPodsMatched Reason = "NoPodsMatched"
	// NoUsage: no container under the VPA has been measured yet.
	NoUsage Reason = "NoUsage"
	// NothingControlled: the policy switches every container of the pods off.
	NothingControlled Reason = "NothingControlled"
)

// Recommendation is what a VPA's status should say.
type Recommendation struct {
	// Containers are sorted by name.
	Containers []Container
	// Reason is empty when there are containers.
	Reason Reason
	// Pods is how many pods were there to measure.
	Pods int
}

// Container is the recommendation for one container and the numbers behind it.
type Container struct {
	vpav1.RecommendedContainerResources
	// Samples counts cpu samples, taken between First and Last.
	Samples     int
	First, Last time.Time
	// Confidence is the length of the history in days of one sample per minute.
	Confidence float64
	// Caps tell what holds the target of a resource, if anything does.
	Caps map[corev1.ResourceName]Cap
	// Slots are those with a history, in their order. A slot that is not here gets what the
	// container gets.
	Slots []Slot
}

// Decide takes the new samples into the history and recommends from it.
func Decide(in Input) Decision {
	h := in.History
	if h.workloads == nil {
		h = newHistory()
	}
	vpas := slices.SortedFunc(slices.Values(in.VPAs), func(a, b VPA) int { return compareKeys(a.Key, b.Key) })
	learn(in, h.places(vpas))
	h.forget(momentOf(in.Now))

	d := Decision{Recommendations: make(map[Key]Recommendation, len(vpas)), History: h}
	m := newScratch(h.scales)
	for _, v := range vpas {
		d.Recommendations[v.Key] = recommend(v, h.workloads[v.Key], in.MaxAllowed, m)
	}
	return d
}

// recommend estimates from the histories of the VPA's containers.
func recommend(v VPA, lineages []*lineage, global corev1.ResourceList, m *scratch) Recommendation {
	r := Recommendation{Pods: len(v.Pods)}
	names := managed(v, lineages)
	for _, l := range lineages {
		if _, found := slices.BinarySearch(names, l.container); !found {
			continue
		}
		if c := l.recommend(policyFor(v.Policy, l.container), global, len(names), m); len(c.Target) > 0 {
			r.Containers = append(r.Containers, c)
		}
	}
	switch {
	case len(r.Containers) > 0:
	case len(v.Pods) == 0:
		r.Reason = NoPodsMatched
	case v.nothingControlled():
		r.Reason = NothingControlled
	default:
		r.Reason = NoUsage
	}
	return r
}

// nothingControlled tells whether the pods have containers, and none of them is recommended for.
func (v VPA) nothingControlled() bool {
	some := false
	for _, pod := range v.Pods {
		for _, container := range pod.Containers {
			some = true
			for _, name := range resourceNames() {
				if Controls(v.Policy, container, name) {
					return false
				}
			}
		}
	}
	return some
}

// recommend decides for the containers of one name, together and slot by slot.
func (l *lineage) recommend(p *vpav1.ContainerResourcePolicy, global corev1.ResourceList, containers int, m *scratch) Container {
	u := l.all(m)
	c := Container{Samples: u.samples, First: u.first.time(), Last: u.last.time(), Confidence: u.confidence()}
	c.ContainerName = l.container
	c.Target, c.LowerBound, c.UpperBound, c.UncappedTarget = corev1.ResourceList{}, corev1.ResourceList{}, corev1.ResourceList{}, corev1.ResourceList{}
	of := merits{set: u.estimate(m.scales, containers), containers: containers}
	for i, name := range resourceNames() {
		of.controlled[i], of.bounds[i] = controls(p, name), boundsOf(p, global, name)
		e, b := of.set[i], of.bounds[i]
		if e == nil || !of.controlled[i] {
			continue
		}
		c.Target[name] = b.quantity(amount(e.Target), name)
		c.LowerBound[name] = b.quantity(amount(e.LowerBound), name)
		c.UpperBound[name] = b.quantity(amount(e.UpperBound), name)
		c.UncappedTarget[name] = quantity(amount(e.Target), name)
		if _, by := b.cap(amount(e.Target)); by != "" {
			if c.Caps == nil {
				c.Caps = map[corev1.ResourceName]Cap{}
			}
			c.Caps[name] = by
		}
	}
	for _, r := range l.slots {
		if r.slot == "" {
			continue
		}
		if s, ok := r.recommend(of, m); ok {
			c.Slots = append(c.Slots, s)
		}
	}
	return c
}

// managed lists the containers to recommend for: those of the pods, or, for a target
// that is scaled to zero, those remembered.
func managed(v VPA, lineages []*lineage) []string {
	names := map[string]bool{}
	for _, p := range v.Pods {
		for _, name := range p.Containers {
			names[name] = true
		}
	}
	if len(v.Pods) == 0 {
		for _, l := range lineages {
			names[l.container] = true
		}
	}
	maps.DeleteFunc(names, func(name string, _ bool) bool { return isOff(policyFor(v.Policy, name)) })
	return slices.Sorted(maps.Keys(names))
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
