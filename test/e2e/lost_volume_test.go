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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestLostVolume has a cluster of its own: where other tests take their nodes
// away at the same time, so many are gone that nothing is released.
func TestLostVolume(t *testing.T) {
	t.Parallel()
	testenv.Test(t, features.New("a cluster that loses nodes").
		Assess("gives up what it was told to, and nothing else", step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "it starts a cluster to take nodes from")
			cluster := ownCluster(ctx, t, fixture.Options{
				Name: "e2e-lost", Nodes: 6, Zones: 3, AutoscalerConfig: testdata("autoscaler.yaml"),
			})
			on(ctx, cluster).Test(t, lostAndReleased(), lostAndFound(), lostTogether())
		})).
		Feature())
}

// lostAfter asks for the release of lost volumes.
func lostAfter(after time.Duration) *v1alpha1.Home {
	return &v1alpha1.Home{ReleaseLostVolumes: &v1alpha1.VolumeLoss{After: metav1.Duration{Duration: after}}}
}

// keepLost ends the release: the nodes that others lose later may be those of this set, too.
func keepLost(set fixture.Workload) features.Func {
	return step(func(ctx context.Context, t *testing.T, s scene) {
		s.editPolicy(ctx, t, set.Name, func(spec *v1alpha1.PlacementPolicySpec) { spec.Home = nil })
	})
}

func lostAndReleased() features.Feature {
	db := fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Claims: []fixture.Claim{{Name: "data", Class: "local"}}}
	var before fixture.Table
	var claims map[string]types.UID
	return features.New("a node is deleted under a local volume").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, db.Name, v1alpha1.Placement{SeparateNodes: v1alpha1.SeparateRequired})
			s.create(ctx, t, db.Service(), db.StatefulSet())
			before = s.awaitSet(ctx, t, db.Name, 3)
			claims = s.claims(ctx, t)
		})).
		Assess("the pod says which volume and which node, and nothing is given up", step(func(ctx context.Context, t *testing.T, s scene) {
			s.lose(ctx, t, before[1].Node, "db-1")
			t.Log(s.awaitPending(ctx, t, "db-1", corev1.PodReasonUnschedulable, before[1].Volume, before[1].Node))
			s.stays(ctx, t, "every claim", 8*time.Second, s.sameClaims(claims))
		})).
		Assess("with a release asked for, the slot runs elsewhere after it", step(func(ctx context.Context, t *testing.T, s scene) {
			s.editPolicy(ctx, t, db.Name, func(spec *v1alpha1.PlacementPolicySpec) { spec.Home = lostAfter(5 * time.Second) })
			t.Log(s.awaitEvent(ctx, t, "PersistentVolumeClaim", "data-db-1", "LocalVolumeLost", before[1].Volume, before[1].Node, "after 5s"))
			after := s.awaitRunning(ctx, t, db.Name, 3)
			if after[1].Node == before[1].Node || after[1].Volume == before[1].Volume {
				t.Errorf("db-1 is on %s with volume %s, as before", after[1].Node, after[1].Volume)
			}
			t.Log(s.awaitEvent(ctx, t, "StatefulSet", db.Name, "LocalVolumeReleased", before[1].Volume, before[1].Node, "data-db-1"))
			now := s.claims(ctx, t)
			if now["data-db-1"] == claims["data-db-1"] {
				t.Error("the claim of db-1 is the old one")
			}
			delete(now, "data-db-1")
			delete(claims, "data-db-1")
			if diff := cmp.Diff(claims, now); diff != "" {
				t.Errorf("the claims of the others (-want +got):\n%s", diff)
			}
		})).
		Teardown(keepLost(db)).
		Feature()
}

func lostAndFound() features.Feature {
	const after = 20 * time.Second
	kv := fixture.Workload{Name: "kv", Replicas: 3, CPU: "50m", Claims: []fixture.Claim{{Name: "data", Class: "local"}}}
	var before fixture.Table
	var claims map[string]types.UID
	return features.New("a node comes back in time").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, kv.Name, v1alpha1.Placement{SeparateNodes: v1alpha1.SeparateRequired, Home: lostAfter(after)})
			s.create(ctx, t, kv.Service(), kv.StatefulSet())
			before = s.awaitSet(ctx, t, kv.Name, 3)
			claims = s.claims(ctx, t)
		})).
		Assess("its slot returns to its volume, and nothing is deleted", step(func(ctx context.Context, t *testing.T, s scene) {
			node, err := s.Kube.CoreV1().Nodes().Get(ctx, before[2].Node, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s.lose(ctx, t, node.Name, "kv-2")
			t.Log(s.awaitEvent(ctx, t, "StatefulSet", kv.Name, "LocalVolumeLost", before[2].Volume, node.Name))
			s.create(ctx, t, &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: node.Labels, Annotations: node.Annotations},
				Status:     corev1.NodeStatus{Capacity: node.Status.Capacity, Allocatable: node.Status.Allocatable},
			})
			if diff := cmp.Diff(before, s.awaitRunning(ctx, t, kv.Name, 3)); diff != "" {
				t.Errorf("the set (-want +got):\n%s", diff)
			}
			s.stays(ctx, t, "every claim", after+10*time.Second, s.sameClaims(claims))
		})).
		Teardown(keepLost(kv)).
		Feature()
}

