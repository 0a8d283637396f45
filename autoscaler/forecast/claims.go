// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"
)

// classes are the StorageClasses, and the name of the default one.
type classes struct {
	all   []*storagev1.StorageClass
	usual string
}

func (c classes) of(claim *v1.PersistentVolumeClaim) *storagev1.StorageClass {
	if claim.Spec.StorageClassName == nil {
		return nil
	}
	i := slices.IndexFunc(c.all, func(class *storagev1.StorageClass) bool { return class.Name == *claim.Spec.StorageClassName })
	if i < 0 {
		return nil
	}
	return c.all[i]
}

func immediate(class *storagev1.StorageClass) bool {
	return class.VolumeBindingMode == nil || *class.VolumeBindingMode == storagev1.VolumeBindingImmediate
}

// claim returns the claims of a future pod that do not exist yet; or why
// nobody knows where their volumes will be.
func (c classes) claim(w Workload, pod *v1.Pod) (claims []*v1.PersistentVolumeClaim, why string) {
	if w.Slots != nil {
		claims = w.claims(pod)
	}
	for i := range pod.Spec.Volumes {
		if volume := &pod.Spec.Volumes[i]; volume.Ephemeral != nil && volume.Ephemeral.VolumeClaimTemplate != nil {
			claims = append(claims, ephemeralClaim(pod, volume))
		}
	}
	for _, claim := range claims {
		if claim.Spec.StorageClassName == nil && c.usual != "" {
			claim.Spec.StorageClassName = &c.usual
		}
		// Without the classes there is nothing to judge by.
		if class := c.of(claim); class == nil && c.all != nil && claim.Spec.VolumeName == "" {
			return nil, fmt.Sprintf("claim %s names no StorageClass that is there: which volume it gets is known once it has one", claim.Name)
		}
	}
	for _, resource := range pod.Spec.ResourceClaims {
		if resource.ResourceClaimTemplateName != nil {
			return nil, fmt.Sprintf("its ResourceClaim %s is made once the pod is there", resource.Name)
		}
	}
	return claims, ""
}

// toCome are the claims whose volumes are provisioned once the pod has a node.
// Those of the others are made at once, wherever their class allows: the pod
// loses them and may go there only.
func (c classes) toCome(pod *v1.Pod, claims []*v1.PersistentVolumeClaim) []*v1.PersistentVolumeClaim {
	return slices.DeleteFunc(claims, func(claim *v1.PersistentVolumeClaim) bool {
		class := c.of(claim)
		if class == nil || !immediate(class) {
			return false
		}
		pod.Spec.Volumes = slices.DeleteFunc(pod.Spec.Volumes, func(v v1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim.Name ||
				v.Ephemeral != nil && ephemeral.VolumeClaimName(pod, &v) == claim.Name
		})
		confine(pod, class.AllowedTopologies)
		return true
	})
}

// confine lets the pod go only where one of the terms holds, beside what it demands itself.
func confine(pod *v1.Pod, terms []v1.TopologySelectorTerm) {
	if len(terms) == 0 {
		return
	}
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &v1.Affinity{}
	}
	if pod.Spec.Affinity.NodeAffinity == nil {
		pod.Spec.Affinity.NodeAffinity = &v1.NodeAffinity{}
	}
	own := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if own == nil {
		own = &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{}}}
	}
	both := &v1.NodeSelector{}
	for _, term := range own.NodeSelectorTerms {
		for _, allowed := range terms {
			next := term.DeepCopy()
			for _, e := range allowed.MatchLabelExpressions {
				next.MatchExpressions = append(next.MatchExpressions, v1.NodeSelectorRequirement{Key: e.Key, Operator: v1.NodeSelectorOpIn, Values: e.Values})
			}
			both.NodeSelectorTerms = append(both.NodeSelectorTerms, *next)
		}
	}
	pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = both
}

// claims returns the claims of a slot that do not exist yet.
func (w Workload) claims(pod *v1.Pod) []*v1.PersistentVolumeClaim {
	ordinal, ok := w.ordinal(pod)
	if !ok {
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
			Namespace: w.Namespace, Name: name, UID: uid(w.Namespace, name),
			Labels: claim.Labels, Annotations: claim.Annotations,
		}
		if claim.Labels == nil {
			claim.Labels = map[string]string{}
		}
		maps.Copy(claim.Labels, w.Slots.Selector)
		claim.Status = v1.PersistentVolumeClaimStatus{Phase: v1.ClaimPending}
		claims = append(claims, claim)
	}
	return claims
}

// ephemeralClaim is made for a volume that lives as long as its pod.
func ephemeralClaim(pod *v1.Pod, volume *v1.Volume) *v1.PersistentVolumeClaim {
	template := volume.Ephemeral.VolumeClaimTemplate.DeepCopy()
	name := ephemeral.VolumeClaimName(pod, volume)
	return &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: name, UID: uid(pod.Namespace, name), Labels: template.Labels, Annotations: template.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(pod, v1.SchemeGroupVersion.WithKind("Pod"))},
		},
		Spec:   template.Spec,
		Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimPending},
	}
}

// ownClaim returns the name of a claim that is the pod's own, by its name;
// empty where it has none.
func ownClaim(pod *v1.Pod) string {
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil && strings.Contains(v.PersistentVolumeClaim.ClaimName, pod.Name) {
			return v.PersistentVolumeClaim.ClaimName
		}
	}
	return ""
}
