// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

const (
	storms    = 8
	stormSeed = 5
)

// guardedSet is a set with what is promised to it.
type guardedSet struct {
	fixture.Workload
	quorum *intstr.IntOrString
	// budget is the minAvailable of a PodDisruptionBudget, 0 for none.
	budget int
	// needs is how many slots stay by all that.
	needs int
}

func (g ground) guarded() []guardedSet {
	set := func(name string, replicas int32) fixture.Workload {
		return g.on(fixture.Workload{Name: name, Replicas: replicas, CPU: "1", Parallel: true})
	}
	return []guardedSet{
		{Workload: set("quorum", 5), quorum: new(intstr.FromString("Majority")), needs: 3},
		{Workload: set("budget", 3), budget: 2, needs: 2},
		{Workload: set("both", 4), quorum: new(intstr.FromInt32(2)), budget: 3, needs: 3},
	}
}

// TestPreemptionStorms: nodes are full of three sets and a Deployment, and
// important pods come, many at a time, again and again. No set ever has fewer
// slots by preemption than it was promised, and no important pod waits for room
// that may be made.
func TestPreemptionStorms(t *testing.T) {
	t.Parallel()
	const g ground = "storm"
	var nodes []*corev1.Node
	for n := range 4 {
		nodes = append(nodes, g.node(fmt.Sprint(n), "zone-a", nil))
	}
	sets := g.guarded()
	web := g.on(fixture.Workload{Name: "web", Replicas: 4, CPU: "1"})
	var losses *losses
	testenv.Test(t, features.New("preemption storms").
		Setup(g.lay(t, nodes...)).
		Setup(g.priority(t)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			losses = s.watchLosses(ctx, t, nodes, sets)
			for _, set := range sets {
				if set.quorum != nil {
					s.policy(ctx, t, set.Name, v1alpha1.Placement{Quorum: set.quorum})
				}
				if set.budget != 0 {
					s.create(ctx, t, &policyv1.PodDisruptionBudget{
						ObjectMeta: metav1.ObjectMeta{Name: set.Name},
						Spec: policyv1.PodDisruptionBudgetSpec{
							MinAvailable: new(intstr.FromInt(set.budget)),
							Selector:     &metav1.LabelSelector{MatchLabels: map[string]string{fixture.AppLabel: set.Name}},
						},
					})
				}
				s.create(ctx, t, set.Service(), set.StatefulSet())
			}
			s.create(ctx, t, web.Deployment())
			s.until(ctx, t, "everybody to run", losses.all(16))
		})).
		Assess("take what may be taken, and nothing else", step(func(ctx context.Context, t *testing.T, s scene) {
			random := rand.New(rand.NewPCG(stormSeed, 0))
			t.Logf("seed %d", stormSeed)
			waited := 0
			for round := range storms {
				demand, cores := 4+random.IntN(12), 0
				for i := 0; cores < demand; i++ {
					size := 1 + random.IntN(2)
					cores += size
					s.create(ctx, t, g.urgent(fmt.Sprintf("urgent-%d-%d", round, i), fmt.Sprint(size)))
				}
				s.until(ctx, t, "everybody to be served who can be", losses.served)
				n, err := s.refusedPods(ctx, fixture.Workload{Name: "urgent"}, "node(s) where preemption would")
				if err != nil {
					t.Fatal(err)
				}
				waited += n
				t.Logf("storm %d of %d cores: %s; %d waited for the sake of sets", round, cores, losses, n)
				s.endStorm(ctx, t)
				if random.IntN(2) == 0 { // else the next storm finds them coming back
					s.until(ctx, t, "everybody to run", losses.all(16))
				}
			}
			losses.judge(t, waited)
		})).
		Feature())
}

// endStorm takes the important pods away.
func (s scene) endStorm(ctx context.Context, t *testing.T) {
	t.Helper()
	err := s.Kube.CoreV1().Pods(s.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: fixture.AppLabel + "=urgent"})
	if err != nil {
		t.Fatal(err)
	}
}
