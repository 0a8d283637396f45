// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	"fmt"
	"iter"

	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity/capacity"
	"github.com/berth-dev/berth/plugins/volumeaffinity/reach"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/component-helpers/storage/volume"
)

// ClaimsOf yields the names of a pod's claims, those of generic ephemeral
// volumes included.
func ClaimsOf(pod *v1.Pod) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range pod.Spec.Volumes {
			if name := claimOf(pod, &pod.Spec.Volumes[i]); name != "" && !yield(name) {
				return
			}
		}
	}
}

// Uses tells whether a pod uses a claim.
func Uses(pod *v1.Pod, claim string) bool {
	for name := range ClaimsOf(pod) {
		if name == claim {
			return true
		}
	}
	return false
}

// claimOf returns the name of the claim behind a volume, if there is one.
func claimOf(pod *v1.Pod, of *v1.Volume) string {
	switch {
	case of.PersistentVolumeClaim != nil:
		return of.PersistentVolumeClaim.ClaimName
	case of.Ephemeral != nil:
		return ephemeral.VolumeClaimName(pod, of)
	default:
		return ""
	}
}

// bound is a volume of the pod that can not be reached from everywhere.
type bound struct {
	name, claim string
	reach       *reach.Volume
	local       bool
}

// gathered is what the claims of a pod say.
type gathered struct {
	bound []bound
	// selected is the claim that is being provisioned for a node, and that node.
	selected     *v1.PersistentVolumeClaim
	selectedNode string
	// wanted are the volumes that are still to be made, as far as drivers say
	// how much room they have.
	wanted []capacity.Claim
}

// volumes are the reaches of the bound volumes.
func (g gathered) volumes() []*reach.Volume {
	volumes := make([]*reach.Volume, len(g.bound))
	for i := range g.bound {
		volumes[i] = g.bound[i].reach
	}
	return volumes
}

// gather reads the claims of a pod, or says why it can have no node now. A
// lister's error means not found and nothing else.
func (pl *VolumeAffinity) gather(pod *v1.Pod) (g gathered, refusal string) {
	for i := range pod.Spec.Volumes {
		name := claimOf(pod, &pod.Spec.Volumes[i])
		if name == "" {
			continue
		}
		claim, err := pl.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
		switch {
		case err != nil && pod.Spec.Volumes[i].Ephemeral != nil:
			return g, fmt.Sprintf(ErrReasonEphemeralMissing, name, pod.Spec.Volumes[i].Name)
		case err != nil:
			return g, fmt.Sprintf(ErrReasonClaimMissing, name)
		case claim.DeletionTimestamp != nil:
			return g, fmt.Sprintf(ErrReasonClaimGoing, name)
		case pod.Spec.Volumes[i].Ephemeral != nil && ephemeral.VolumeIsForPod(pod, claim) != nil:
			return g, fmt.Sprintf(ErrReasonClaimForeign, name, pod.Spec.Volumes[i].Name)
		case claim.Status.Phase == v1.ClaimLost:
			return g, fmt.Sprintf(ErrReasonClaimLost, name, claim.Spec.VolumeName)
		case claim.Spec.VolumeName == "":
			pl.unbound(&g, claim)
		default:
			if refusal := pl.bound(&g, claim); refusal != "" {
				return g, refusal
			}
		}
	}
	return g, ""
}

// bound adds the volume of a claim that has one, or says what is wrong with it.
func (pl *VolumeAffinity) bound(g *gathered, claim *v1.PersistentVolumeClaim) (refusal string) {
	pv, err := pl.volumes.Get(claim.Spec.VolumeName)
	switch {
	case err != nil && !metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted):
		return fmt.Sprintf(ErrReasonVolumeAwaited, claim.Name, claim.Spec.VolumeName)
	case err != nil:
		return fmt.Sprintf(ErrReasonVolumeMissing, claim.Spec.VolumeName, claim.Name)
	}
	if ref := pv.Spec.ClaimRef; ref != nil && ref.UID != "" && ref.UID != claim.UID {
		return fmt.Sprintf(ErrReasonVolumeTaken, pv.Name, claim.Name, ref.Namespace+"/"+ref.Name)
	}
	if pl.csi.IsPVMigratable(pv) {
		return ""
	}
	if to := pl.shared.Reach.Volume(pv); to != nil {
		g.bound = append(g.bound, bound{name: pv.Name, claim: claim.Name, reach: to, local: pv.Spec.Local != nil || pv.Spec.HostPath != nil})
	}
	return ""
}

// unbound adds what is known of a claim without a volume.
func (pl *VolumeAffinity) unbound(g *gathered, claim *v1.PersistentVolumeClaim) {
	if node := claim.Annotations[statefulset.SelectedNode]; node != "" && g.selected == nil {
		g.selected, g.selectedNode = claim, node
	}
	size, asks := claim.Spec.Resources.Requests[v1.ResourceStorage]
	if !asks {
		return
	}
	class, err := pl.classes.Get(volume.GetPersistentVolumeClaimClass(claim))
	if err != nil || class.VolumeBindingMode == nil || *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer {
		return
	}
	driver, err := pl.drivers.Get(class.Provisioner)
	if err != nil || driver.Spec.StorageCapacity == nil || !*driver.Spec.StorageCapacity || pl.shared.Claims.HasUnclaimed(class.Name) {
		return
	}
	g.wanted = append(g.wanted, capacity.Claim{Namespace: claim.Namespace, Name: claim.Name, StorageClass: class.Name, Bytes: size.Value()})
}
