// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/json"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	storagehelpers "k8s.io/component-helpers/storage/volume"
)

// reachOf tells from where the claims of a pod, which are its own, can be
// reached, or what is to be provisioned for them: equal text is equal reach. It
// returns the names by which they differ. It is not known of claims that are in
// a state of their own.
func (s *Session) reachOf(namespace string, claims []string) (reach string, names []string, known bool) {
	var text strings.Builder
	for _, name := range claims {
		claim, err := s.simulator.claims.PersistentVolumeClaims(namespace).Get(name)
		if err != nil || claim.DeletionTimestamp != nil || claim.Status.Phase == v1.ClaimLost ||
			slices.Contains(claim.Spec.AccessModes, v1.ReadWriteOncePod) || s.simulator.snapshot.claims[namespace+"/"+name] > 0 {
			return "", nil, false
		}
		names = append(names, name)
		part, ok := "", false
		if claim.Spec.VolumeName == "" {
			part, ok = s.toCome(claim)
		} else if part, ok = s.bound(claim); ok {
			names = append(names, claim.Spec.VolumeName)
		}
		if !ok {
			return "", nil, false
		}
		text.WriteString(part)
		text.WriteByte('\n')
	}
	return text.String(), names, true
}

// toCome describes a claim that is provisioned where its pod goes.
func (s *Session) toCome(claim *v1.PersistentVolumeClaim) (string, bool) {
	class, err := s.simulator.classes.Get(storagehelpers.GetPersistentVolumeClaimClass(claim))
	if err != nil || class.VolumeBindingMode == nil || *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer ||
		claim.Annotations[storagehelpers.AnnSelectedNode] != "" || s.unclaimed(class.Name) {
		return "", false
	}
	return text(struct {
		Class string
		Spec  v1.PersistentVolumeClaimSpec
	}{class.Name, claim.Spec})
}

// bound describes the volume of a claim.
func (s *Session) bound(claim *v1.PersistentVolumeClaim) (string, bool) {
	volume, err := s.simulator.volumes.Get(claim.Spec.VolumeName)
	if err != nil || !metav1.HasAnnotation(claim.ObjectMeta, storagehelpers.AnnBindCompleted) ||
		volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID != claim.UID {
		return "", false
	}
	driver, kind := "", "local"
	switch {
	case volume.Spec.CSI != nil:
		driver, kind = volume.Spec.CSI.Driver, "csi"
	case volume.Spec.Local == nil && volume.Spec.HostPath == nil:
		return "", false
	}
	return text(struct {
		Kind, Driver string
		Affinity     *v1.VolumeNodeAffinity
		Zones        [4]string
	}{kind, driver, volume.Spec.NodeAffinity, [4]string{
		volume.Labels[v1.LabelTopologyZone], volume.Labels[v1.LabelTopologyRegion],
		volume.Labels[v1.LabelFailureDomainBetaZone], volume.Labels[v1.LabelFailureDomainBetaRegion],
	}})
}

func text(v any) (string, bool) {
	data, err := json.Marshal(v)
	return string(data), err == nil
}

// unclaimed tells whether volumes of a class wait for a claim: one of them may
// be for this claim only.
func (s *Session) unclaimed(class string) bool {
	if s.spare == nil || s.spareOf != s.memory {
		s.spare, s.spareOf = map[string]bool{}, s.memory
		volumes, err := s.simulator.volumes.List(labels.Everything())
		if err != nil {
			return true
		}
		for _, volume := range volumes {
			if ref := volume.Spec.ClaimRef; ref == nil || ref.UID == "" {
				s.spare[volume.Spec.StorageClassName] = true
			}
		}
	}
	return s.spare[class]
}