// lostTogether comes last: its node does not return, and of six at most two may be gone.
func lostTogether() features.Feature {
	pg := fixture.Workload{Name: "pg", Replicas: 3, CPU: "50m", Claims: []fixture.Claim{{Name: "data", Class: "local"}, {Name: "wal", Class: "local"}}}
	var before fixture.Table
	var claims map[string]types.UID
	var data string
	reclaim := func(ctx context.Context, t *testing.T, s scene, policy corev1.PersistentVolumeReclaimPolicy) {
		t.Helper()
		patch := fmt.Appendf(nil, `{"spec":{"persistentVolumeReclaimPolicy":%q}}`, policy)
		if _, err := s.Kube.CoreV1().PersistentVolumes().Patch(ctx, data, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return features.New("a node is deleted under two volumes of a slot").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, pg.Name, v1alpha1.Placement{SeparateNodes: v1alpha1.SeparateRequired, Home: lostAfter(5 * time.Second)})
			s.create(ctx, t, pg.Service(), pg.StatefulSet())
			before = s.awaitSet(ctx, t, pg.Name, 3)
			claims = s.claims(ctx, t)
			claim, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Get(ctx, "data-pg-1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			data = claim.Spec.VolumeName
			reclaim(ctx, t, s, corev1.PersistentVolumeReclaimRetain)
		})).
		Assess("while one is retained, both claims stay", step(func(ctx context.Context, t *testing.T, s scene) {
			s.lose(ctx, t, before[1].Node, "pg-1")
			t.Log(s.awaitEvent(ctx, t, "PersistentVolumeClaim", "wal-pg-1", "LocalVolumeLost", before[1].Node, `claim "data-pg-1" of the same slot`, "Retain"))
			s.stays(ctx, t, "every claim", 15*time.Second, s.sameClaims(claims))
		})).
		Assess("once none is, both go, and the slot runs elsewhere", step(func(ctx context.Context, t *testing.T, s scene) {
			reclaim(ctx, t, s, corev1.PersistentVolumeReclaimDelete)
			t.Log(s.awaitEvent(ctx, t, "StatefulSet", pg.Name, "LocalVolumeReleased", data, `together with claim "wal-pg-1"`))
			if after := s.awaitRunning(ctx, t, pg.Name, 3); after[1].Node == before[1].Node {
				t.Errorf("pg-1 is on %s, as before", after[1].Node)
			}
			now := s.claims(ctx, t)
			for name, uid := range claims {
				if anew := name == "data-pg-1" || name == "wal-pg-1"; (now[name] != uid) != anew {
					t.Errorf("claim %s has UID %s and had %s, want another one: %t", name, now[name], uid, anew)
				}
			}
		})).
		Feature()
}

// lose deletes a node, and the pod on it: pod garbage collection would take a while.
func (s scene) lose(ctx context.Context, t *testing.T, node, pod string) {
	t.Helper()
	s.deleteNode(ctx, t, node)
	err := s.Kube.CoreV1().Pods(s.Namespace).Delete(ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	if err != nil {
		t.Fatal(err)
	}
}

// claims are those of the namespace: a claim that is made anew has another UID.
func (s scene) claims(ctx context.Context, t *testing.T) map[string]types.UID {
	t.Helper()
	uids, err := s.claimUIDs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return uids
}

func (s scene) claimUIDs(ctx context.Context) (map[string]types.UID, error) {
	list, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	uids := make(map[string]types.UID, len(list.Items))
	for _, claim := range list.Items {
		if claim.DeletionTimestamp == nil {
			uids[claim.Name] = claim.UID
		}
	}
	return uids, nil
}

func (s scene) sameClaims(want map[string]types.UID) fixture.Look {
	return func(ctx context.Context) (string, bool, error) {
		got, err := s.claimUIDs(ctx)
		return fmt.Sprint(got), cmp.Equal(want, got), err
	}
}
