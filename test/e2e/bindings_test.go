// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// TestImmediate: volumes that are made before their pods choose the zones, and
// the plan goes round them.
func TestImmediate(t *testing.T) {
	t.Parallel()
	const g ground = "early"
	claims := []fixture.Claim{{Name: "data", Class: "zonal"}}
	db := g.on(fixture.Workload{Name: "db", Replicas: 4, CPU: "50m", Claims: claims})
	at := g.on(fixture.Workload{Name: "at", Replicas: 2, CPU: "50m", Parallel: true, Claims: []fixture.Claim{{Name: "data", Class: "early-b"}}})
	testenv.Test(t, features.New("classes that bind at once").
		Setup(g.lay(t, g.zones("zone-a", "zone-b", "zone-c")...)).
		Setup(classOfZone(t, "early-b", "zone-b")).
		Setup(classOfZone(t, "early-c", "zone-c")).
		Assess("slots are where their volumes are, and the free ones where fewest are", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, claimOf("data-db-0", "early-c"), claimOf("data-db-1", "early-b"))
			s.awaitVolume(ctx, t, "data-db-0")
			s.awaitVolume(ctx, t, "data-db-1")
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitPlaces(ctx, t, db.Name, "zone-c zone-b zone-a zone-a")
		})).
		Assess("also where volume and pod are made at the same time", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, at.Service(), at.StatefulSet())
			s.awaitPlaces(ctx, t, at.Name, "zone-b zone-b")
		})).
		Feature())
}

// TestSeveralClasses: one pod with a disk that has its zone already, and a raw
// device that is still to be made, in a node.
func TestSeveralClasses(t *testing.T) {
	t.Parallel()
	const g ground = "several"
	db := g.on(fixture.Workload{Name: "db", Replicas: 2, CPU: "50m", Claims: []fixture.Claim{{Name: "data", Class: "zonal"}, {Name: "wal", Class: "local"}}})
	set := db.StatefulSet()
	set.Spec.VolumeClaimTemplates[1].Spec.VolumeMode = new(corev1.PersistentVolumeBlock)
	app := &set.Spec.Template.Spec.Containers[0]
	app.VolumeMounts, app.VolumeDevices = app.VolumeMounts[:1], []corev1.VolumeDevice{{Name: "wal", DevicePath: "/dev/wal"}}
	var before fixture.Table
	testenv.Test(t, features.New("a zonal disk and a raw device in a node").
		Setup(g.lay(t, g.node("a1", "zone-a", nil), g.node("a2", "zone-a", nil), g.node("b1", "zone-b", nil), g.node("b2", "zone-b", nil))).
		Setup(classOfZone(t, "several-b", "zone-b")).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, claimOf("data-db-0", "several-b"))
			s.awaitVolume(ctx, t, "data-db-0")
			s.create(ctx, t, db.Service(), set)
		})).
		Assess("the node of the device is in the zone of the disk", step(func(ctx context.Context, t *testing.T, s scene) {
			before = s.awaitPlaces(ctx, t, db.Name, "zone-b zone-a")
			for _, row := range before {
				wal := s.awaitVolume(ctx, t, fmt.Sprintf("wal-db-%d", row.Ordinal))
				if got, want := place(wal), row.Node+".local"; got != want {
					t.Errorf("the device of ordinal %d is in %s, and its pod on %s", row.Ordinal, got, want)
				}
			}
		})).
		Assess("a pod that comes again finds both", step(func(ctx context.Context, t *testing.T, s scene) {
			for _, row := range before {
				s.deletePod(ctx, t, fmt.Sprintf("db-%d", row.Ordinal))
			}
			if diff := cmp.Diff(before, s.awaitSet(ctx, t, db.Name, 2)); diff != "" {
				t.Errorf("places (-want +got):\n%s", diff)
			}
		})).
		Feature())
}

// TestReadWriteOncePod: a volume for one pod at a time. Upstream refuses the
// second, and a slot comes home to it.
func TestReadWriteOncePod(t *testing.T) {
	t.Parallel()
	const g ground = "single"
	claims := []fixture.Claim{{Name: "data", Class: "zonal"}}
	db := g.on(fixture.Workload{Name: "db", Replicas: 1, CPU: "50m", Claims: claims})
	rival := g.on(fixture.Workload{Name: "rival", CPU: "50m", Claims: claims})
	var home string
	testenv.Test(t, features.New("ReadWriteOncePod").
		Setup(g.lay(t, g.node("a1", "zone-a", nil), g.node("a2", "zone-a", nil), g.node("a3", "zone-a", nil))).
		Assess("a second pod waits", step(func(ctx context.Context, t *testing.T, s scene) {
			set := db.StatefulSet()
			set.Spec.VolumeClaimTemplates[0].Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
			s.create(ctx, t, db.Service(), set)
			home = s.awaitSet(ctx, t, db.Name, 1)[0].Node
			s.create(ctx, t, rival.Member("rival", "data-db-0", nil))
			t.Log(s.awaitPending(ctx, t, "rival", corev1.PodReasonUnschedulable, "ReadWriteOncePod"))
		})).
		Assess("the first comes home, though other nodes have more room", step(func(ctx context.Context, t *testing.T, s scene) {
			s.deletePod(ctx, t, "rival")
			s.create(ctx, t, g.load(home, "3"))
			s.awaitPod(ctx, t, "load-"+home, corev1.PodRunning)
			s.deletePod(ctx, t, "db-0")
			if diff := cmp.Diff(home, s.awaitSet(ctx, t, db.Name, 1)[0].Node); diff != "" {
				t.Errorf("node of db-0 (-want +got):\n%s", diff)
			}
		})).
		Feature())
}

