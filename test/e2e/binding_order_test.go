// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestBindingOrder: pods of a Parallel set may be bound in any order; where
// they belong does not depend on it.
func TestBindingOrder(t *testing.T) {
	t.Parallel()
	const g ground = "order"
	nodes := g.zones("zone-a", "zone-b", "zone-c")
	db := g.on(fixture.Workload{Name: "db", Replicas: 6, CPU: "50m", Parallel: true})
	testenv.Test(t, features.New("pods bound out of order").
		Setup(g.lay(t, nodes...)).
		Assess("are balanced up to each ordinal", step(func(ctx context.Context, t *testing.T, s scene) {
			s.policy(ctx, t, db.Name, v1alpha1.Placement{Spread: &v1alpha1.Spread{}})
			set := db.StatefulSet()
			set.Spec.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "e2e.berth.dev/turn"}}
			s.create(ctx, t, db.Service(), set)
			for _, ordinal := range []int{1, 3, 2, 5, 0, 4} {
				s.ungate(ctx, t, fmt.Sprintf("db-%d", ordinal))
			}
			if err := balanced(strings.Fields(s.awaitSet(ctx, t, db.Name, 6).Zones())); err != nil {
				t.Error(err)
			}
		})).
		Feature())
}

// ungate takes the scheduling gates from a pod, and returns once it is bound.
func (s scene) ungate(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	pods := s.Kube.CoreV1().Pods(s.Namespace)
	s.until(ctx, t, "pod "+name+" to be bound", func(ctx context.Context) (string, bool, error) {
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		if len(pod.Spec.SchedulingGates) > 0 {
			_, err = pods.Patch(ctx, name, types.MergePatchType, []byte(`{"spec":{"schedulingGates":[]}}`), metav1.PatchOptions{})
		}
		return fmt.Sprint(pod.Status.Conditions), pod.Spec.NodeName != "", err
	})
}
