// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// zonalClaim is the one claim template of most sets.
var zonalClaim = []fixture.Claim{{Name: "data", Class: "zonal"}}

// podIDs tells pods from others that had their names.
type podIDs map[string]types.UID

func (s scene) podIDs(ctx context.Context, t *testing.T, w fixture.Workload) podIDs {
	t.Helper()
	pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: w.Selector()})
	if err != nil {
		t.Fatal(err)
	}
	ids := podIDs{}
	for _, pod := range pods.Items {
		ids[pod.Name] = pod.UID
	}
	return ids
}

// deletePolicy deletes a policy; it has no finalizers, so it is gone at once.
func (s scene) deletePolicy(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	policy, err := s.Policy(ctx, s.Namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Objects.Delete(ctx, policy); err != nil {
		t.Fatal(err)
	}
}

// TestTwoPolicies: of two policies for one set the older counts, and the younger says so.
func TestTwoPolicies(t *testing.T) {
	t.Parallel()
	db := fixture.Workload{Name: "db", Replicas: 2, CPU: "50m", Parallel: true}
	// By name the younger would come first.
	older, younger := fixture.Policy("older", db.Name, over("zone-b")), fixture.Policy("later", db.Name, over("zone-c"))
	conflicted := func(ctx context.Context, t *testing.T, s scene, name string, want metav1.ConditionStatus, reason string, words ...string) {
		t.Helper()
		s.awaitPolicy(ctx, t, name, v1alpha1.Conflicted, want, words...)
		policy, err := s.Policy(ctx, s.Namespace, name)
		if err != nil {
			t.Fatal(err)
		}
		condition := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.Conflicted)
		t.Logf("%s: %s", name, condition.Message)
		if condition.Reason != reason {
			t.Errorf("%s has reason %s, want %s", name, condition.Reason, reason)
		}
	}
	testenv.Test(t, features.New("two policies on one set").
		Assess("the older places it", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, older)
			s.until(ctx, t, "the policy to be the older one", func(context.Context) (string, bool, error) {
				return "", time.Since(older.CreationTimestamp.Time) > 2*time.Second, nil // times of objects are in seconds
			})
			s.create(ctx, t, younger)
			s.awaitPolicy(ctx, t, younger.Name, v1alpha1.Accepted, metav1.ConditionTrue)
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitPlaces(ctx, t, db.Name, "zone-b zone-b")
		})).
		Assess("the younger says that it does not, and why", step(func(ctx context.Context, t *testing.T, s scene) {
			conflicted(ctx, t, s, younger.Name, metav1.ConditionTrue, v1alpha1.ReasonOlderPolicy, "StatefulSet db ", `"older"`)
			conflicted(ctx, t, s, older.Name, metav1.ConditionFalse, v1alpha1.ReasonNoConflict)
			s.awaitPolicy(ctx, t, older.Name, v1alpha1.Accepted, metav1.ConditionTrue)
			s.awaitPolicy(ctx, t, younger.Name, v1alpha1.Accepted, metav1.ConditionTrue)
		})).
		Assess("the younger takes over where the older ends", step(func(ctx context.Context, t *testing.T, s scene) {
			s.deletePolicy(ctx, t, older.Name)
			conflicted(ctx, t, s, younger.Name, metav1.ConditionFalse, v1alpha1.ReasonNoConflict)
			s.scale(ctx, t, "StatefulSet", db.Name, 4)
			s.awaitPlaces(ctx, t, db.Name, "zone-b zone-b zone-c zone-c")
		})).
		Feature())
}

// TestPolicyEdited: what runs stays, and what comes follows the policy as it is now.
func TestPolicyEdited(t *testing.T) {
	t.Parallel()
	db := fixture.Workload{Name: "db", Replicas: 2, CPU: "50m", Claims: zonalClaim}
	edit := func(ctx context.Context, t *testing.T, s scene, domains ...string) {
		t.Helper()
		s.editPolicy(ctx, t, db.Name, func(spec *v1alpha1.PlacementPolicySpec) { spec.Spread.Domains = domains })
	}
	var pods podIDs
	testenv.Test(t, features.New("a policy edited while the set runs").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, db.Name, over("zone-a"))
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitPlaces(ctx, t, db.Name, "zone-a zone-a")
			pods = s.podIDs(ctx, t, db)
		})).
		Assess("new ordinals follow it, and the others stay", step(func(ctx context.Context, t *testing.T, s scene) {
			edit(ctx, t, s, "zone-b", "zone-c")
			s.scale(ctx, t, "StatefulSet", db.Name, 4)
			s.awaitPlaces(ctx, t, db.Name, "zone-a zone-a zone-b zone-c")
			now := s.podIDs(ctx, t, db)
			maps.DeleteFunc(now, func(name string, _ types.UID) bool { return pods[name] == "" })
			if diff := cmp.Diff(pods, now); diff != "" {
				t.Errorf("pods that ran (-before +after):\n%s", diff)
			}
		})).
		Assess("an ordinal returns to its volume, though the policy says otherwise now", step(func(ctx context.Context, t *testing.T, s scene) {
			s.deletePod(ctx, t, "db-0")
			s.awaitPlaces(ctx, t, db.Name, "zone-a zone-a zone-b zone-c")
		})).
		Assess("a pod that waits is woken", step(func(ctx context.Context, t *testing.T, s scene) {
			edit(ctx, t, s, "nowhere")
			s.scale(ctx, t, "StatefulSet", db.Name, 5)
			t.Log(s.awaitPending(ctx, t, "db-4", "Unschedulable", "nowhere"))
			begin := time.Now()
			edit(ctx, t, s, "zone-c")
			s.awaitPlaces(ctx, t, db.Name, "zone-a zone-a zone-b zone-c zone-c")
			t.Logf("acceptance: a waiting pod ran %s after its policy had changed", time.Since(begin).Round(100*time.Millisecond))
		})).
		Feature())
}

// TestGateVanishes: no gate is left behind when its policy goes.
func TestGateVanishes(t *testing.T) {
	t.Parallel()
	db := fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Parallel: true, Claims: zonalClaim}
	testenv.Test(t, features.New("a policy is deleted while pods wait at its gate").
		Assess("pods wait for one that has no place", step(func(ctx context.Context, t *testing.T, s scene) {
			ordered := over("nowhere")
			ordered.Start = &v1alpha1.Start{Order: v1alpha1.StartOrdered}
			s.policy(ctx, t, db.Name, ordered)
			s.create(ctx, t, db.Service(), db.StatefulSet())
			t.Log(s.awaitPending(ctx, t, "db-0", "Unschedulable", "nowhere"))
			t.Log(s.awaitPending(ctx, t, "db-1", "SchedulingGated", "ordinal 0"))
			t.Log(s.awaitPending(ctx, t, "db-2", "SchedulingGated", "ordinal 0"))
		})).
		Assess("without the policy all of them start", step(func(ctx context.Context, t *testing.T, s scene) {
			s.deletePolicy(ctx, t, db.Name)
			s.awaitZones(ctx, t, db.Name, 3)
		})).
		Feature())
}
