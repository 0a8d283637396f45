// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/autoscaler/vertical"
)

// sized is a VPA that Berth decides for, with the workload that it sizes.
type sized struct {
	vpa *vpav1.VerticalPodAutoscaler
	// read tells that the target's scale was looked for; err why there is none.
	read bool
	err  error
	// set or deployment owns the pods, or neither does.
	set        *appsv1.StatefulSet
	deployment *appsv1.Deployment
	replicas   int
	pods       []*corev1.Pod
}

func (s *sized) key() vertical.Key {
	return vertical.Key{Namespace: s.vpa.Namespace, Name: s.vpa.Name}
}

// observeSized finds the workloads of Berth's VPAs. VPAs that are refused, or another recommender's, are left out, and
// those whose history of before is still to be read.
// Scales that memory does not hold are read in ticks that are fresh, and remembered for those that are not.
func (c *Conductor) observeSized(ctx context.Context, vpas []*vpav1.VerticalPodAutoscaler, verdicts map[guard.Key]guard.Verdict, fresh bool) []*sized {
	var all []*sized
	var reads []*scaleRead
	for _, vpa := range vpas {
		if !c.berths(vpa) || !verdicts[vpaKey(vpa)].Allowed || !c.remembers(vpa) {
			continue
		}
		read := &scaleRead{by: vpa.UID, namespace: vpa.Namespace, ref: TargetOf(vpa)}
		if last, ok := c.history.scales[vpa.UID]; ok && !fresh && !observe.Held(read.ref) && last.ref == read.ref {
			read = last
		}
		all = append(all, &sized{vpa: vpa})
		reads = append(reads, read)
	}
	if fresh {
		c.readScales(ctx, c.history.reads.vpas, reads)
	} else {
		c.recallScales(ctx, reads)
	}
	c.history.scales = make(map[types.UID]*scaleRead, len(reads))
	for i, s := range all {
		c.history.scales[s.vpa.UID] = reads[i]
		c.resolve(ctx, s, reads[i])
	}
	return all
}

// TargetOf is the target of a VPA that names one. As upstream's do, one of a well-known kind needs no apiVersion.
func TargetOf(vpa *vpav1.VerticalPodAutoscaler) autoscalingv2.CrossVersionObjectReference {
	ref := autoscalingv2.CrossVersionObjectReference(*vpa.Spec.TargetRef)
	if ref.APIVersion == "" && (ref.Kind == "Deployment" || ref.Kind == "ReplicaSet" || ref.Kind == "StatefulSet") {
		ref.APIVersion = appsv1.SchemeGroupVersion.String()
	}
	return ref
}

// recallScales reads the scales that memory holds.
func (c *Conductor) recallScales(ctx context.Context, reads []*scaleRead) {
	for _, read := range reads {
		if observe.Held(read.ref) {
			read.scale, read.err = c.reader.Scale(ctx, read.namespace, read.ref)
			read.done = true
		}
	}
}

// resolve finds the pods of a target, none where it cannot be read.
func (c *Conductor) resolve(ctx context.Context, s *sized, read *scaleRead) {
	s.read, s.err = read.done, read.err
	if !read.done {
		return
	}
	if read.err != nil {
		klog.FromContext(ctx).V(2).Info("The target of a VPA cannot be read", "vpa", klog.KObj(s.vpa), "err", read.err)
		return
	}
	w := WorkloadOf(c.reader, s.vpa.Namespace, read.ref, read.scale)
	s.set, s.deployment, s.replicas, s.pods = w.Set, w.Deployment, w.Replicas, w.Pods
}

// Workload is what a VPA sizes.
type Workload struct {
	// Set or Deployment owns the pods, or neither does.
	Set        *appsv1.StatefulSet
	Deployment *appsv1.Deployment
	Replicas   int
	Pods       []*corev1.Pod
}

// WorkloadOf finds the workload of a target, and its pods. Of a StatefulSet or Deployment they are those that it owns:
// labels may be shared.
func WorkloadOf(reader *observe.Reader, namespace string, ref autoscalingv2.CrossVersionObjectReference, scale observe.Scale) Workload {
	var w Workload
	selector, err := labels.Parse(scale.Selector)
	if err != nil || scale.Selector == "" {
		return w
	}
	w.Pods, w.Replicas = reader.PodsOf(namespace, selector), int(scale.SpecReplicas)
	switch top := ownerOfAll(reader, ref, w.Pods); top.Kind {
	case "StatefulSet":
		w.Set = reader.StatefulSet(namespace, top.Name)
	case "Deployment":
		w.Deployment = reader.Deployment(namespace, top.Name)
	}
	if w.Set != nil || w.Deployment != nil {
		w.Pods = w.owned(reader)
	}
	return w
}

// ownerOfAll is the StatefulSet or Deployment that a target is, or that owns all of its pods: that of an
// operator's resource is found by its pods.
func ownerOfAll(reader *observe.Reader, ref autoscalingv2.CrossVersionObjectReference, pods []*corev1.Pod) autoscalingv2.CrossVersionObjectReference {
	if observe.Held(ref) && ref.Kind != "ReplicaSet" {
		return ref
	}
	var found autoscalingv2.CrossVersionObjectReference
	for i, pod := range pods {
		top := reader.Scaled(pod)
		if i > 0 && top != found {
			return autoscalingv2.CrossVersionObjectReference{}
		}
		found = top
	}
	return found
}

// owned are the pods of the StatefulSet or Deployment alone.
func (w Workload) owned(reader *observe.Reader) []*corev1.Pod {
	var owned []*corev1.Pod
	for _, pod := range w.Pods {
		owner := metav1.GetControllerOfNoCopy(pod)
		switch {
		case owner == nil:
			continue
		case w.Set != nil && owner.UID == w.Set.UID:
		case w.Deployment != nil && owner.Kind == "ReplicaSet" && reader.Scaled(pod).Name == w.Deployment.Name:
		default:
			continue
		}
		owned = append(owned, pod)
	}
	return owned
}
