// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// memory is what is known of the usage of a set, as far as a restart must not change it.
type memory struct {
	// Targets are the recommended amounts by container.
	Targets map[string]string
	// Samples and Cores are by checkpoint: how many there are, and how they are spread over the buckets.
	Samples map[string]int
	Cores   map[string]map[int]uint32
}

// TestRecommendationsOutliveTheAutoscaler: what was learnt of a set, and of each of its slots, is not learnt again when the
// autoscaler dies, even where nothing can be measured any more.
func TestRecommendationsOutliveTheAutoscaler(t *testing.T) {
	db := fixture.Workload{Name: "db", Replicas: 3, CPU: "100m", Memory: "64Mi", Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}}
	var before memory
	names := []string{"db-app", "db.app.0", "db.app.1", "db.app.2"}
	testenv.Test(t, features.New("a set of 3 with one hot ordinal").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, endsComponents)
			t.Cleanup(func() {
				ctx := context.WithoutCancel(ctx)
				s.start(ctx, t, fixture.MetricsServer)
				s.start(ctx, t, fixture.Autoscaler)
			})
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitSet(ctx, t, db.Name, 3)
			for pod, cpu := range map[string]string{"db-0": "50m", "db-1": "50m", "db-2": "900m"} {
				s.kubectl(ctx, t, "annotate", "--overwrite", "--namespace", s.Namespace, "pod", pod, "kwok.x-k8s.io/usage-cpu="+cpu, "kwok.x-k8s.io/usage-memory=64Mi")
			}
			s.create(ctx, t, vpaThatRecommends("db", fixture.Target("StatefulSet", "db")))
		})).
		Assess("what is learnt is kept, of each slot, too", step(func(ctx context.Context, t *testing.T, s scene) {
			s.written(ctx, t, "checkpoints of the container and its slots, one of them hot", func(ctx context.Context) (string, bool, error) {
				kept, err := s.checkpoints(ctx)
				hot, cold := busiest(kept["db.app.2"]), busiest(kept["db.app.0"])
				return fmt.Sprint(slices.Sorted(maps.Keys(kept)), " hottest buckets ", hot, cold), slices.Equal(slices.Sorted(maps.Keys(kept)), names) && hot > cold, err
			})
		})).
		Assess("kill -9, and the next one knows it without metrics", step(func(ctx context.Context, t *testing.T, s scene) {
			s.kill(ctx, t, fixture.MetricsServer)
			// Once nothing is measured any more, checkpoints and recommendation come to rest.
			s.written(ctx, t, "the last of what is learnt", func(ctx context.Context) (string, bool, error) {
				now, written, err := s.memory(ctx)
				same := cmp.Equal(before, now)
				before = now
				return fmt.Sprintf("%+v", now), same && time.Since(written) < patience/9, err
			})
			s.kill(ctx, t, fixture.Autoscaler)
			// It is to come from the checkpoints, but for memory, whose first peak is not settled before a day is over.
			s.patchVPAStatus(ctx, t, "db", `[{"op":"replace","path":"/status/recommendation/containerRecommendations/0/target/cpu","value":"1m"}]`)
			killed := time.Now()
			s.start(ctx, t, fixture.Autoscaler)
			s.written(ctx, t, "checkpoints of the next autoscaler", func(ctx context.Context) (string, bool, error) {
				now, written, err := s.memory(ctx)
				return fmt.Sprint(written, now.Targets), written.After(killed) && now.Targets["app"] == before.Targets["app"], err
			})
			after, _, err := s.memory(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("what is known has changed with the process (-want +got):\n%s", diff)
			}
			t.Logf("acceptance: %d samples of the set, recommended %v: known again %s after the kill, without metrics", after.Samples["db-app"], after.Targets, time.Since(killed).Round(100*time.Millisecond))
		})).
		Assess("learning goes on", step(func(ctx context.Context, t *testing.T, s scene) {
			s.start(ctx, t, fixture.MetricsServer)
			s.written(ctx, t, "more samples", func(ctx context.Context) (string, bool, error) {
				now, _, err := s.memory(ctx)
				return fmt.Sprint(now.Samples), now.Samples["db-app"] > before.Samples["db-app"] && now.Samples["db.app.2"] > before.Samples["db.app.2"], err
			})
		})).
		Assess("nothing is kept of a VPA that is gone", step(func(ctx context.Context, t *testing.T, s scene) {
			if err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Delete(ctx, "db", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			s.until(ctx, t, "the end of its checkpoints", func(ctx context.Context) (string, bool, error) {
				kept, err := s.checkpoints(ctx)
				return fmt.Sprint(slices.Sorted(maps.Keys(kept))), len(kept) == 0, err
			})
		})).
		Feature())
}

