// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vertical decides what the containers of a workload should request, by the
// rules of the VerticalPodAutoscaler's recommender: decaying histograms of cpu usage
// and of memory peaks, percentiles with a safety margin, bounds as wide as the history
// is short, container policies.
//
// What it promises:
//
//   - on the same samples the recommendation is the one of upstream's recommender;
//   - a resource that was never measured is not recommended: upstream would fall to the
//     pod minimum, which is no advice for a database that has just been deployed;
//   - the order of samples, pods and VPAs in the input does not matter;
//   - a tick in which a VPA or its pods are missing costs no history: what is not seen
//     is forgotten by age alone.
//
// Histories are kept per slot, so that the ordinals of a set can be told apart, and
// merged for the recommendation of the workload.
package vertical

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// Input is what was seen since the last decision, and what that decision left.
type Input struct {
	Now     time.Time
	VPAs    []VPA
	Samples []Sample
	OOMs    []OOM
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
}

// Decide takes the new samples into the history and recommends from it.
func Decide(in Input) Decision {
	h := in.History
	if h.usage == nil {
		h = newHistory()
	}
	vpas := slices.SortedFunc(slices.Values(in.VPAs), func(a, b VPA) int { return compareKeys(a.Key, b.Key) })
	known := homes(vpas)
	h.learn(in, known)
	h.forget(in.Now, known)

	d := Decision{Recommendations: make(map[Key]Recommendation, len(vpas)), History: h}
	histories := h.byContainer()
	for _, v := range vpas {
		d.Recommendations[v.Key] = recommend(v, histories[v.Key], h.scales)
	}
	return d
}

// homes tells to which history each container that can be measured belongs.
func homes(vpas []VPA) map[containerKey]usageKey {
	out := map[containerKey]usageKey{}
	for _, v := range vpas {
		for _, p := range v.Pods {
			for _, name := range p.Containers {
				key := containerKey{pod: p.UID, name: name}
				if _, taken := out[key]; !taken {
					out[key] = usageKey{vpa: v.Key, container: name, slot: p.Slot}
				}
			}
		}
	}
	return out
}

// recommend merges the histories of the VPA's containers and estimates from them.
func recommend(v VPA, histories map[string][]slotUsage, s scales) Recommendation {
	r := Recommendation{Pods: len(v.Pods)}
	names := managed(v, histories)
	for _, name := range names {
		merged := s.merge(histories[name])
		if merged == nil {
			continue
		}
		policy := policyFor(v.Policy, name)
		if c := estimate(merged, len(names), policy); len(c.Target) > 0 {
			c.ContainerName = name
			limit(&c.RecommendedContainerResources, policy)
			r.Containers = append(r.Containers, c)
		}
	}
	switch {
	case len(r.Containers) > 0:
	case len(v.Pods) == 0:
		r.Reason = NoPodsMatched
	default:
		r.Reason = NoUsage
	}
	return r
}

// managed lists the containers to recommend for: those of the pods, or, for a target
// that is scaled to zero, those remembered.
func managed(v VPA, histories map[string][]slotUsage) []string {
	names := map[string]bool{}
	for _, p := range v.Pods {
		for _, name := range p.Containers {
			names[name] = true
		}
	}
	if len(v.Pods) == 0 {
		for name := range histories {
			names[name] = true
		}
	}
	maps.DeleteFunc(names, func(name string, _ bool) bool { return isOff(policyFor(v.Policy, name)) })
	return slices.Sorted(maps.Keys(names))
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
