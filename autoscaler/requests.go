// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/berth-dev/berth/autoscaler/metrics"
	"github.com/berth-dev/berth/autoscaler/vertical"
)

// advice is what was recommended for a VPA, and is still said.
type advice struct {
	vertical.Recommendation
	at  time.Time
	uid types.UID
	// generation is that of the spec it was made for.
	generation int64
	// containers are the names of those that the pods have.
	containers []string
}

// recommendRequests takes this tick's usage into the histories of the VPAs and recommends from them. What it
// recommends is said once in a recommendPeriod, so that status, annotation and resizes tell of the same numbers, and
// at once of a VPA that has changed, or of which a container ran out of memory.
func (c *Conductor) recommendRequests(all []*sized, snapshot metrics.Snapshot) {
	in := vertical.Input{Now: c.now(), History: c.history.vertical}
	killed := map[vertical.Key]time.Time{}
	for _, s := range all {
		if !s.read {
			continue
		}
		v := vertical.VPA{Key: s.key(), Policy: s.vpa.Spec.ResourcePolicy}
		for _, pod := range s.pods {
			v.Pods = append(v.Pods, c.measured(pod))
			if sample, ok := snapshot.Pod(pod.Namespace, pod.Name); ok {
				in.Samples = append(in.Samples, samples(pod, sample)...)
			}
			for _, oom := range c.ooms(pod) {
				in.OOMs = append(in.OOMs, oom)
				if oom.Time.After(killed[v.Key]) {
					killed[v.Key] = oom.Time
				}
			}
		}
		in.VPAs = append(in.VPAs, v)
	}
	decision := vertical.Decide(in)
	c.history.vertical = decision.History
	advised := make(map[vertical.Key]advice, len(all))
	for _, s := range all {
		last, known := c.history.advised[s.key()]
		known = known && last.uid == s.vpa.UID
		stands := known && last.Reason == vertical.Provided && last.generation == s.vpa.Generation &&
			!turned(s.vpa.UID, last.at, in.Now, c.config.Vertical.RecommendPeriod.Duration) && !killed[s.key()].After(last.at)
		next, decided := decision.Recommendations[s.key()]
		switch {
		case decided && !stands:
			advised[s.key()] = advice{Recommendation: next, at: in.Now, uid: s.vpa.UID, generation: s.vpa.Generation, containers: containersOf(s.pods)}
		case known:
			advised[s.key()] = last
		}
	}
	c.history.advised = advised
}

// containersOf are the names of the containers of pods, sorted.
func containersOf(pods []*corev1.Pod) []string {
	names := sets.New[string]()
	for _, pod := range pods {
		for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			names.Insert(container.Name)
		}
	}
	return sets.List(names)
}

// turned tells whether a period of an object has begun between two times. The periods of all objects begin at times of their
// own: otherwise all would be written in one tick, and none in the others.
func turned(uid types.UID, last, now time.Time, period time.Duration) bool {
	h := fnv.New64a()
	h.Write([]byte(uid))
	offset := time.Duration(h.Sum64() % uint64(period))
	count := func(t time.Time) int64 { return (t.UnixNano() - int64(offset)) / int64(period) }
	return count(now) > count(last)
}

// measured is a pod as the vertical engine knows it: ordinals keep their histories apart.
func (c *Conductor) measured(pod *corev1.Pod) vertical.Pod {
	p := vertical.Pod{UID: pod.UID}
	if slot, ok := c.slotOf(pod); ok {
		p.Slot = strconv.Itoa(slot.Ordinal)
	}
	for _, container := range pod.Spec.Containers {
		p.Containers = append(p.Containers, container.Name)
	}
	return p
}

func samples(pod *corev1.Pod, usage metrics.PodUsage) []vertical.Sample {
	all := make([]vertical.Sample, 0, len(usage.Containers))
	for _, container := range usage.Containers {
		sample := vertical.Sample{Pod: pod.UID, Container: container.Name, Time: usage.Timestamp, CPU: -1, Memory: -1}
		if cpu, ok := container.Usage[corev1.ResourceCPU]; ok {
			sample.CPU = vertical.MilliCPU(cpu.MilliValue())
		}
		if memory, ok := container.Usage[corev1.ResourceMemory]; ok {
			sample.Memory = vertical.Bytes(memory.Value())
		}
		all = append(all, sample)
	}
	return all
}

// ooms are the kills and evictions that are still told of. The engine counts each of them once, and only those of containers
// that are measured.
func (c *Conductor) ooms(pod *corev1.Pod) []vertical.OOM {
	all := killed(pod)
	if c.evictions == nil {
		return all
	}
	_, isSlot := c.slotOf(pod)
	for _, e := range c.evictions.Of(pod.Namespace, pod.Name) {
		// A pod that is evicted is soon followed by its successor, often before it is looked at: then that one
		// is told of it, for the slot. Who was told first stays the one, or it would count twice.
		told, known := c.history.evicted[e.Event]
		if !known && (e.Pod == pod.UID || isSlot && !e.Time.After(pod.CreationTimestamp.Time)) {
			told = pod.UID
			c.history.evicted[e.Event] = told
		}
		if told == pod.UID {
			all = append(all, vertical.OOM{Pod: pod.UID, Container: e.Container, Time: e.Time, Request: vertical.Bytes(e.Used)})
		}
	}
	return all
}

// killed are the kills in a pod's status: of containers that run again, and of those that do not, or not yet.
func killed(pod *corev1.Pod) []vertical.OOM {
	var all []vertical.OOM
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		for _, ended := range []*corev1.ContainerStateTerminated{status.LastTerminationState.Terminated, status.State.Terminated} {
			if ended != nil && ended.Reason == "OOMKilled" {
				all = append(all, vertical.OOM{Pod: pod.UID, Container: status.Name, Time: ended.FinishedAt.Time, Request: requested(pod, status)})
			}
		}
	}
	return all
}

// requested is the memory that a container has, by the kubelet's word: the spec may ask for a size that is not
// there yet.
func requested(pod *corev1.Pod, status corev1.ContainerStatus) vertical.Bytes {
	if status.Resources != nil {
		if memory, ok := status.Resources.Requests[corev1.ResourceMemory]; ok {
			return vertical.Bytes(memory.Value())
		}
	}
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if container.Name == status.Name {
			return vertical.Bytes(container.Resources.Requests.Memory().Value())
		}
	}
	return 0
}
