// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"

	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// successorOf returns what the controller of a pod would ask the API server for once the pod is gone, under a name
// that it can be asked for while the pod is there; nil, and why, where nothing would come.
//
// It is made from the template where that is known. Of another controller's pods, an operator's, all that is known is
// the pod itself.
func (c *Conductor) successorOf(pod *corev1.Pod) (*corev1.Pod, string) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return nil, "it has no controller that would re-create it"
	}
	var next *corev1.Pod
	switch kind := kindOf(owner); kind {
	case "StatefulSet":
		set := c.reader.StatefulSet(pod.Namespace, owner.Name)
		slot, ok := statefulset.SlotOf(pod)
		if set == nil || set.UID != owner.UID || !ok {
			return nil, fmt.Sprintf("its %s %s is not there", kind, owner.Name)
		}
		next = forecast.OfSet(set, 0, nil, nil).Made(slot.Ordinal)
		next.Name = besides(pod.Name)
	case "ReplicaSet":
		set := c.reader.ReplicaSet(pod.Namespace, owner.Name)
		if set == nil || set.UID != owner.UID {
			return nil, fmt.Sprintf("its %s %s is not there", kind, owner.Name)
		}
		next = forecast.Workload{Namespace: set.Namespace, Name: set.Name, Controller: owner, Template: &set.Spec.Template}.Made(0)
		next.Name, next.GenerateName = "", set.Name+"-"
	default:
		next = recreated(pod, nil)
		next.Name = besides(pod.Name)
		delete(next.Annotations, resize.RecordAnnotation)
	}
	next.UID, next.Status = "", corev1.PodStatus{}
	for i := range next.OwnerReferences {
		// It may be set by those only who may change the owner's finalizers.
		next.OwnerReferences[i].BlockOwnerDeletion = nil
	}
	return next, ""
}

// kindOf is the kind of a controller of group apps, empty of another.
func kindOf(owner *metav1.OwnerReference) string {
	if gv, err := schema.ParseGroupVersion(owner.APIVersion); err != nil || gv.Group != appsv1.GroupName {
		return ""
	}
	return owner.Kind
}

// besides is a name that no pod has while the pod of the given name is there. It ends as that does: what follows the
// last dash may be how its slot is known.
func besides(name string) string {
	dash := strings.LastIndex(name, "-") + 1
	return name[:dash] + "successor-" + name[dash:]
}

// asSuccessor is a pod that came back from a dry run, in the place of the pod that it would follow.
func asSuccessor(created, pod *corev1.Pod) *corev1.Pod {
	next := created.DeepCopy()
	next.Name, next.UID = pod.Name, successorUID(pod)
	next.Spec.NodeName, next.Status = "", corev1.PodStatus{Phase: corev1.PodPending}
	return next
}

// recreated is the pod that follows one, as far as that tells, with other sizes.
func recreated(pod *corev1.Pod, sizes resize.Sizes) *corev1.Pod {
	next := sizedAs(pod, sizes)
	next.ObjectMeta = metav1.ObjectMeta{
		Namespace: pod.Namespace, Name: pod.Name, UID: successorUID(pod), Labels: next.Labels, Annotations: next.Annotations,
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		next.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	next.Spec.NodeName, next.Spec.EphemeralContainers = "", nil
	next.Status = corev1.PodStatus{Phase: corev1.PodPending}
	return next
}

// replace takes a pod out of a simulation and shows it the claims that are made for its successor alone.
func (c *Conductor) replace(simulation Simulation, pod, next *corev1.Pod) error {
	if err := simulation.RemovePod(pod); err != nil {
		return err
	}
	for i := range next.Spec.Volumes {
		volume := &next.Spec.Volumes[i]
		if volume.Ephemeral == nil || volume.Ephemeral.VolumeClaimTemplate == nil {
			continue
		}
		claim := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: next.Namespace, Name: ephemeral.VolumeClaimName(next, volume), UID: next.UID + types.UID("/"+volume.Name),
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(next, corev1.SchemeGroupVersion.WithKind("Pod"))},
			},
			Spec:   *volume.Ephemeral.VolumeClaimTemplate.Spec.DeepCopy(),
			Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
		}
		if class := c.reader.DefaultStorageClass(); claim.Spec.StorageClassName == nil && class != "" {
			claim.Spec.StorageClassName = &class
		}
		if err := simulation.AddObject(claim); err != nil {
			return err
		}
	}
	return nil
}

// successorUID is like no UID that the API server gives.
func successorUID(pod *corev1.Pod) types.UID {
	return types.UID("successor/" + pod.Namespace + "/" + pod.Name)
}
