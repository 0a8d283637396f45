// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// OfSet returns the workload of a StatefulSet. The pods are those it controls,
// existing the names of the claims in its namespace that exist.
func OfSet(set *appsv1.StatefulSet, desired int, pods []*v1.Pod, existing map[string]bool) Workload {
	slots := &Slots{
		Ordered:  set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement,
		Service:  set.Spec.ServiceName,
		Claims:   set.Spec.VolumeClaimTemplates,
		Existing: existing,
	}
	if set.Spec.Ordinals != nil {
		slots.Start = int(set.Spec.Ordinals.Start)
	}
	if set.Spec.Selector != nil {
		slots.Selector = set.Spec.Selector.MatchLabels
	}
	return Workload{
		Kind: "StatefulSet", Namespace: set.Namespace, Name: set.Name,
		Desired:       desired,
		Controller:    metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet")),
		Template:      set.Spec.Template,
		RevisionLabel: appsv1.ControllerRevisionHashLabelKey,
		Revision:      set.Status.UpdateRevision,
		Pods:          pods,
		Slots:         slots,
	}
}

// OfDeployment returns the workload of a Deployment. The ReplicaSet is that of
// its present template, nil while there is none; the pods are those of all its
// ReplicaSets.
func OfDeployment(deployment *appsv1.Deployment, replicaSet *appsv1.ReplicaSet, desired int, pods []*v1.Pod) Workload {
	w := Workload{
		Kind: "Deployment", Namespace: deployment.Namespace, Name: deployment.Name,
		Desired:       desired,
		Template:      deployment.Spec.Template,
		RevisionLabel: appsv1.DefaultDeploymentUniqueLabelKey,
		Pods:          pods,
	}
	if replicaSet != nil {
		w.Controller = metav1.NewControllerRef(replicaSet, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
		w.Template = replicaSet.Spec.Template
		w.Revision = replicaSet.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	}
	return w
}

// sample returns a live pod of the revision to copy, the first by name of
// those that have a node, or of the others; nil where there is none.
func (w Workload) sample() *v1.Pod {
	if w.Revision == "" {
		return nil
	}
	candidates := slices.DeleteFunc(slices.Clone(w.Pods), func(pod *v1.Pod) bool {
		return over(pod) || pod.Labels[w.RevisionLabel] != w.Revision
	})
	if len(candidates) == 0 {
		return nil
	}
	unbound := func(pod *v1.Pod) int {
		if pod.Spec.NodeName == "" {
			return 1
		}
		return 0
	}
	return slices.MinFunc(candidates, func(a, b *v1.Pod) int {
		return cmp.Or(cmp.Compare(unbound(a), unbound(b)), cmp.Compare(a.Name, b.Name))
	})
}

// Made returns the pod of an index as its controller makes it from the template.
func (w Workload) Made(index int) *v1.Pod { return w.pod(nil, index) }

// pod returns the future pod of an index.
func (w Workload) pod(sample *v1.Pod, index int) *v1.Pod {
	pod := &v1.Pod{}
	if sample != nil {
		sample.DeepCopyInto(pod)
	} else {
		w.Template.ObjectMeta.DeepCopyInto(&pod.ObjectMeta)
		w.Template.Spec.DeepCopyInto(&pod.Spec)
	}
	pod.ObjectMeta = metav1.ObjectMeta{
		Namespace: w.Namespace, Name: fmt.Sprintf("%s-forecast-%d", w.Name, index),
		Labels: pod.Labels, Annotations: pod.Annotations,
	}
	pod.Spec.NodeName = ""
	pod.Spec.EphemeralContainers = nil
	pod.Status = v1.PodStatus{Phase: v1.PodPending}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	if w.Revision != "" {
		pod.Labels[w.RevisionLabel] = w.Revision
	}
	if w.Controller != nil {
		pod.OwnerReferences = []metav1.OwnerReference{*w.Controller}
	}
	if w.Slots != nil {
		w.fill(pod, index)
	}
	pod.UID = types.UID(fmt.Sprintf("forecast/%s/%s", pod.Namespace, pod.Name))
	return pod
}

// fill makes the pod that of a slot, as the StatefulSet controller would.
func (w Workload) fill(pod *v1.Pod, ordinal int) {
	pod.Name = w.slotName(ordinal)
	pod.Labels[appsv1.StatefulSetPodNameLabel] = pod.Name
	pod.Labels[appsv1.PodIndexLabel] = strconv.Itoa(ordinal)
	pod.Spec.Hostname = pod.Name
	pod.Spec.Subdomain = w.Slots.Service
	for _, template := range w.Slots.Claims {
		pod.Spec.Volumes = slices.DeleteFunc(pod.Spec.Volumes, func(v v1.Volume) bool { return v.Name == template.Name })
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{
			Name: template.Name,
			VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{
				ClaimName: w.claimName(template.Name, ordinal),
			}},
		})
	}
}

// claims returns the claims of a slot that do not exist yet.
func (w Workload) claims(ordinal int, defaultClass string) []*v1.PersistentVolumeClaim {
	if w.Slots == nil {
		return nil
	}
	var claims []*v1.PersistentVolumeClaim
	for _, template := range w.Slots.Claims {
		name := w.claimName(template.Name, ordinal)
		if w.Slots.Existing[name] {
			continue
		}
		claim := template.DeepCopy()
		claim.ObjectMeta = metav1.ObjectMeta{
			Namespace: w.Namespace, Name: name, UID: types.UID(fmt.Sprintf("forecast/%s/%s", w.Namespace, name)),
			Labels: claim.Labels, Annotations: claim.Annotations,
		}
		if claim.Labels == nil {
			claim.Labels = map[string]string{}
		}
		maps.Copy(claim.Labels, w.Slots.Selector)
		if claim.Spec.StorageClassName == nil && defaultClass != "" {
			claim.Spec.StorageClassName = &defaultClass
		}
		claim.Status = v1.PersistentVolumeClaimStatus{Phase: v1.ClaimPending}
		claims = append(claims, claim)
	}
	return claims
}

func (w Workload) slotName(ordinal int) string { return fmt.Sprintf("%s-%d", w.Name, ordinal) }

func (w Workload) claimName(template string, ordinal int) string {
	return template + "-" + w.slotName(ordinal)
}

// ordinal returns the ordinal that the pod's name says it fills.
func (w Workload) ordinal(pod *v1.Pod) (int, bool) {
	suffix, ok := strings.CutPrefix(pod.Name, w.Name+"-")
	if !ok {
		return 0, false
	}
	ordinal, err := strconv.Atoi(suffix)
	return ordinal, err == nil && strconv.Itoa(ordinal) == suffix
}
