// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/test/fixture"
)

// TestSizesAbovePartition: what the partition of a rollout keeps as it is, keeps its size, too.
func TestSizesAbovePartition(t *testing.T) {
	t.Parallel()
	const g = ground("sizes-partition")
	var w fixture.Workload
	testenv.Test(t, features.New("a set with a partition of 3").
		Setup(g.lay(t, g.zones("zone-a", "zone-b", "zone-c")...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			w = s.sizedSet(ctx, t, g, 5, vpav1.UpdateModeInPlaceOrRecreate, func(set *appsv1.StatefulSet) {
				set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](3)}
			})
		})).
		Assess("grows above it, and is left alone below", step(func(ctx context.Context, t *testing.T, s scene) {
			j := s.watchSizes(ctx, t, w.Name, 5)
			s.grow(ctx, t, largeCPU, largeMemory)
			s.awaitSizes(ctx, t, w, "200m 600Mi", "db-4", "db-3")
			s.awaitVPACondition(ctx, t, "db", config.SizesApplied, corev1.ConditionFalse, "Waits", "db-2", "partition 3")
			// Two periods of the loop, in which the next one would have been its turn.
			s.stays(ctx, t, "ordinals below the partition as they are", 11*time.Second, func(context.Context) (string, bool, error) {
				asked := j.of("asked for")
				return fmt.Sprint(asked), slices.Equal(asked, descending(4, 3)), j.err()
			})
		})).
		Assess("grows on when it falls", step(func(ctx context.Context, t *testing.T, s scene) {
			s.updateSet(ctx, t, w.Name, func(spec *appsv1.StatefulSetSpec) { spec.UpdateStrategy.RollingUpdate.Partition = ptr.To[int32](0) })
			s.awaitSizes(ctx, t, w, "200m 600Mi")
		})).
		Feature())
}

// TestSizesWithinBudget: of two sets under one PodDisruptionBudget one is re-created and the other
// restarted in place, and never two of their pods are missing.
func TestSizesWithinBudget(t *testing.T) {
	t.Parallel()
	const g = ground("sizes-budget")
	var created, restarted fixture.Workload
	tier := map[string]string{"tier": "data"}
	testenv.Test(t, features.New("two sets under a budget of one").
		Setup(g.lay(t, g.zones("zone-a", "zone-b", "zone-c")...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			created = s.sizedSetNamed(ctx, t, g, "created", 3, vpav1.UpdateModeRecreate, func(set *appsv1.StatefulSet) { label(set, tier) })
			restarted = s.sizedSetNamed(ctx, t, g, "restarted", 3, vpav1.UpdateModeInPlace, func(set *appsv1.StatefulSet) {
				label(set, tier)
				set.Spec.Template.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
			})
			s.create(ctx, t, &policyv1.PodDisruptionBudget{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: tier}, MaxUnavailable: ptr.To(intstr.FromInt32(1))},
			})
		})).
		Assess("get their sizes, and one pod is missing at most", step(func(ctx context.Context, t *testing.T, s scene) {
			j := s.watchSelected(ctx, t, "tier=data", 6)
			for _, name := range []string{created.Name, restarted.Name} {
				s.growNamed(ctx, t, name, largeCPU, largeMemory)
			}
			s.awaitSizes(ctx, t, created, "200m 600Mi")
			s.awaitSizes(ctx, t, restarted, "200m 600Mi")
			j.catchUp(ctx, t, s)
			t.Logf("acceptance: a budget of one pod:\n%s", j)
			if n := j.missing(); n != 1 {
				t.Errorf("%d pods were missing at once, want 1", n)
			}
			want := []string{"created-2", "created-1", "created-0"}
			if diff := cmp.Diff(want, j.turns("created with 200m 600Mi")); diff != "" {
				t.Errorf("re-created with their size (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"restarted-2", "restarted-1", "restarted-0"}, j.of("restarted 1")); diff != "" {
				t.Errorf("restarted (-want +got):\n%s", diff)
			}
			if err := j.err(); err != nil {
				t.Error(err)
			}
			s.awaitEvent(ctx, t, "VerticalPodAutoscaler", "created", "EvictedByVPA", "created-2", "has a place on node")
		})).
		Feature())
}

func label(set *appsv1.StatefulSet, labels map[string]string) {
	for key, value := range labels {
		set.Spec.Template.Labels[key] = value
	}
}

// TestSizesOutliveTheLeader: a leader that dies in the middle of a resize is followed by one that goes
// on where it was, with the next ordinal.
func TestSizesOutliveTheLeader(t *testing.T) {
	const g = ground("sizes-leader")
	var w fixture.Workload
	testenv.Test(t, features.New("a leader dies").
		Setup(g.lay(t, g.zones("zone-a", "zone-b", "zone-c")...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, endsComponents)
			w = s.sizedSet(ctx, t, g, 5, vpav1.UpdateModeInPlaceOrRecreate, nil)
			// Until the next one leads.
			s.kubectl(ctx, t, "annotate", "-n", s.Namespace, "pod", "db-3", "cluster.berth.dev/resize=hang")
		})).
		Assess("and the next one resumes", step(func(ctx context.Context, t *testing.T, s scene) {
			first := s.holder(ctx, t)
			s.standby(ctx, t)
			j := s.watchSizes(ctx, t, w.Name, 5)
			s.grow(ctx, t, largeCPU, largeMemory)
			s.until(ctx, t, "db-3 to be asked for its size", func(context.Context) (string, bool, error) {
				asked := j.of("asked for")
				return fmt.Sprint(asked), slices.Contains(asked, "db-3"), j.err()
			})
			s.kill(ctx, t, fixture.Autoscaler)
			t.Cleanup(func() { s.start(context.WithoutCancel(ctx), t, fixture.Autoscaler) })
			s.until(ctx, t, "another leader", func(context.Context) (string, bool, error) {
				holder := s.holder(ctx, t)
				return holder, holder != "" && holder != first, nil
			})
			if has := j.of("has"); !slices.Equal(has, descending(4, 4)) {
				t.Fatalf("when the next one leads %v have their size, want db-3 to be resized still", has)
			}
			s.kubectl(ctx, t, "annotate", "-n", s.Namespace, "pod", "db-3", "cluster.berth.dev/resize-")
			s.awaitSizes(ctx, t, w, "200m 600Mi")
			j.catchUp(ctx, t, s)
			t.Logf("acceptance: a leader dies while db-3 grows:\n%s", j)
			if diff := cmp.Diff(descending(4, 0), j.of("asked for")); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			if n := j.atOnce(); n != 1 {
				t.Errorf("%d pods were disturbed at once, want 1", n)
			}
			if err := j.err(); err != nil {
				t.Error(err)
			}
		})).
		Feature())
}

// holder is who leads the autoscalers.
func (s scene) holder(ctx context.Context, t *testing.T) string {
	t.Helper()
	lease, err := s.Kube.CoordinationV1().Leases(config.Namespace).Get(ctx, config.Name, metav1.GetOptions{})
	if err != nil {
		t.Log(err)
		return ""
	}
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}