// TestReadWriteMany: a volume for everybody, from everywhere, is nobody's home.
func TestReadWriteMany(t *testing.T) {
	t.Parallel()
	const g ground = "shared"
	claims := []fixture.Claim{{Name: "files"}}
	single := g.on(fixture.Workload{Name: "single", CPU: "50m", Claims: claims})
	web := g.on(fixture.Workload{Name: "web", Replicas: 6, CPU: "50m", Parallel: true, Claims: claims})
	hand := byHand(t)
	testenv.Test(t, features.New("ReadWriteMany, without a node affinity").
		Setup(g.lay(t, g.zones("zone-a", "zone-b", "zone-c")...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			volume, claim := hand.volume(s, "files", ""), claimOf("files", "")
			volume.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
			claim.Spec.AccessModes, claim.Spec.VolumeName = volume.Spec.AccessModes, volume.Name
			hand.create(ctx, t, s, volume)
			s.create(ctx, t, claim)
			s.awaitVolume(ctx, t, "files")
		})).
		Assess("a node that has it attached draws nobody", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, single.Member("first", "files", nil))
			node := s.awaitPod(ctx, t, "first", corev1.PodRunning).Spec.NodeName
			s.awaitAttached(ctx, t, hand.volume(s, "files", "").Name, node)
			s.create(ctx, t, g.load(node, "3"))
			s.awaitPod(ctx, t, "load-"+node, corev1.PodRunning)
			s.create(ctx, t, single.Member("second", "files", nil))
			if second := s.awaitPod(ctx, t, "second", corev1.PodRunning).Spec.NodeName; second == node {
				t.Errorf("second is on %s, beside first, where there is least room", second)
			}
		})).
		Assess("slots that share it are spread over all zones", step(func(ctx context.Context, t *testing.T, s scene) {
			set := web.StatefulSet()
			set.Spec.VolumeClaimTemplates = nil
			set.Spec.Template.Spec.Volumes = single.Member("any", "files", nil).Spec.Volumes
			s.create(ctx, t, web.Service(), set)
			s.awaitPlaces(ctx, t, web.Name, first(6))
		})).
		Feature())
}

// TestEphemeral: the claims of generic ephemeral volumes come and go with their pods.
func TestEphemeral(t *testing.T) {
	t.Parallel()
	const g ground = "scratch"
	db := g.on(fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Claims: []fixture.Claim{{Name: "scratch", Class: "local"}}})
	set := db.StatefulSet()
	set.Spec.VolumeClaimTemplates = nil
	set.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: db.Claims[0].Spec()},
	}}}}
	testenv.Test(t, features.New("generic ephemeral volumes").
		Setup(g.lay(t, g.zones("zone-a", "zone-b", "zone-c")...)).
		Assess("slots are where they are planned, with a volume there", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, db.Service(), set)
			for _, row := range s.awaitPlaces(ctx, t, db.Name, first(3)) {
				if got, want := place(s.awaitVolume(ctx, t, fmt.Sprintf("db-%d-scratch", row.Ordinal))), row.Node+".local"; got != want {
					t.Errorf("the volume of ordinal %d is in %s, and its pod on %s", row.Ordinal, got, want)
				}
			}
		})).
		Assess("a pod that comes again has another volume, in the same zone", step(func(ctx context.Context, t *testing.T, s scene) {
			before := s.awaitVolume(ctx, t, "db-1-scratch")
			s.deletePod(ctx, t, "db-1")
			s.awaitPlaces(ctx, t, db.Name, first(3))
			if after := s.awaitVolume(ctx, t, "db-1-scratch"); after.Name == before.Name {
				t.Errorf("it has volume %s again", after.Name)
			}
		})).
		Feature())
}

// claimOf asks for a small volume of a class.
func claimOf(name, class string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: fixture.ClaimSpec(class)}
}

// awaitVolume waits until a claim is bound, and returns its volume.
func (s scene) awaitVolume(ctx context.Context, t *testing.T, claim string) *corev1.PersistentVolume {
	t.Helper()
	var volume *corev1.PersistentVolume
	s.until(ctx, t, "the volume of claim "+claim, func(ctx context.Context) (string, bool, error) {
		pvc, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Get(ctx, claim, metav1.GetOptions{})
		if err != nil || pvc.Status.Phase != corev1.ClaimBound {
			return fmt.Sprintf("%+v", pvc.Status), false, err
		}
		volume, err = s.Kube.CoreV1().PersistentVolumes().Get(ctx, pvc.Spec.VolumeName, metav1.GetOptions{})
		return "", true, err
	})
	return volume
}

// place is what a volume of the test cluster is tied to: a zone, or the hostname of a node.
func place(volume *corev1.PersistentVolume) string {
	return volume.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0]
}

// awaitAttached waits until a volume is attached to a node.
func (s scene) awaitAttached(ctx context.Context, t *testing.T, volume, node string) {
	t.Helper()
	s.until(ctx, t, "volume "+volume+" on node "+node, func(ctx context.Context) (string, bool, error) {
		list, err := s.Kube.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", false, err
		}
		for _, a := range list.Items {
			if of := a.Spec.Source.PersistentVolumeName; of != nil && *of == volume && a.Spec.NodeName == node {
				return fmt.Sprintf("attached: %t", a.Status.Attached), a.Status.Attached, nil
			}
		}
		return "nobody has asked for it", false, nil
	})
}
