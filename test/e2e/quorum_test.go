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
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestQuorumIsSpared: a pod that fits only in the place of two of three
// siblings waits, and says for whose sake, until the policy asks for less.
func TestQuorumIsSpared(t *testing.T) {
	t.Parallel()
	const g ground = "spared"
	db := g.on(fixture.Workload{Name: "db", Replicas: 2, CPU: "1500m"})
	small := g.node("2", "zone-a", nil) // large enough for a sibling, and for nobody else
	small.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("1500m")
	testenv.Test(t, features.New("quorum Majority").
		Setup(g.lay(t, g.node("1", "zone-a", nil))).
		Setup(g.priority(t)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, db.Name, v1alpha1.Placement{SeparateNodes: v1alpha1.SeparateNone, Quorum: new(intstr.FromString("Majority"))})
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitSet(ctx, t, db.Name, 2)
			s.create(ctx, t, small)
			s.scale(ctx, t, "StatefulSet", db.Name, 3)
			if diff := cmp.Diff([]string{"spared-1", "spared-1", "spared-2"}, nodesOf(s.awaitSet(ctx, t, db.Name, 3))); diff != "" {
				t.Fatalf("nodes (-want +got):\n%s", diff)
			}
		})).
		Assess("one of them may go", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, g.urgent("modest", "2"))
			s.awaitOn(ctx, t, "modest", "spared-1")
			s.deletePod(ctx, t, "modest")
			s.awaitSet(ctx, t, db.Name, 3)
		})).
		Assess("both may not, and the pod says for whose sake", step(func(ctx context.Context, t *testing.T, s scene) {
			before, err := s.pods(ctx, db)
			if err != nil {
				t.Fatal(err)
			}
			s.create(ctx, t, g.urgent("urgent", "3"))
			s.saysWhy(ctx, t, "urgent", "1 node(s) where preemption would leave "+s.Namespace+"/db with 1 of 3 slots, and quorum Majority needs 2")
			s.stays(ctx, t, "the three pods", 3*time.Second, func(ctx context.Context) (string, bool, error) {
				now, err := s.pods(ctx, db)
				return fmt.Sprint(now), cmp.Equal(before, now), err
			})
		})).
		Assess("both may when the policy says so", step(func(ctx context.Context, t *testing.T, s scene) {
			s.editPolicy(ctx, t, db.Name, func(spec *v1alpha1.PlacementPolicySpec) { spec.Quorum = new(intstr.FromInt32(1)) })
			s.awaitOn(ctx, t, "urgent", "spared-1")
			s.awaitRunning(ctx, t, db.Name, 1)
		})).
		Feature())
}

// priority makes a PriorityClass that is called like the ground, and goes after
// the namespace of the test.
func (g ground) priority(t *testing.T) features.Func {
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "e2e-" + string(g)}, Value: 1000}
	var s scene
	t.Cleanup(func() {
		if s.Cluster == nil {
			return
		}
		err := s.Kube.SchedulingV1().PriorityClasses().Delete(context.WithoutCancel(t.Context()), class.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return step(func(ctx context.Context, t *testing.T, of scene) {
		s = of
		if _, err := s.Kube.SchedulingV1().PriorityClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.until(ctx, t, "the API server to know class "+class.Name, func(ctx context.Context) (string, bool, error) {
			_, err := s.Kube.CoreV1().Pods(s.Namespace).Create(ctx, g.urgent("any", "1"), dryRun)
			return "it does", err == nil, err
		})
	})
}

// urgent is a pod of the ground whose priority is higher than that of all others.
func (g ground) urgent(name, cpu string) *corev1.Pod {
	pod := g.on(fixture.Workload{Name: "urgent", CPU: cpu}).Pod(name)
	pod.Spec.PriorityClassName = "e2e-" + string(g)
	return pod
}
