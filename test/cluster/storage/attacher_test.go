// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

func TestAttacherSync(t *testing.T) {
	now := metav1.Now()
	for name, tc := range map[string]struct {
		change     func(*storagev1.VolumeAttachment)
		finalizers []string
		attached   bool
	}{
		"a request to attach is granted and held": {
			change:     func(*storagev1.VolumeAttachment) {},
			finalizers: []string{attacherFinalizer},
			attached:   true,
		},
		"a request to detach lets go": {
			change: func(a *storagev1.VolumeAttachment) {
				a.DeletionTimestamp, a.Finalizers, a.Status.Attached = &now, []string{attacherFinalizer, "other"}, true
			},
			finalizers: []string{"other"},
			attached:   true,
		},
		"one that is deleted before it was attached is not attached": {
			change: func(a *storagev1.VolumeAttachment) { a.DeletionTimestamp, a.Finalizers = &now, []string{"other"} },

			finalizers: []string{"other"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := attachment(ZonalDriver)
			tc.change(a)
			client := fake.NewClientset(a)
			factory := informers.NewSharedInformerFactory(client, 0)
			attacher := &attacher{client: client, attachments: factory.Storage().V1().VolumeAttachments().Lister()}
			start(t, factory)
			if err := attacher.sync(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			got, err := client.StorageV1().VolumeAttachments().Get(t.Context(), "a", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.finalizers, got.Finalizers); diff != "" {
				t.Errorf("finalizers (-want +got):\n%s", diff)
			}
			if got.Status.Attached != tc.attached {
				t.Errorf("attached is %t, want %t", got.Status.Attached, tc.attached)
			}
		})
	}
}

// TestAttacherTakesItsTime: the delay of the storage passes once per request.
func TestAttacherTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attacher := &attacher{delay: time.Minute, queue: newQueue()}
		defer attacher.queue.ShutDown()
		handler := attacher.handler()
		handler.OnAdd(attachment("other.driver"), false)
		handler.OnAdd(attachment(ZonalDriver), false)
		began := time.Now()
		name, _ := attacher.queue.Get()
		if waited := time.Since(began); name != "a" || waited != time.Minute {
			t.Errorf("got %s after %s, want the attachment after the delay", name, waited)
		}
		attacher.queue.Done(name)

		attached := attachment(ZonalDriver)
		attached.Status.Attached = true
		deleted := attached.DeepCopy()
		deleted.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		handler.OnUpdate(attachment(ZonalDriver), attached)
		handler.OnUpdate(attached, deleted)
		began = time.Now()
		name, _ = attacher.queue.Get()
		if waited := time.Since(began); waited != time.Minute {
			t.Errorf("%s is detached after %s, want the delay", name, waited)
		}
		attacher.queue.Done(name)

		handler.OnUpdate(deleted, deleted)
		time.Sleep(time.Hour)
		if attacher.queue.Len() != 0 {
			t.Error("there is more to do than was asked for")
		}
	})
}
