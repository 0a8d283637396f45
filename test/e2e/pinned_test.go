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
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// TestPinnedVolume is the deadlock of kubernetes#116629 and #128832: a pod's
// own constraint sends it to the emptier zone, its volume to the fuller one.
func TestPinnedVolume(t *testing.T) {
	t.Parallel()
	const constraints = "didn't match pod topology spread constraints"
	g := ground("pinned")
	claims := []fixture.Claim{{Name: "data", Class: "only-east"}}
	stock := g.on(fixture.Workload{Name: "stock", Replicas: 2, CPU: "50m", Claims: claims, Scheduler: corev1.DefaultSchedulerName})
	ours := g.on(fixture.Workload{Name: "ours", Replicas: 3, CPU: "50m", Claims: claims})
	both := g.on(fixture.Workload{Name: "both", Replicas: 3, CPU: "50m", Claims: claims})
	web := g.on(fixture.Workload{Name: "web", Replicas: 3, CPU: "50m"})
	testenv.Test(t, features.New("volumes in one zone, and a constraint to spread over zones").
		Setup(g.lay(t, append(g.zones("east", "west"), g.node("other-east", "east", nil))...)).
		Setup(classOfZone(t, "only-east", "east")).
		Assess("stock keeps the second ordinal waiting", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, stock.Service(), spreadOverZones(stock))
			t.Log(s.awaitPending(ctx, t, "stock-1", corev1.PodReasonUnschedulable, constraints))
		})).
		Assess("ours runs each beside its volume", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, ours.Service(), spreadOverZones(ours))
			s.awaitPlaces(ctx, t, ours.Name, "east east east")
		})).
		Assess("another constraint, in which it has a choice, is kept", step(func(ctx context.Context, t *testing.T, s scene) {
			set := spreadOverZones(both)
			hosts := zoneConstraint(both)[0]
			hosts.TopologyKey = corev1.LabelHostname // the node in west has none, so those in east take one each
			set.Spec.Template.Spec.TopologySpreadConstraints = append(set.Spec.Template.Spec.TopologySpreadConstraints, hosts)
			s.create(ctx, t, both.Service(), set)
			s.awaitPlaces(ctx, t, both.Name, "east east")
			s.awaitPending(ctx, t, "both-2", corev1.PodReasonUnschedulable, constraints)
		})).
		Assess("a restart changes neither", step(func(ctx context.Context, t *testing.T, s scene) {
			s.deletePod(ctx, t, "ours-1")
			s.deletePod(ctx, t, "stock-1")
			s.awaitPlaces(ctx, t, ours.Name, "east east east")
			s.awaitPending(ctx, t, "stock-1", corev1.PodReasonUnschedulable, constraints)
			s.stays(ctx, t, "stock-1 waits", 5*time.Second, s.unscheduled("stock-1"))
		})).
		Assess("a pod that has a choice keeps to its constraint", step(func(ctx context.Context, t *testing.T, s scene) {
			s.cordon(ctx, t, true, "pinned-west")
			deployment := web.Deployment()
			deployment.Spec.Template.Spec.TopologySpreadConstraints = zoneConstraint(web)
			s.create(ctx, t, deployment)
			s.until(ctx, t, "one pod that runs and two that wait", func(ctx context.Context) (string, bool, error) {
				d, err := s.Kube.AppsV1().Deployments(s.Namespace).Get(ctx, web.Name, metav1.GetOptions{})
				if err != nil {
					return "", false, err
				}
				refused, err := s.refusedPods(ctx, web, constraints)
				return fmt.Sprintf("%d available, %d refused", d.Status.AvailableReplicas, refused), d.Status.AvailableReplicas == 1 && refused == 2, err
			})
		})).
		Feature())
}

// unscheduled looks whether a pod is there and has no node.
func (s scene) unscheduled(name string) fixture.Look {
	return func(ctx context.Context) (string, bool, error) {
		pod, err := s.Kube.CoreV1().Pods(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		return "it is on node " + pod.Spec.NodeName, pod.Spec.NodeName == "", nil
	}
}

// refusedPods counts the pods of a workload that are not scheduled, with the words.
func (s scene) refusedPods(ctx context.Context, w fixture.Workload, words ...string) (int, error) {
	pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: w.Selector()})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, pod := range pods.Items {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && containsAll(c.Message, words) {
				n++
			}
		}
	}
	return n, nil
}

// classOfZone makes a class whose volumes are made at once, before there is a
// pod, and in one zone: that is how claims of an earlier spread look.
func classOfZone(t *testing.T, name, zone string) features.Func {
	return class(t, &storagev1.StorageClass{
		ObjectMeta:        metav1.ObjectMeta{Name: name},
		Provisioner:       "zonal.berth.test",
		VolumeBindingMode: new(storagev1.VolumeBindingImmediate),
		AllowedTopologies: []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{
			{Key: corev1.LabelTopologyZone, Values: []string{zone}},
		}}},
	})
}

// class makes a StorageClass, which goes with the test, after its namespace.
func class(t *testing.T, class *storagev1.StorageClass) features.Func {
	var s scene
	t.Cleanup(func() {
		if s.Cluster == nil {
			return
		}
		err := s.Kube.StorageV1().StorageClasses().Delete(context.WithoutCancel(t.Context()), class.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return step(func(ctx context.Context, t *testing.T, of scene) {
		s = of
		if _, err := s.Kube.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

func spreadOverZones(w fixture.Workload) *appsv1.StatefulSet {
	set := w.StatefulSet()
	set.Spec.Template.Spec.TopologySpreadConstraints = zoneConstraint(w)
	return set
}

func zoneConstraint(w fixture.Workload) []corev1.TopologySpreadConstraint {
	return []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{fixture.AppLabel: w.Name}},
	}}
}
