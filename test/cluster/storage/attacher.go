// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"slices"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// attacherFinalizer keeps an attachment until its volume is detached, under the
// name that the external attacher gives it.
const attacherFinalizer = "external-attacher/zonal-berth-test"

// attacher acknowledges the attachments that the controller manager asks for,
// some time after it asked.
type attacher struct {
	client      kubernetes.Interface
	attachments storagelisters.VolumeAttachmentLister
	delay       time.Duration
	queue       queue
}

// handler waits the delay of the storage once for each request to attach or detach.
func (a *attacher) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { a.request(obj.(*storagev1.VolumeAttachment)) },
		UpdateFunc: func(old, obj any) {
			attachment := obj.(*storagev1.VolumeAttachment)
			if old.(*storagev1.VolumeAttachment).DeletionTimestamp == nil && attachment.DeletionTimestamp != nil {
				a.request(attachment)
			}
		},
	}
}

func (a *attacher) request(attachment *storagev1.VolumeAttachment) {
	if attachment.Spec.Attacher == ZonalDriver {
		a.queue.AddAfter(attachment.Name, a.delay)
	}
}

// sync attaches or detaches, whichever the attachment asks for now.
func (a *attacher) sync(ctx context.Context, name string) error {
	attachment, err := a.attachments.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	next := attachment.DeepCopy()
	client := a.client.StorageV1().VolumeAttachments()
	logger := klog.FromContext(ctx)
	switch {
	case attachment.DeletionTimestamp != nil:
		next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == attacherFinalizer })
		if len(next.Finalizers) == len(attachment.Finalizers) {
			return nil
		}
		_, err = client.Update(ctx, next, metav1.UpdateOptions{})
		logger.V(2).Info("Detached", "volume", attachment.Spec.Source.PersistentVolumeName, "node", attachment.Spec.NodeName, "err", err)
	case !attachment.Status.Attached:
		if !slices.Contains(next.Finalizers, attacherFinalizer) {
			next.Finalizers = append(next.Finalizers, attacherFinalizer)
			if next, err = client.Update(ctx, next, metav1.UpdateOptions{}); err != nil {
				return err
			}
		}
		next.Status.Attached = true
		_, err = client.UpdateStatus(ctx, next, metav1.UpdateOptions{})
		logger.V(2).Info("Attached", "volume", attachment.Spec.Source.PersistentVolumeName, "node", attachment.Spec.NodeName, "err", err)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
