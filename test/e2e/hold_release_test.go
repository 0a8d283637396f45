// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/test/fixture"
)

const (
	// soon bounds how long room stays unused once it is free. It is no promise,
	// for machines are busy, and below all that would hide a wake-up that is
	// missing: the queue looks at everybody again after five minutes.
	soon = 20 * time.Second
	// briefly is a holdFor that a test can wait for, and that is not over before
	// it has seen the hold.
	briefly = 15 * time.Second
)

// release is an end of a hold.
type release struct {
	// class of the claims; empty has none.
	class   string
	holdFor time.Duration
	// cause ends the hold; nil waits. Heard is what the watches say of it.
	cause func(ctx context.Context, t *testing.T, s scene, node string)
	heard func(node string) string
	// event on the set, if there is one.
	event string
}

func releases() map[string]release {
	scaled := release{
		cause: func(ctx context.Context, t *testing.T, s scene, _ string) { s.scale(ctx, t, "StatefulSet", "db", 1) },
		heard: func(string) string { return "db wants 1" },
	}
	cordoned := release{
		cause: func(ctx context.Context, t *testing.T, s scene, node string) { s.cordon(ctx, t, true, node) },
		heard: func(node string) string { return node + " cordoned" },
	}
	marked := release{
		cause: func(ctx context.Context, t *testing.T, s scene, node string) {
			s.patchNode(ctx, t, node, fmt.Sprintf(`{"spec":{"taints":[{"key":%q,"effect":"NoSchedule"}]}}`, statefulset.DrainTaint))
		},
		heard: func(node string) string { return node + " marked" },
	}
	expired := release{
		holdFor: briefly, event: "SlotHoldExpired",
		heard: func(string) string { return "db-1 gone" },
	}
	of := func(r release, class string) release { r.class = class; return r }
	return map[string]release{
		"scaled-down":       of(scaled, "local"),
		"orphaned":          of(deleted(metav1.DeletePropagationOrphan), "local"),
		"deleted":           of(deleted(metav1.DeletePropagationBackground), "local"),
		"deleted-with-pods": of(deleted(metav1.DeletePropagationForeground), "local"),
		"cordoned":          cordoned,
		"cordoned-zonal":    of(cordoned, "zonal"),
		"marked":            of(marked, "zonal"),
		"expired":           expired,
		"expired-zonal":     of(expired, "zonal"),
	}
}

func deleted(how metav1.DeletionPropagation) release {
	return release{
		cause: func(ctx context.Context, t *testing.T, s scene, _ string) {
			if err := s.Kube.AppsV1().StatefulSets(s.Namespace).Delete(ctx, "db", metav1.DeleteOptions{PropagationPolicy: &how}); err != nil {
				t.Fatal(err)
			}
		},
		heard: func(string) string { return "db goes" },
	}
}

// TestRoomIsReleased: room that is kept for an absent slot is there for others
// as soon as the slot is given up, or could run elsewhere and has had its time.
func TestRoomIsReleased(t *testing.T) {
	t.Parallel()
	for name, tc := range releases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := ground("release-" + name)
			node := string(g) + "-1"
			db := g.on(fixture.Workload{Name: "db", Replicas: 2, CPU: "1500m"})
			if tc.class != "" {
				db.Claims = []fixture.Claim{{Name: "data", Class: tc.class}}
			}
			var m *moments
			var began time.Time // before the room could be free, but for holdFor
			testenv.Test(t, features.New("a hold ends, and others are placed").
				Setup(g.lay(t, g.node("1", "zone-a", nil))).
				Setup(step(func(ctx context.Context, t *testing.T, s scene) {
					placement := v1alpha1.Placement{}
					if tc.holdFor != 0 {
						placement.Home = &v1alpha1.Home{HoldFor: &metav1.Duration{Duration: tc.holdFor}}
					}
					s.policy(ctx, t, db.Name, placement)
					s.create(ctx, t, db.Service(), db.StatefulSet())
					s.awaitSet(ctx, t, db.Name, 2)
					s.create(ctx, t, g.node("2", "zone-a", nil)) // slots could run there, unless their volumes say no
					m = s.listen(ctx, t, g)
				})).
				Assess("an update takes a slot away, and its room is kept", step(func(ctx context.Context, t *testing.T, s scene) {
					s.create(ctx, t, g.rival("rival", node, "2500m"))
					s.awaitPending(ctx, t, "rival", corev1.PodReasonUnschedulable, "Insufficient cpu")
					// The hold is of what the next pod asks for: with db-0 alone gone,
					// there would be no room for the rival either.
					began = time.Now()
					s.takeAway(ctx, t, db.Name, "2")
					s.awaitPending(ctx, t, "rival", corev1.PodReasonUnschedulable, "keep room for absent slots of "+s.Namespace+"/db (Insufficient cpu)")
				})).
				Assess("it is others' when that ends", step(func(ctx context.Context, t *testing.T, s scene) {
					if tc.cause != nil {
						began = time.Now()
						tc.cause(ctx, t, s, node)
					}
					free := m.when(ctx, t, s, tc.heard(node)).Add(tc.holdFor)
					bound := m.when(ctx, t, s, "rival bound")
					after := bound.Sub(free) // may be less than nothing: two watches are not in step
					t.Logf("acceptance: %s: others had the room %s after it was free", name, after.Round(time.Millisecond))
					if after > soon || bound.Before(began.Add(tc.holdFor)) {
						t.Errorf("others had the room %s after it was free", after)
					}
					if tc.event != "" {
						t.Log(s.awaitEvent(ctx, t, "StatefulSet", db.Name, tc.event, fmt.Sprintf("the room of ordinal 1 of %s/db on node %q", s.Namespace, node)))
					}
				})).
				Feature())
		})
	}
}

// rival is a pod that goes on one node only, even while that takes nobody: what
// is free on a node that is cordoned could not be seen otherwise.
func (g ground) rival(name, node, cpu string) *corev1.Pod {
	pod := g.on(fixture.Workload{Name: name, CPU: cpu}).Pod(name)
	pod.Spec.NodeSelector[corev1.LabelHostname] = node + ".local"
	for _, taint := range []string{corev1.TaintNodeUnschedulable, statefulset.DrainTaint} {
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: taint, Operator: corev1.TolerationOpExists})
	}
	return pod
}

// takeAway begins a rolling update of the second of two ordinals to a pod of
// another size, which no node takes, and returns when the slot is absent. The
// first is left alone, also when it is the only one.
func (s scene) takeAway(ctx context.Context, t *testing.T, set, cpu string) {
	t.Helper()
	s.updateSet(ctx, t, set, func(spec *appsv1.StatefulSetSpec) {
		spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(1))}
		pod := &spec.Template.Spec
		pod.NodeSelector[capacityLabel] = "none"
		pod.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse(cpu)
	})
	s.awaitPending(ctx, t, set+"-1", corev1.PodReasonUnschedulable)
}
