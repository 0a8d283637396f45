// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func TestProvision(t *testing.T) {
	nowhere := node("nowhere", "zone-a")
	delete(nowhere.Labels, corev1.LabelTopologyZone)
	p := &provisioner{client: fake.NewClientset(node("n", "zone-b"), nowhere)}
	selector := claim("data")
	selector.Spec.Selector = &metav1.LabelSelector{}
	for name, tc := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		node  string
		state controller.ProvisioningState
		ok    bool
	}{
		"where the scheduler chose":            {claim: claim("data"), node: "n", state: controller.ProvisioningFinished, ok: true},
		"a node that is gone: choose again":    {claim: claim("data"), node: "gone", state: controller.ProvisioningReschedule},
		"a node without a zone: choose again":  {claim: claim("data"), node: "nowhere", state: controller.ProvisioningReschedule},
		"a claim with a selector: never":       {claim: selector, node: "n", state: controller.ProvisioningFinished},
		"before its pod, in a zone with nodes": {claim: claim("data"), state: controller.ProvisioningFinished, ok: true},
	} {
		t.Run(name, func(t *testing.T) {
			volume, state, err := p.Provision(t.Context(), controller.ProvisionOptions{
				StorageClass: class(ZonalDriver), PVName: "pvc-1", PVC: tc.claim, SelectedNodeName: tc.node,
			})
			if state != tc.state || (err == nil) != tc.ok || (volume != nil) != tc.ok {
				t.Errorf("got volume %v, state %s, error %v", volume, state, err)
			}
		})
	}
}

// TestProvisionFromAPool: the second of two claims that the scheduler looked at
// alone finds no room, and has the scheduler choose again.
func TestProvisionFromAPool(t *testing.T) {
	n := withPool(node("n", "zone-a"), "100Gi")
	without := node("without", "zone-a")
	without.Labels[PooledTopologyKey] = "host-without"
	var granted []string
	p := &provisioner{client: fake.NewClientset(n, without), pools: newPools(), granted: func(place string) { granted = append(granted, place) }}
	provision := func(name, node string) (controller.ProvisioningState, error) {
		c := claim(name)
		c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("60Gi")
		_, state, err := p.Provision(t.Context(), controller.ProvisionOptions{
			StorageClass: class(PooledDriver), PVName: "pvc-" + name, PVC: c, SelectedNodeName: node,
		})
		return state, err
	}
	for range 2 { // the second time is a retry
		if _, err := provision("a", "n"); err != nil {
			t.Fatal(err)
		}
	}
	if len(granted) == 0 || granted[0] != n.Labels[PooledTopologyKey] {
		t.Errorf("granted room of %q, want that the pool of n is told of", granted)
	}
	state, err := provision("b", "n")
	if state != controller.ProvisioningReschedule || err == nil || !strings.Contains(err.Error(), "node n has 40Gi left") {
		t.Errorf("60 of 40 GiB: got %s, %v", state, err)
	}
	if state, err := provision("b", "without"); state != controller.ProvisioningReschedule || err == nil || !strings.Contains(err.Error(), "no pool") {
		t.Errorf("a node without a pool: got %s, %v", state, err)
	}
	if _, err := provision("b", ""); err == nil {
		t.Error("a pool is of one node, and none was chosen")
	}
}

// TestDeleteGivesRoomBack: at once for a volume that never had an object, else
// when the object is gone.
func TestDeleteGivesRoomBack(t *testing.T) {
	client := fake.NewClientset(pooled("kept", 10))
	factory := informers.NewSharedInformerFactory(client, 0)
	p := &provisioner{
		client:      client,
		attachments: factory.Storage().V1().VolumeAttachments().Lister(),
		volumes:     factory.Core().V1().PersistentVolumes().Lister(),
		pools:       newPools(),
	}
	start(t, factory)
	for _, name := range []string{"kept", "given-up"} {
		p.pools.put(pooled(name, 10))
		if err := p.Delete(t.Context(), pooled(name, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if free := p.pools.free("host-n", 100*gi); free != 90*gi {
		t.Errorf("%d bytes free, want 90 GiB", free)
	}
}

func TestDeleteWaitsForDetachment(t *testing.T) {
	attached := attachment(ZonalDriver)
	client := fake.NewClientset(attached)
	factory := informers.NewSharedInformerFactory(client, 0)
	p := &provisioner{
		client:      client,
		attachments: factory.Storage().V1().VolumeAttachments().Lister(),
		volumes:     factory.Core().V1().PersistentVolumes().Lister(),
	}
	start(t, factory)

	if err := p.Delete(t.Context(), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"}}); err == nil || !strings.Contains(err.Error(), "node n") {
		t.Errorf("got %v, want a refusal that names the node", err)
	}
	if err := p.Delete(t.Context(), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-2"}}); err != nil {
		t.Errorf("a volume that is not attached: %v", err)
	}
}

// attachment is that of volume pvc-1 to node n.
func attachment(driver string) *storagev1.VolumeAttachment {
	volume := "pvc-1"
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: driver,
			NodeName: "n",
			Source:   storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume},
		},
	}
}

// start fills the caches of a factory. Listers and informers must have been asked for.
func start(t *testing.T, factory informers.SharedInformerFactory) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(factory.Shutdown)
	t.Cleanup(cancel)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
}
