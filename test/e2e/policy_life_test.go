// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// over is a spread over these domains; without any it is over those of the nodes.
func over(domains ...string) v1alpha1.Placement {
	return v1alpha1.Placement{Spread: &v1alpha1.Spread{Domains: domains}}
}

// TestSetMadeAgain: the plan is made of what exists, and so outlives its set.
func TestSetMadeAgain(t *testing.T) {
	t.Parallel()
	sets := []fixture.Workload{
		{Name: "db", Replicas: 3, CPU: "50m", Parallel: true, Claims: zonalClaim},
		{Name: "cache", Replicas: 3, CPU: "50m", Parallel: true},
	}
	before := map[string]fixture.Table{}
	pods := map[string]podIDs{}
	testenv.Test(t, features.New("a set deleted with --cascade=orphan and made again").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			for _, set := range sets {
				s.policy(ctx, t, set.Name, over("zone-b", "zone-c"))
				s.create(ctx, t, set.Service(), set.StatefulSet())
			}
			for _, set := range sets {
				before[set.Name] = s.awaitPlaces(ctx, t, set.Name, "zone-b zone-c zone-b")
				pods[set.Name] = s.podIDs(ctx, t, set)
				// From now on nothing but the pods and volumes themselves says that they are here.
				s.deletePolicy(ctx, t, set.Name)
			}
		})).
		Assess("pods and places are kept", step(func(ctx context.Context, t *testing.T, s scene) {
			for _, set := range sets {
				s.orphan(ctx, t, set.Name)
				s.create(ctx, t, set.StatefulSet())
			}
			for _, set := range sets {
				after := s.awaitPlaces(ctx, t, set.Name, "zone-b zone-c zone-b")
				if diff := cmp.Diff(before[set.Name], after); diff != "" {
					t.Errorf("%s (-before +after):\n%s", set.Name, diff)
				}
				if diff := cmp.Diff(pods[set.Name], s.podIDs(ctx, t, set)); diff != "" {
					t.Errorf("pods of %s (-before +after):\n%s", set.Name, diff)
				}
			}
		})).
		Assess("further ordinals go on from there", step(func(ctx context.Context, t *testing.T, s scene) {
			for _, set := range sets {
				s.scale(ctx, t, "StatefulSet", set.Name, 5)
			}
			for _, set := range sets {
				s.awaitPlaces(ctx, t, set.Name, "zone-b zone-c zone-b zone-a zone-a")
			}
		})).
		Feature())
}

// orphan deletes a set and leaves its pods.
func (s scene) orphan(ctx context.Context, t *testing.T, set string) {
	t.Helper()
	sets := s.Kube.AppsV1().StatefulSets(s.Namespace)
	orphan := metav1.DeletePropagationOrphan
	if err := sets.Delete(ctx, set, metav1.DeleteOptions{PropagationPolicy: &orphan}); err != nil {
		t.Fatal(err)
	}
	s.until(ctx, t, "the end of StatefulSet "+set, func(ctx context.Context) (string, bool, error) {
		_, err := sets.Get(ctx, set, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return "", true, nil
		}
		return "still there", false, err
	})
}

// TestClaimRetention: an ordinal is at home where its volume is, for as long as there is one.
func TestClaimRetention(t *testing.T) {
	t.Parallel()
	retention := map[string]appsv1.PersistentVolumeClaimRetentionPolicyType{
		"kept": appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
		"shed": appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
	}
	former := map[string]map[int]string{} // volumes
	testenv.Test(t, features.New("persistentVolumeClaimRetentionPolicy.whenScaled").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			for name, whenScaled := range retention {
				s.policy(ctx, t, name, over("zone-a", "zone-b"))
				w := fixture.Workload{Name: name, Replicas: 4, CPU: "50m", Parallel: true, Claims: zonalClaim}
				set := w.StatefulSet()
				set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
					WhenScaled: whenScaled, WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
				}
				s.create(ctx, t, w.Service(), set)
			}
			for name := range retention {
				former[name] = volumes(s.awaitPlaces(ctx, t, name, "zone-a zone-b zone-a zone-b"))
				s.scale(ctx, t, "StatefulSet", name, 2)
				s.editPolicy(ctx, t, name, func(spec *v1alpha1.PlacementPolicySpec) { spec.Placement = over("zone-b", "zone-c") })
			}
		})).
		Assess("Delete makes an ordinal free: it is planned anew", step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitRows(ctx, t, "shed", 2)
			s.scale(ctx, t, "StatefulSet", "shed", 4)
			table := s.awaitPlaces(ctx, t, "shed", "zone-a zone-b zone-c zone-b")
			for ordinal, volume := range volumes(table) {
				if same := volume == former["shed"][ordinal]; same != (ordinal < 2) {
					t.Errorf("ordinal %d has volume %s, the former one is %s", ordinal, volume, former["shed"][ordinal])
				}
			}
		})).
		Assess("Retain keeps its place, whatever the policy says now", step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitPlaces(ctx, t, "kept", "zone-a zone-b")
			s.awaitRows(ctx, t, "kept", 4)
			s.scale(ctx, t, "StatefulSet", "kept", 4)
			table := s.awaitPlaces(ctx, t, "kept", "zone-a zone-b zone-a zone-b")
			if diff := cmp.Diff(former["kept"], volumes(table)); diff != "" {
				t.Errorf("volumes (-before +after):\n%s", diff)
			}
		})).
		Feature())
}

