// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"sync"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// attachments knows where volumes are attached.
type attachments struct {
	mu       sync.RWMutex
	byVolume map[string]map[string]attached // volume, name of the VolumeAttachment
}

type attached struct {
	node  string
	stays bool // nobody has asked to detach it yet
}

func newAttachments() *attachments {
	return &attachments{byVolume: map[string]map[string]attached{}}
}

// changed follows a VolumeAttachment, whose volume and node never change.
func (a *attachments) changed(before, after *storagev1.VolumeAttachment) {
	is := either(before, after)
	if is.Spec.Source.PersistentVolumeName == nil {
		return
	}
	volume := *is.Spec.Source.PersistentVolumeName
	a.mu.Lock()
	defer a.mu.Unlock()
	if after == nil {
		if delete(a.byVolume[volume], is.Name); len(a.byVolume[volume]) == 0 {
			delete(a.byVolume, volume)
		}
		return
	}
	if a.byVolume[volume] == nil {
		a.byVolume[volume] = map[string]attached{}
	}
	a.byVolume[volume][is.Name] = attached{node: is.Spec.NodeName, stays: is.DeletionTimestamp == nil}
}

// of returns the node that a volume is attached to, or will be, and whether it
// stays so. A volume that several nodes may use at a time ties nobody to one.
func (a *attachments) of(volume *v1.PersistentVolume) (node string, stays bool) {
	for _, mode := range volume.Spec.AccessModes {
		if mode == v1.ReadWriteMany || mode == v1.ReadOnlyMany {
			return "", false
		}
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, it := range a.byVolume[volume.Name] {
		if node == "" || (it.stays && !stays) {
			node, stays = it.node, it.stays
		}
	}
	return node, stays
}
