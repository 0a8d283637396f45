// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// hand makes volumes as an administrator does. They go with the test, after
// its namespace.
type hand struct {
	scene *scene
	names map[string]struct{}
}

func byHand(t *testing.T) *hand {
	h := &hand{names: map[string]struct{}{}}
	t.Cleanup(func() {
		for name := range h.names {
			err := h.scene.Kube.CoreV1().PersistentVolumes().Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		}
	})
	return h
}

// volume is one in a zone, or for all zones if none is given.
func (h *hand) volume(s scene, name, zone string) *corev1.PersistentVolume {
	name = s.Namespace + "-" + name
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "zonal.berth.test", VolumeHandle: name}},
		},
	}
	if zone != "" {
		volume.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}},
		}}}}
	}
	return volume
}

func (h *hand) create(ctx context.Context, t *testing.T, s scene, volume *corev1.PersistentVolume) {
	t.Helper()
	h.scene, h.names[volume.Name] = &s, struct{}{}
	if _, err := s.Kube.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestBoundByHand: a claim that names its volume has the volume's zone, also
// when the volume comes last.
func TestBoundByHand(t *testing.T) {
	t.Parallel()
	const g ground = "byhand"
	db := g.on(fixture.Workload{Name: "db", Replicas: 2, CPU: "50m", Parallel: true, Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}})
	hand := byHand(t)
	testenv.Test(t, features.New("a claim that names a volume").
		Setup(g.lay(t, g.zones("zone-a", "zone-b", "zone-c")...)).
		Assess("waits for it", step(func(ctx context.Context, t *testing.T, s scene) {
			claim := claimOf("data-db-0", "")
			claim.Spec.VolumeName = hand.volume(s, "mine", "zone-b").Name
			s.create(ctx, t, claim, db.Service(), db.StatefulSet())
			s.awaitPending(ctx, t, "db-0", corev1.PodReasonUnschedulable, "unbound immediate PersistentVolumeClaims")
		})).
		Assess("and its pod runs where the volume is", step(func(ctx context.Context, t *testing.T, s scene) {
			hand.create(ctx, t, s, hand.volume(s, "mine", "zone-b"))
			table := s.awaitSet(ctx, t, db.Name, 2)
			if diff := cmp.Diff([]string{s.Namespace + "-mine", "zone-b"}, []string{table[0].Volume, table[0].Zone}); diff != "" {
				t.Errorf("volume and zone of db-0 (-want +got):\n%s", diff)
			}
		})).
		Feature())
}

// TestClaimBeingDeleted: a claim that goes while its pod comes again is
// replaced, and ties the slot to nothing any more.
func TestClaimBeingDeleted(t *testing.T) {
	t.Parallel()
	const g ground = "goes"
	db := g.on(fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}})
	var before fixture.Table
	testenv.Test(t, features.New("a claim that is being deleted").
		Setup(g.lay(t, g.zones("zone-a", "zone-b", "zone-c")...)).
		Setup(classOfZone(t, "goes-a", "zone-a")).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, claimOf("data-db-1", "goes-a"), claimOf("data-db-2", "goes-a"))
			s.awaitVolume(ctx, t, "data-db-1")
			s.awaitVolume(ctx, t, "data-db-2")
			s.create(ctx, t, db.Service(), db.StatefulSet())
			before = s.awaitPlaces(ctx, t, db.Name, "zone-b zone-a zone-a")
		})).
		Assess("leaves the slot to the plan", step(func(ctx context.Context, t *testing.T, s scene) {
			s.renew(ctx, t, db.Name, 2)
			after := s.awaitPlaces(ctx, t, db.Name, "zone-b zone-a zone-c")
			if after[2].Volume == before[2].Volume {
				t.Errorf("ordinal 2 has volume %s again", after[2].Volume)
			}
			before[2], after[2] = fixture.Row{}, fixture.Row{}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the others (-want +got):\n%s", diff)
			}
		})).
		Feature())
}

// TestExpansion: a volume that grows moves nobody.
func TestExpansion(t *testing.T) {
	t.Parallel()
	const g ground = "grows"
	db := g.on(fixture.Workload{Name: "db", Replicas: 1, CPU: "50m", Claims: []fixture.Claim{{Name: "data", Class: "grows"}}})
	var home string
	testenv.Test(t, features.New("a claim that asks for more").
		Setup(g.lay(t, g.node("1", "zone-a", nil), g.node("2", "zone-a", nil), g.node("3", "zone-a", nil))).
		Setup(class(t, &storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: "grows"}, Provisioner: "zonal.berth.test",
			VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer), AllowVolumeExpansion: new(true),
		})).
		Assess("its pod stays as it is", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, db.Service(), db.StatefulSet())
			home = s.awaitSet(ctx, t, db.Name, 1)[0].Node
			pods, err := s.pods(ctx, db)
			if err != nil {
				t.Fatal(err)
			}
			s.expand(ctx, t, "data-db-0", "2Gi")
			s.stays(ctx, t, "the pod of db", 3*time.Second, func(ctx context.Context) (string, bool, error) {
				now, err := s.pods(ctx, db)
				return fmt.Sprint(now), cmp.Equal(pods, now), err
			})
		})).
		Assess("and comes home, though other nodes have more room", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, g.load(home, "3"))
			s.awaitPod(ctx, t, "load-"+home, corev1.PodRunning)
			s.deletePod(ctx, t, "db-0")
			if diff := cmp.Diff(home, s.awaitSet(ctx, t, db.Name, 1)[0].Node); diff != "" {
				t.Errorf("node of db-0 (-want +got):\n%s", diff)
			}
		})).
		Feature())
}

// pods are the UIDs of a workload's pods, by name and node.
func (s scene) pods(ctx context.Context, w fixture.Workload) (map[string]types.UID, error) {
	list, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: w.Selector()})
	if err != nil {
		return nil, err
	}
	pods := map[string]types.UID{}
	for _, pod := range list.Items {
		pods[pod.Name+" on "+pod.Spec.NodeName] = pod.UID
	}
	return pods, nil
}

// expand asks for a larger volume, and does what the driver and the kubelet then do.
func (s scene) expand(ctx context.Context, t *testing.T, claim, size string) {
	t.Helper()
	claims := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace)
	patch := func(text string, args ...any) []byte { return fmt.Appendf(nil, text, args...) }
	pvc, err := claims.Patch(ctx, claim, types.MergePatchType, patch(`{"spec":{"resources":{"requests":{"storage":%q}}}}`, size), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kube.CoreV1().PersistentVolumes().Patch(ctx, pvc.Spec.VolumeName, types.MergePatchType, patch(`{"spec":{"capacity":{"storage":%q}}}`, size), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := claims.Patch(ctx, claim, types.MergePatchType, patch(`{"status":{"capacity":{"storage":%q}}}`, size), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}
