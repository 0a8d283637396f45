// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// updateSet changes a set, though its status is being written meanwhile.
func (s scene) updateSet(ctx context.Context, t *testing.T, name string, change func(*appsv1.StatefulSetSpec)) {
	t.Helper()
	sets := s.Kube.AppsV1().StatefulSets(s.Namespace)
	if err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		set, err := sets.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(&set.Spec)
		_, err = sets.Update(ctx, set, metav1.UpdateOptions{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestMinReadySeconds: what the next ordinal waits for is Ready, which comes
// long before available, and the set's own patience does not lock with it.
func TestMinReadySeconds(t *testing.T) {
	t.Parallel()
	ordered := over()
	ordered.Start = &v1alpha1.Start{Order: v1alpha1.StartOrdered, Until: v1alpha1.UntilReady}
	sets := map[string]struct {
		workload fixture.Workload
		seconds  int32
	}{
		"a Parallel set that takes long to be available": {fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Parallel: true, Claims: zonalClaim}, 3600},
		"an OrderedReady set":                            {fixture.Workload{Name: "log", Replicas: 3, CPU: "50m", Claims: zonalClaim}, 1},
	}
	feature := features.New("minReadySeconds with start Ordered until Ready").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			for _, c := range sets {
				s.policy(ctx, t, c.workload.Name, ordered)
				set := c.workload.StatefulSet()
				set.Spec.MinReadySeconds = c.seconds
				set.Spec.Template.Annotations = map[string]string{"cluster.berth.dev/ready-seconds": "2"}
				s.create(ctx, t, c.workload.Service(), set)
			}
		}))
	for name, c := range sets {
		feature.Assess(name, step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitZones(ctx, t, c.workload.Name, 3)
			s.startedInOrder(ctx, t, c.workload.Name, 3)
		}))
	}
	testenv.Test(t, feature.Feature())
}

// startedInOrder demands that each ordinal was scheduled when the one before it was ready.
func (s scene) startedInOrder(ctx context.Context, t *testing.T, set string, replicas int) {
	t.Helper()
	var ready metav1.Time
	for ordinal := range replicas {
		pod, err := s.Kube.CoreV1().Pods(s.Namespace).Get(ctx, fmt.Sprintf("%s-%d", set, ordinal), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		since := map[corev1.PodConditionType]metav1.Time{}
		for _, c := range pod.Status.Conditions {
			if c.Status == corev1.ConditionTrue {
				since[c.Type] = c.LastTransitionTime
			}
		}
		scheduled := since[corev1.PodScheduled]
		t.Logf("%s was scheduled at %s and ready at %s", pod.Name, scheduled.UTC().Format("15:04:05"), since[corev1.PodReady].UTC().Format("15:04:05"))
		if scheduled.IsZero() {
			t.Errorf("%s runs, and PodScheduled is not True: %v", pod.Name, pod.Status.Conditions)
		}
		if scheduled.Before(&ready) {
			t.Errorf("%s did not wait for the one before it", pod.Name)
		}
		ready = since[corev1.PodReady]
	}
}

// TestOrdinalsStart: a set that does not begin at 0, and one that begins elsewhere later.
func TestOrdinalsStart(t *testing.T) {
	t.Parallel()
	db := fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Parallel: true, Claims: zonalClaim}
	renumber := func(ctx context.Context, t *testing.T, s scene, start, replicas int32) {
		t.Helper()
		s.updateSet(ctx, t, db.Name, func(spec *appsv1.StatefulSetSpec) {
			spec.Ordinals, spec.Replicas = &appsv1.StatefulSetOrdinals{Start: start}, &replicas
		})
	}
	var pods podIDs
	testenv.Test(t, features.New("spec.ordinals.start").
		Assess("ordinals 5, 6 and 7 are spread from the first of them", step(func(ctx context.Context, t *testing.T, s scene) {
			set := db.StatefulSet()
			set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
			s.create(ctx, t, db.Service(), set)
			table := s.awaitZones(ctx, t, db.Name, 3)
			if table[0].Ordinal != 5 {
				t.Errorf("the first ordinal is %d", table[0].Ordinal)
			}
			pods = s.podIDs(ctx, t, db)
		})).
		Assess("lower ones come beside them", step(func(ctx context.Context, t *testing.T, s scene) {
			renumber(ctx, t, s, 3, 5)
			s.awaitPlaces(ctx, t, db.Name, "zone-b zone-c zone-a zone-b zone-c")
			for name, id := range s.podIDs(ctx, t, db) {
				if pods[name] != "" && pods[name] != id {
					t.Errorf("%s has been replaced", name)
				}
			}
		})).
		Assess("the lowest go, and a higher one makes up for it", step(func(ctx context.Context, t *testing.T, s scene) {
			renumber(ctx, t, s, 6, 3)
			// Left are 6 in zone-b and 7 in zone-c; claims of ordinals that are not wanted do not count.
			s.until(ctx, t, "the end of the lower pods", func(ctx context.Context) (string, bool, error) {
				ids := s.podIDs(ctx, t, db)
				return fmt.Sprint(ids), len(ids) == 3 && ids["db-8"] != "", nil
			})
			s.awaitPlaces(ctx, t, db.Name, "zone-b zone-c zone-a")
		})).
		Feature())
}