// TestUpstreamUpdater: while upstream's updater may act on any VPA, Berth recommends, and says that it does nothing more.
func TestUpstreamUpdater(t *testing.T) {
	db := fixture.Workload{Name: "db", Replicas: 1, CPU: "100m", Memory: "64Mi"}
	lease := &updaterLease{}
	testenv.Test(t, features.New("the Lease of upstream's admission controller").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "it stands in for upstream's admission controller")
			lease.scene = s
			t.Cleanup(func() { lease.end(context.WithoutCancel(ctx), t) })
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitSet(ctx, t, db.Name, 1)
			s.kubectl(ctx, t, "annotate", "--namespace", s.Namespace, "pod", "db-0", "kwok.x-k8s.io/usage-cpu=400m", "kwok.x-k8s.io/usage-memory=64Mi")
		})).
		Assess("is fresh, and Berth recommends only", step(func(ctx context.Context, t *testing.T, s scene) {
			if err := lease.renew(ctx); err != nil {
				t.Fatal(err)
			}
			s.create(ctx, t, fixture.VPA("db", fixture.Target("StatefulSet", "db")))
			s.until(ctx, t, "a condition, and a recommendation", func(ctx context.Context) (string, bool, error) {
				if err := lease.renew(ctx); err != nil {
					return "", false, err
				}
				said, recommended, err := s.standsBack(ctx, "db")
				return said.Message, said.Reason == "UpstreamUpdaterActive" && containsAll(said.Message, []string{"kube-system/vpa-admission-controller", "the-test"}) && recommended, err
			})
			t.Log(s.awaitEvent(ctx, t, "VerticalPodAutoscaler", "db", "UpstreamUpdaterActive", "the-test"))
		})).
		Assess("is stale, and Berth acts", step(func(ctx context.Context, t *testing.T, s scene) {
			last := time.Now()
			s.until(ctx, t, "the end of the condition", func(ctx context.Context) (string, bool, error) {
				said, _, err := s.standsBack(ctx, "db")
				return said.Message, said.Reason == "", err
			})
			t.Logf("acceptance: Berth acted %s after the last renewal, and upstream's updater does not after 1m0s", time.Since(last).Round(100*time.Millisecond))
			s.awaitEvent(ctx, t, "VerticalPodAutoscaler", "db", "Acts")
		})).
		Feature())
}

// written waits for what shows in checkpoints, which are written once a minute, of what is measured by then.
func (s scene) written(ctx context.Context, t *testing.T, what string, look fixture.Look) {
	t.Helper()
	if err := fixture.Until(ctx, what, 2*patience, look); err != nil {
		t.Fatal(err)
	}
}

func vpaThatRecommends(name string, target autoscalingv2.CrossVersionObjectReference) *vpav1.VerticalPodAutoscaler {
	vpa := fixture.VPA(name, target)
	vpa.Spec.UpdatePolicy = &vpav1.PodUpdatePolicy{UpdateMode: new(vpav1.UpdateModeOff)}
	return vpa
}

// checkpoints are those of the namespace by name.
func (s scene) checkpoints(ctx context.Context) (map[string]vpav1.VerticalPodAutoscalerCheckpoint, error) {
	list, err := s.VPA.AutoscalingV1().VerticalPodAutoscalerCheckpoints(s.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	kept := map[string]vpav1.VerticalPodAutoscalerCheckpoint{}
	for _, o := range list.Items {
		kept[o.Name] = o
	}
	return kept, nil
}

// busiest is the highest bucket of cpu that is used, -1 if none is.
func busiest(o vpav1.VerticalPodAutoscalerCheckpoint) int {
	highest := -1
	for bucket := range o.Status.CPUHistogram.BucketWeights {
		highest = max(highest, bucket)
	}
	return highest
}

// memory is what is known of db, and when the last of it was written.
func (s scene) memory(ctx context.Context) (is memory, oldest time.Time, err error) {
	is = memory{Targets: map[string]string{}, Samples: map[string]int{}, Cores: map[string]map[int]uint32{}}
	vpa, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Get(ctx, "db", metav1.GetOptions{})
	if err != nil {
		return is, oldest, err
	}
	if r := vpa.Status.Recommendation; r != nil {
		for _, c := range r.ContainerRecommendations {
			is.Targets[c.ContainerName] = c.Target.Cpu().String() + " " + c.Target.Memory().String()
		}
	}
	kept, err := s.checkpoints(ctx)
	for name, o := range kept {
		is.Samples[name], is.Cores[name] = o.Status.TotalSamplesCount, o.Status.CPUHistogram.BucketWeights
		if written := o.Status.LastUpdateTime.Time; oldest.IsZero() || written.Before(oldest) {
			oldest = written
		}
	}
	return is, oldest, err
}

func (s scene) patchVPAStatus(ctx context.Context, t *testing.T, name, patch string) {
	t.Helper()
	if _, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Patch(ctx, name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// standsBack is the condition of a VPA that says why its pods are left alone, and whether something is recommended.
func (s scene) standsBack(ctx context.Context, name string) (said vpav1.VerticalPodAutoscalerCondition, recommended bool, err error) {
	vpa, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return said, false, err
	}
	for _, c := range vpa.Status.Conditions {
		if c.Type == "StandsBack" && c.Status == corev1.ConditionTrue {
			said = c
		}
	}
	return said, vpa.Status.Recommendation != nil, nil
}

// updaterLease is the Lease that upstream's admission controller keeps.
type updaterLease struct{ scene scene }

func (l *updaterLease) renew(ctx context.Context) error {
	leases, now := l.scene.Kube.CoordinationV1().Leases("kube-system"), metav1.NowMicro()
	lease, err := leases.Get(ctx, "vpa-admission-controller", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "vpa-admission-controller"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: new("the-test"), RenewTime: &now}}
		_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	lease.Spec.RenewTime = &now
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}

// end takes the Lease away, which other tests would stand still for.
func (l *updaterLease) end(ctx context.Context, t *testing.T) {
	t.Helper()
	err := l.scene.Kube.CoordinationV1().Leases("kube-system").Delete(ctx, "vpa-admission-controller", metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}
