// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package storage is the storage of a test cluster: what provisioners, attachers
// and kubelets do about volumes on a real one, without a byte being stored.
//
// It promises the order of a cloud. A volume is made where the scheduler chose to
// put its first pod, and stays there. A pod that needs one starts when it is
// attached to the pod's node. A volume is reported in use as long as a pod of
// its node needs it, so that it is detached no sooner. A node that is not ready
// reports nothing any more: its volumes stay in use until the controller
// manager takes them by force. The room of a pool is published, and no volume
// gets more of it than there is.
package storage

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// ZonalDriver makes volumes that any node of one zone can attach.
	ZonalDriver = "zonal.berth.test"
	// LocalDriver makes volumes that one node has, and that nobody attaches.
	LocalDriver = "local.berth.test"
	// PooledDriver makes volumes in the pool of one node, as long as it has room.
	PooledDriver = "pooled.berth.test"
	// PooledTopologyKey is the node label that PooledDriver calls a node by.
	PooledTopologyKey = "topology.pooled.berth.test/node"
)

// topologyKey is the node label that says where a volume of the driver can be used.
func topologyKey(driver string) string {
	switch driver {
	case LocalDriver:
		return corev1.LabelHostname
	case PooledDriver:
		return PooledTopologyKey
	default:
		return corev1.LabelTopologyZone
	}
}

// Place is the one value of the topology key where a volume for the pods of a
// node can be. The label decides, never the node's name.
func Place(driver string, node *corev1.Node) (string, error) {
	key := topologyKey(driver)
	value, ok := node.Labels[key]
	if !ok {
		return "", fmt.Errorf("node %s has no label %s, so %s can place no volume for it", node.Name, key, driver)
	}
	return value, nil
}

// AnyPlace chooses a zone for a volume that is made before its pod: one that
// the class allows, if it says, else one that has nodes. The claims of a set go
// to the zones in turn, from one that depends on their name.
func AnyPlace(class *storagev1.StorageClass, claim *corev1.PersistentVolumeClaim, nodes []corev1.Node) (string, error) {
	if class.Provisioner != ZonalDriver {
		return "", fmt.Errorf("class %s must have volumeBindingMode WaitForFirstConsumer: a volume of %s is in one node", class.Name, class.Provisioner)
	}
	key := topologyKey(class.Provisioner)
	var zones []string
	for _, term := range class.AllowedTopologies {
		for _, expression := range term.MatchLabelExpressions {
			if expression.Key == key {
				zones = append(zones, expression.Values...)
			}
		}
	}
	if len(class.AllowedTopologies) == 0 {
		for _, node := range nodes {
			if zone, ok := node.Labels[key]; ok {
				zones = append(zones, zone)
			}
		}
	}
	if len(zones) == 0 {
		return "", fmt.Errorf("no zone for a volume of class %s: no node has the label %s, or the class allows none", class.Name, key)
	}
	slices.Sort(zones)
	zones = slices.Compact(zones)
	name, ordinal := splitOrdinal(claim.Name)
	hash := fnv.New32a()
	hash.Write([]byte(claim.Namespace + "/" + name))
	return zones[(uint64(hash.Sum32())+ordinal)%uint64(len(zones))], nil
}

// splitOrdinal takes the number from the end of a claim's name. One without has 0.
func splitOrdinal(claim string) (name string, ordinal uint64) {
	i := strings.LastIndexByte(claim, '-')
	if i < 0 {
		return claim, 0
	}
	ordinal, err := strconv.ParseUint(claim[i+1:], 10, 32)
	if err != nil {
		return claim, 0
	}
	return claim[:i], ordinal
}

// Volume is the volume for a claim, usable where the topology key has the value place.
func Volume(name string, class *storagev1.StorageClass, claim *corev1.PersistentVolumeClaim, place string) *corev1.PersistentVolume {
	reclaim := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		reclaim = *class.ReclaimPolicy
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: reclaim,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			MountOptions:                  class.MountOptions,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: class.Provisioner, VolumeHandle: name},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{
						Key:      topologyKey(class.Provisioner),
						Operator: corev1.NodeSelectorOpIn,
						Values:   []string{place},
					}},
				}},
			}},
		},
	}
}

// uniqueName is how nodes and the controller manager call a volume that is
// attached. ok is false for one that nobody attaches.
func uniqueName(volume *corev1.PersistentVolume) (name corev1.UniqueVolumeName, ok bool) {
	csi := volume.Spec.CSI
	if csi == nil || csi.Driver != ZonalDriver {
		return "", false
	}
	return corev1.UniqueVolumeName("kubernetes.io/csi/" + csi.Driver + "^" + csi.VolumeHandle), true
}

// claimNames are the claims that a pod uses, those made for it included.
func claimNames(pod *corev1.Pod) []string {
	var names []string
	for _, volume := range pod.Spec.Volumes {
		switch {
		case volume.PersistentVolumeClaim != nil:
			names = append(names, volume.PersistentVolumeClaim.ClaimName)
		case volume.Ephemeral != nil:
			names = append(names, pod.Name+"-"+volume.Name)
		}
	}
	return names
}