// TestPartition: a rolling update that replaces the high ordinals only, and
// then the others, moves none.
func TestPartition(t *testing.T) {
	t.Parallel()
	sets := []fixture.Workload{
		{Name: "db", Replicas: 5, CPU: "50m", Parallel: true, Claims: zonalClaim},
		{Name: "cache", Replicas: 5, CPU: "50m", Parallel: true},
	}
	// The volumes of db are not where anybody would put them today.
	zones := map[string]string{"db": "zone-b zone-c zone-b zone-c zone-b", "cache": first(5)}
	before, pods := map[string]fixture.Table{}, map[string]podIDs{}
	// rolled waits for the update, and demands that the pods from the partition on are other ones.
	rolled := func(ctx context.Context, t *testing.T, s scene, partition int) {
		t.Helper()
		for _, set := range sets {
			s.awaitUpdate(ctx, t, set.Name, 5-partition)
			table := s.awaitPlaces(ctx, t, set.Name, zones[set.Name])
			if diff := cmp.Diff(volumes(before[set.Name]), volumes(table)); diff != "" {
				t.Errorf("volumes of %s (-before +after):\n%s", set.Name, diff)
			}
			now := s.podIDs(ctx, t, set)
			for ordinal := range 5 {
				name := fmt.Sprintf("%s-%d", set.Name, ordinal)
				if same := pods[set.Name][name] == now[name]; same != (ordinal < partition) {
					t.Errorf("partition %d, %s is the pod of before: %t", partition, name, same)
				}
			}
		}
	}
	testenv.Test(t, features.New("a rolling update with a partition").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, "db", over("zone-b", "zone-c"))
			for _, w := range sets {
				set := w.StatefulSet()
				set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(3))}
				s.create(ctx, t, w.Service(), set)
			}
			for _, set := range sets {
				before[set.Name] = s.awaitPlaces(ctx, t, set.Name, zones[set.Name])
				pods[set.Name] = s.podIDs(ctx, t, set)
			}
			s.deletePolicy(ctx, t, "db")
		})).
		Assess("3 and 4 restart, and return", step(func(ctx context.Context, t *testing.T, s scene) {
			for _, set := range sets {
				s.updateSet(ctx, t, set.Name, func(spec *appsv1.StatefulSetSpec) {
					spec.Template.Annotations = map[string]string{"e2e.berth.dev/revision": "2"}
				})
			}
			rolled(ctx, t, s, 3)
		})).
		Assess("the others restart, and return", step(func(ctx context.Context, t *testing.T, s scene) {
			for _, set := range sets {
				s.updateSet(ctx, t, set.Name, func(spec *appsv1.StatefulSetSpec) { spec.UpdateStrategy.RollingUpdate.Partition = new(int32(0)) })
			}
			rolled(ctx, t, s, 0)
		})).
		Feature())
}

// awaitUpdate waits until as many pods of a set are of its newest revision, and all are ready.
func (s scene) awaitUpdate(ctx context.Context, t *testing.T, set string, want int) {
	t.Helper()
	s.until(ctx, t, fmt.Sprintf("%d updated pods of %s", want, set), func(ctx context.Context) (string, bool, error) {
		object, err := s.Kube.AppsV1().StatefulSets(s.Namespace).Get(ctx, set, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		status := object.Status
		state := fmt.Sprintf("%d updated, %d ready, generation %d of %d", status.UpdatedReplicas, status.ReadyReplicas, status.ObservedGeneration, object.Generation)
		return state, status.UpdatedReplicas == int32(want) && status.ReadyReplicas == *object.Spec.Replicas && status.ObservedGeneration == object.Generation, nil
	})
}