// awaitRows waits until as many ordinals of a set have a pod or a claim.
func (s scene) awaitRows(ctx context.Context, t *testing.T, set string, want int) {
	t.Helper()
	s.until(ctx, t, "the claims of "+set, func(ctx context.Context) (string, bool, error) {
		table, err := s.Table(ctx, s.Namespace, set)
		return "\n" + table.String(), len(table) == want, err
	})
}

// TestZonesComeAndGo: a domain is in the plan while it has nodes, and slots with
// volumes never leave it.
func TestZonesComeAndGo(t *testing.T) {
	t.Parallel()
	g := ground("zones")
	db := g.on(fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Parallel: true, Claims: zonalClaim})
	cache := g.on(fixture.Workload{Name: "cache", Replicas: 3, CPU: "50m", Parallel: true})
	var six map[int]string
	testenv.Test(t, features.New("3 zones, 4 zones, 2 zones").
		Setup(g.lay(t, g.zones("east", "north", "south")...)).
		Assess("three ordinals are in three zones", step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, db.Name, over())
			s.policy(ctx, t, cache.Name, over())
			s.create(ctx, t, db.Service(), db.StatefulSet(), cache.Service(), cache.StatefulSet())
			s.awaitPlaces(ctx, t, db.Name, "east north south")
			s.awaitPlaces(ctx, t, cache.Name, "east north south")
		})).
		Assess("a fourth zone gets the next ordinal, and nobody moves", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, g.zones("west")[0])
			s.awaitNodes(ctx, t, string(g), 4)
			s.scale(ctx, t, "StatefulSet", db.Name, 6)
			s.scale(ctx, t, "StatefulSet", cache.Name, 5)
			six = volumes(s.awaitPlaces(ctx, t, db.Name, "east north south west east north"))
			s.awaitPlaces(ctx, t, cache.Name, "east north south west east")
		})).
		Assess("two zones go: what has no volume there is planned anew, the rest says what it waits for", step(func(ctx context.Context, t *testing.T, s scene) {
			s.deleteNode(ctx, t, "zones-south")
			s.deleteNode(ctx, t, "zones-west")
			s.forceDelete(ctx, t, "db-2", "db-3", "cache-2", "cache-3")
			s.awaitPlaces(ctx, t, cache.Name, "east north east north east")
			t.Log(s.awaitPending(ctx, t, "db-2", "Unschedulable", "data-db-2", "south"))
			t.Log(s.awaitPending(ctx, t, "db-3", "Unschedulable", "data-db-3", "west"))
			s.scale(ctx, t, "StatefulSet", cache.Name, 6)
			s.awaitPlaces(ctx, t, cache.Name, "east north east north east north")
		})).
		Assess("the zones are back, and with them the ordinals that belong there", step(func(ctx context.Context, t *testing.T, s scene) {
			for _, node := range g.zones("south", "west") {
				s.create(ctx, t, node)
			}
			table := s.awaitPlaces(ctx, t, db.Name, "east north south west east north")
			if diff := cmp.Diff(six, volumes(table)); diff != "" {
				t.Errorf("volumes (-before +after):\n%s", diff)
			}
			s.awaitPlaces(ctx, t, cache.Name, "east north east north east north")
		})).
		Feature())
}

// forceDelete deletes pods as people do whose node is gone: no kubelet ends them.
func (s scene) forceDelete(ctx context.Context, t *testing.T, pods ...string) {
	t.Helper()
	for _, pod := range pods {
		if err := s.Kube.CoreV1().Pods(s.Namespace).Delete(ctx, pod, *metav1.NewDeleteOptions(0)); err != nil {
			t.Fatal(err)
		}
	}
}
