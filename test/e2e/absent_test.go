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
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// nowhere is a rule that keeps an ordinal away: no node has the label.
func nowhere(ordinal string) []v1alpha1.Rule {
	return []v1alpha1.Rule{onNodes(ordinal, capacityLabel, "none")}
}

// keepAway takes the pod of an ordinal away, and lets its volume be.
func (s scene) keepAway(ctx context.Context, t *testing.T, set string, ordinal int) {
	t.Helper()
	s.editPolicy(ctx, t, set, func(spec *v1alpha1.PlacementPolicySpec) { spec.Rules = nowhere(fmt.Sprint(ordinal)) })
	pod := fmt.Sprintf("%s-%d", set, ordinal)
	s.deletePod(ctx, t, pod)
	s.awaitPending(ctx, t, pod, corev1.PodReasonUnschedulable, "rule 1")
}

// renew takes away the pod of an ordinal and its claim, and waits for another claim.
func (s scene) renew(ctx context.Context, t *testing.T, set string, ordinal int) {
	t.Helper()
	pod := fmt.Sprintf("%s-%d", set, ordinal)
	claim := "data-" + pod
	old := s.claim(ctx, t, claim).UID
	if err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Delete(ctx, claim, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.deletePod(ctx, t, pod)
	s.until(ctx, t, "another claim "+claim, s.replaced(claim, old))
}

// replaced looks whether a claim is another one than before.
func (s scene) replaced(name string, before types.UID) fixture.Look {
	return func(ctx context.Context) (string, bool, error) {
		claim, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		return fmt.Sprintf("it is that of before: %t", claim.UID == before), claim.UID != before, nil
	}
}

// TestAbsentSibling: the volume of a slot that is not there keeps its node for it.
func TestAbsentSibling(t *testing.T) {
	t.Parallel()
	const g ground = "absent"
	db := g.on(fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Parallel: true, Claims: []fixture.Claim{{Name: "data", Class: "local"}}})
	var nodes []string
	testenv.Test(t, features.New("nodes of their own, and one slot is absent").
		Setup(g.lay(t, g.node("1", "zone-a", nil), g.node("2", "zone-a", nil), g.node("3", "zone-a", nil))).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, db.Name, v1alpha1.Placement{SeparateNodes: v1alpha1.SeparateRequired})
			s.create(ctx, t, db.Service(), db.StatefulSet())
			nodes = nodesOf(s.awaitSet(ctx, t, db.Name, 3))
			s.keepAway(ctx, t, db.Name, 1)
		})).
		Assess("another that is made anew does not take its node", step(func(ctx context.Context, t *testing.T, s scene) {
			s.cordon(ctx, t, true, nodes[2])
			s.renew(ctx, t, db.Name, 2)
			t.Log(s.awaitPending(ctx, t, "db-2", corev1.PodReasonUnschedulable,
				"1 node(s) with the volume of an absent slot of "+s.Namespace+"/db, and separateNodes is Required",
				fmt.Sprintf("node %q has ordinal 0, node %q has the volume of ordinal 1", nodes[0], nodes[1])))
			s.untouched(ctx, t, "data-db-2")
		})).
		Assess("it takes another", step(func(ctx context.Context, t *testing.T, s scene) {
			s.cordon(ctx, t, false, nodes[2])
			if diff := cmp.Diff(nodes[2], s.awaitRunning(ctx, t, db.Name, 2)[2].Node); diff != "" {
				t.Errorf("node of db-2 (-want +got):\n%s", diff)
			}
		})).
		Assess("and the absent one comes back to its own", step(func(ctx context.Context, t *testing.T, s scene) {
			s.editPolicy(ctx, t, db.Name, func(spec *v1alpha1.PlacementPolicySpec) { spec.Rules = nil })
			if diff := cmp.Diff(nodes, nodesOf(s.awaitSet(ctx, t, db.Name, 3))); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})).
		Assess("a slot that is given up keeps nothing", step(func(ctx context.Context, t *testing.T, s scene) {
			s.cordon(ctx, t, true, nodes[1])
			s.scale(ctx, t, "StatefulSet", db.Name, 2) // the volume of db-2 stays
			s.awaitRunning(ctx, t, db.Name, 2)
			s.renew(ctx, t, db.Name, 1)
			if diff := cmp.Diff(nodes[2], s.awaitRunning(ctx, t, db.Name, 2)[1].Node); diff != "" {
				t.Errorf("node of db-1 (-want +got):\n%s", diff)
			}
		})).
		Feature())
}

