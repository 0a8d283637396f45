// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// Controllers returns every ReplicationController, in no order.
func (r *Reader) Controllers() []*corev1.ReplicationController { return all(r.controllers.List) }

// Quotas returns every ResourceQuota, in no order.
func (r *Reader) Quotas() []*corev1.ResourceQuota { return all(r.quotas.List) }

// Classes returns every StorageClass, in no order.
func (r *Reader) Classes() []*storagev1.StorageClass { return all(r.classes.List) }

// Claims returns every PersistentVolumeClaim, in no order.
func (r *Reader) Claims() []*corev1.PersistentVolumeClaim { return all(r.claims.List) }
