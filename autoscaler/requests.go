// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/guard"
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
			for _, oom := range ooms(pod) {
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
			in.Now.Sub(last.at) < c.config.Vertical.RecommendPeriod.Duration && !killed[s.key()].After(last.at)
		next, decided := decision.Recommendations[s.key()]
		switch {
		case decided && !stands:
			advised[s.key()] = advice{Recommendation: next, at: in.Now, uid: s.vpa.UID, generation: s.vpa.Generation}
		case known:
			advised[s.key()] = last
		}
	}
	c.history.advised = advised
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

// ooms are the kills that a pod's status still tells of. The engine counts each of them once.
func ooms(pod *corev1.Pod) []vertical.OOM {
	var all []vertical.OOM
	for _, status := range pod.Status.ContainerStatuses {
		ended := status.LastTerminationState.Terminated
		if ended == nil || ended.Reason != "OOMKilled" {
			continue
		}
		oom := vertical.OOM{Pod: pod.UID, Container: status.Name, Time: ended.FinishedAt.Time}
		if i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == status.Name }); i >= 0 {
			oom.Request = vertical.Bytes(pod.Spec.Containers[i].Resources.Requests.Memory().Value())
		}
		all = append(all, oom)
	}
	return all
}

// writeVPAs writes what the guard says of each VPA, and the recommendation of those that have one.
func (c *Conductor) writeVPAs(ctx context.Context, vpas []*vpav1.VerticalPodAutoscaler, verdicts map[guard.Key]guard.Verdict) {
	for _, vpa := range vpas {
		status := *vpa.Status.DeepCopy()
		if r, ok := c.history.advised[vertical.Key{Namespace: vpa.Namespace, Name: vpa.Name}]; ok {
			c.recommend(&status, r.Recommendation)
		}
		c.markSizes(vpa, verdicts[vpaKey(vpa)].Allowed, &status)
		status.Conditions = c.markVPA(status.Conditions, verdicts[vpaKey(vpa)])
		if err := c.writer.VPAStatus(ctx, vpa, status); err != nil {
			klog.FromContext(ctx).Error(err, "Writing the status of a VPA", "vpa", klog.KObj(vpa))
		}
	}
}

// recommend puts a recommendation into a status, with the conditions of upstream's recommender.
// Without one, the last recommendation stands.
func (c *Conductor) recommend(status *vpav1.VerticalPodAutoscalerStatus, r vertical.Recommendation) {
	provided, message := corev1.ConditionFalse, fmt.Sprintf("none of the %d pods has been measured yet", r.Pods)
	if r.Pods == 0 {
		message = "the target is missing or has no pods"
	}
	if r.Reason == vertical.Provided {
		provided, message = corev1.ConditionTrue, ""
		status.Recommendation = &vpav1.RecommendedPodResources{}
		for _, container := range r.Containers {
			status.Recommendation.ContainerRecommendations = append(status.Recommendation.ContainerRecommendations, container.RecommendedContainerResources)
		}
	}
	c.setVPACondition(status, vpav1.RecommendationProvided, provided, string(r.Reason), message)
	if r.Reason == vertical.NoPodsMatched {
		c.setVPACondition(status, vpav1.NoPodsMatched, corev1.ConditionTrue, string(r.Reason), "No pods match this VPA object")
		return
	}
	status.Conditions = slices.DeleteFunc(status.Conditions, func(c vpav1.VerticalPodAutoscalerCondition) bool { return c.Type == vpav1.NoPodsMatched })
}

func (c *Conductor) setVPACondition(status *vpav1.VerticalPodAutoscalerStatus, kind vpav1.VerticalPodAutoscalerConditionType, value corev1.ConditionStatus, reason, message string) {
	wanted := vpav1.VerticalPodAutoscalerCondition{Type: kind, Status: value, LastTransitionTime: metav1.NewTime(c.now()), Reason: reason, Message: message}
	i := slices.IndexFunc(status.Conditions, func(c vpav1.VerticalPodAutoscalerCondition) bool { return c.Type == kind })
	if i < 0 {
		status.Conditions = append(status.Conditions, wanted)
		return
	}
	if status.Conditions[i].Status == value {
		wanted.LastTransitionTime = status.Conditions[i].LastTransitionTime
	}
	status.Conditions[i] = wanted
}