// TestAbsentInDomain: a slot that is not there counts where its volume is, for
// caps and for shards.
func TestAbsentInDomain(t *testing.T) {
	t.Parallel()
	abc := []string{"zone-a", "zone-b", "zone-c"}
	for name, tc := range map[string]struct {
		replicas int32
		spread   v1alpha1.Spread
		loosen   func(*v1alpha1.Spread)
		why      string
		want     string // the zone of ordinal 1 when there is room
	}{
		"cap":   {4, v1alpha1.Spread{Domains: abc[:2], MaxPerDomain: new(int32(2))}, func(s *v1alpha1.Spread) { s.MaxPerDomain = new(int32(3)) }, "zone-a holds 2 of at most 2", "zone-a"},
		"shard": {3, v1alpha1.Spread{Domains: abc, ShardSize: new(int32(3))}, func(s *v1alpha1.Spread) { s.ShardSize = nil }, "zone-a by ordinal 0 of its shard 0-2", "zone-c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := ground(name)
			db := g.on(fixture.Workload{Name: "db", Replicas: tc.replicas, CPU: "50m", Parallel: true, Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}})
			testenv.Test(t, features.New("an absent slot in zone-a").
				Setup(g.lay(t, g.zones(abc...)...)).
				Setup(step(func(ctx context.Context, t *testing.T, s scene) {
					tc.spread.Enforcement = v1alpha1.Preferred // it would take any zone that is open to it
					s.policy(ctx, t, db.Name, v1alpha1.Placement{Spread: &tc.spread})
					s.create(ctx, t, db.Service(), db.StatefulSet())
					s.awaitSet(ctx, t, db.Name, int(tc.replicas))
					s.keepAway(ctx, t, db.Name, 0)
				})).
				Assess("leaves no room there for one that is made anew", step(func(ctx context.Context, t *testing.T, s scene) {
					s.cordon(ctx, t, true, name+"-zone-b")
					s.renew(ctx, t, db.Name, 1)
					t.Log(s.awaitPending(ctx, t, "db-1", corev1.PodReasonUnschedulable, "ordinal 1 of "+s.Namespace+"/db belongs in zone-b", tc.why))
					s.untouched(ctx, t, "data-db-1")
				})).
				Assess("until the policy has some", step(func(ctx context.Context, t *testing.T, s scene) {
					s.editPolicy(ctx, t, db.Name, func(spec *v1alpha1.PlacementPolicySpec) { tc.loosen(spec.Spread) })
					if diff := cmp.Diff(tc.want, s.awaitRunning(ctx, t, db.Name, int(tc.replicas)-1)[1].Zone); diff != "" {
						t.Errorf("zone of db-1 (-want +got):\n%s", diff)
					}
				})).
				Feature())
		})
	}
}

// TestVolumesOnOneNode: two slots whose volumes are on one node, from a time
// when they could share it, give way to each other only when they are there.
func TestVolumesOnOneNode(t *testing.T) {
	t.Parallel()
	const g ground = "one"
	db := g.on(fixture.Workload{Name: "db", Replicas: 2, CPU: "50m", Parallel: true, Claims: []fixture.Claim{{Name: "data", Class: "local"}}})
	testenv.Test(t, features.New("two volumes on a node that is no longer shared").
		Setup(g.lay(t, g.node("1", "zone-a", nil))).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, db.Name, v1alpha1.Placement{SeparateNodes: v1alpha1.SeparateNone})
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitSet(ctx, t, db.Name, 2)
			s.create(ctx, t, g.node("2", "zone-a", nil))
			s.editPolicy(ctx, t, db.Name, func(spec *v1alpha1.PlacementPolicySpec) {
				spec.SeparateNodes, spec.Rules = v1alpha1.SeparateRequired, nowhere("1")
			})
			s.scale(ctx, t, "StatefulSet", db.Name, 0)
			s.awaitGone(ctx, t, db)
		})).
		Assess("the one that comes runs, beside the volume of the other", step(func(ctx context.Context, t *testing.T, s scene) {
			s.scale(ctx, t, "StatefulSet", db.Name, 2)
			s.awaitPending(ctx, t, "db-1", corev1.PodReasonUnschedulable, "rule 1")
			if diff := cmp.Diff("one-1", s.awaitRunning(ctx, t, db.Name, 1)[0].Node); diff != "" {
				t.Errorf("node of db-0 (-want +got):\n%s", diff)
			}
		})).
		Assess("the other then waits for it, and says so", step(func(ctx context.Context, t *testing.T, s scene) {
			s.editPolicy(ctx, t, db.Name, func(spec *v1alpha1.PlacementPolicySpec) { spec.Rules = nil })
			t.Log(s.awaitPending(ctx, t, "db-1", corev1.PodReasonUnschedulable,
				"1 node(s) with another slot of "+s.Namespace+"/db, and separateNodes is Required", `node "one-1" has ordinal 0`))
		})).
		Assess("until it is given another volume", step(func(ctx context.Context, t *testing.T, s scene) {
			s.renew(ctx, t, db.Name, 1)
			if diff := cmp.Diff([]string{"one-1", "one-2"}, nodesOf(s.awaitSet(ctx, t, db.Name, 2))); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})).
		Feature())
}

// awaitGone waits until a workload has no pods.
func (s scene) awaitGone(ctx context.Context, t *testing.T, w fixture.Workload) {
	t.Helper()
	s.until(ctx, t, "the end of the pods of "+w.Name, func(ctx context.Context) (string, bool, error) {
		pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: w.Selector()})
		if err != nil {
			return "", false, err
		}
		return fmt.Sprintf("%d are there", len(pods.Items)), len(pods.Items) == 0, nil
	})
}
