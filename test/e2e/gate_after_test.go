// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestGateSaysNothingAfterwards: gates open while pods are still being told
// that they wait. None of them may go on saying so once it runs: kubectl would
// show it as SchedulingGated for ever.
func TestGateSaysNothingAfterwards(t *testing.T) {
	t.Parallel()
	// Many at once: each gate opens a moment after it was closed.
	db := fixture.Workload{Name: "db", Replicas: 60, Parallel: true}
	testenv.Test(t, features.New("many pods at a gate").
		Assess("none that runs says that it waits", step(func(ctx context.Context, t *testing.T, s scene) {
			ordered := over()
			ordered.Start = &v1alpha1.Start{Order: v1alpha1.StartOrdered}
			s.policy(ctx, t, db.Name, ordered)
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitSet(ctx, t, db.Name, 60)
			pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: db.Selector()})
			if err != nil {
				t.Fatal(err)
			}
			for _, pod := range pods.Items {
				for _, c := range pod.Status.Conditions {
					if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue {
						t.Errorf("%s runs on %s and says %s: %s", pod.Name, pod.Spec.NodeName, c.Reason, c.Message)
					}
				}
			}
		})).
		Feature())
}
