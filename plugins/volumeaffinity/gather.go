// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	"fmt"
	"iter"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"
)

// ClaimsOf yields the names of a pod's claims, those of generic ephemeral
// volumes included.
func ClaimsOf(pod *v1.Pod) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range pod.Spec.Volumes {
			volume, name := &pod.Spec.Volumes[i], ""
			switch {
			case volume.PersistentVolumeClaim != nil:
				name = volume.PersistentVolumeClaim.ClaimName
			case volume.Ephemeral != nil:
				name = ephemeral.VolumeClaimName(pod, volume)
			default:
				continue
			}
			if !yield(name) {
				return
			}
		}
	}
}

// gather returns the pod's bound volumes that can not be reached from
// everywhere, or why the pod can have no node now. A lister's error means not
// found and nothing else.
func (pl *VolumeAffinity) gather(pod *v1.Pod) (bound reach, refusal string) {
	for name := range ClaimsOf(pod) {
		claim, err := pl.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
		if err != nil {
			return nil, fmt.Sprintf(ErrReasonClaimMissing, name)
		}
		if claim.Status.Phase == v1.ClaimLost {
			return nil, fmt.Sprintf(ErrReasonClaimLost, name, claim.Spec.VolumeName)
		}
		if claim.Spec.VolumeName == "" {
			continue
		}
		pv, err := pl.volumes.Get(claim.Spec.VolumeName)
		if err != nil {
			return nil, fmt.Sprintf(ErrReasonVolumeMissing, claim.Spec.VolumeName, name)
		}
		if ref := pv.Spec.ClaimRef; ref != nil && ref.UID != "" && ref.UID != claim.UID {
			return nil, fmt.Sprintf(ErrReasonVolumeTaken, pv.Name, name, ref.Namespace+"/"+ref.Name)
		}
		if pv.Spec.NodeAffinity != nil && pv.Spec.NodeAffinity.Required != nil && !pl.csi.IsPVMigratable(pv) {
			bound = append(bound, newVolume(pv, name))
		}
	}
	return bound, ""
}
