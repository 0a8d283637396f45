// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// listed is what these tests read of the JSON of holds.
type listed struct {
	Set                         struct{ Name string }
	Ordinal                     int
	Node, State                 string
	Fixed                       bool
	EndsNotBefore, EndsNotAfter string
}

// holds asks kubectl-berth which room is kept.
func (s scene) holds(ctx context.Context, args ...string) ([]listed, error) {
	out, said, err := s.berth(ctx, append([]string{"holds", "-o", "json"}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("kubectl berth holds: %w: %s", err, said)
	}
	var report struct{ Holds []listed }
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return nil, fmt.Errorf("%w in\n%s", err, out)
	}
	return report.Holds, nil
}

// awaitHold waits until the one hold that is listed is as wanted.
func (s scene) awaitHold(ctx context.Context, t *testing.T, want listed) listed {
	t.Helper()
	var hold listed
	s.until(ctx, t, fmt.Sprintf("a hold like %+v", want), func(ctx context.Context) (string, bool, error) {
		holds, err := s.holds(ctx)
		if err != nil || len(holds) != 1 {
			return fmt.Sprintf("%+v", holds), false, err
		}
		hold = holds[0]
		is := hold
		is.EndsNotBefore, is.EndsNotAfter = "", ""
		return fmt.Sprintf("%+v", hold), cmp.Equal(want, is), nil
	})
	return hold
}

// noHolds demands that no room is listed, at once.
func (s scene) noHolds(ctx context.Context, t *testing.T, args ...string) {
	t.Helper()
	out, said, err := s.berth(ctx, append([]string{"holds"}, args...)...)
	if err != nil || out != "" || said != "No room is kept.\n" {
		t.Errorf("kubectl berth holds %v: %v, %q, and on the standard error %q", args, err, out, said)
	}
}

// TestHoldsCommand: the room of a slot is listed while its pod is away, and not
// once it is back.
func TestHoldsCommand(t *testing.T) {
	t.Parallel()
	const g ground = "holds"
	tied := g.on(fixture.Workload{Name: "tied", Replicas: 1, CPU: "500m", Claims: []fixture.Claim{{Name: "data", Class: "local"}}})
	free := g.on(fixture.Workload{Name: "free", Replicas: 1, CPU: "500m", Claims: zonalClaim})
	node := g.node("1", "zone-a", nil)
	testenv.Test(t, features.New("kubectl berth holds").
		Setup(g.lay(t, node)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, tied.Service(), tied.StatefulSet(), free.Service(), free.StatefulSet())
			s.awaitSet(ctx, t, tied.Name, 1)
			s.awaitSet(ctx, t, free.Name, 1)
			s.noHolds(ctx, t)
		})).
		Assess("lists the room of a slot that can run on one node only, without end", step(func(ctx context.Context, t *testing.T, s scene) {
			s.cordon(ctx, t, true, node.Name)
			s.deletePod(ctx, t, "tied-0")
			want := listed{Node: node.Name, State: "Pending", Fixed: true}
			want.Set.Name = tied.Name
			if hold := s.awaitHold(ctx, t, want); hold.EndsNotAfter != "" {
				t.Errorf("it ends at %s, want it not to", hold.EndsNotAfter)
			}
			s.says(ctx, t, []string{"holds", "sts/tied"}, "sts/tied", node.Name, "Ready,SchedulingDisabled", "cpu=500m", "no expiry")
			s.says(ctx, t, []string{"holds", "--all-namespaces"}, "NAMESPACE", s.Namespace, "sts/tied")
			s.noHolds(ctx, t, "sts/free")
			s.cordon(ctx, t, false, node.Name)
			s.awaitOn(ctx, t, "tied-0", node.Name)
			s.noHolds(ctx, t)
		})).
		Assess("lists the room of a slot that could run elsewhere, with its end", step(func(ctx context.Context, t *testing.T, s scene) {
			s.updateSet(ctx, t, free.Name, func(spec *appsv1.StatefulSetSpec) {
				spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
				spec.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "berth.test/wait"}}
			})
			s.until(ctx, t, "the set's controller to know of it", func(ctx context.Context) (string, bool, error) {
				set, err := s.Kube.AppsV1().StatefulSets(s.Namespace).Get(ctx, free.Name, metav1.GetOptions{})
				if err != nil {
					return "", false, err
				}
				return fmt.Sprintf("generation %d of %d", set.Status.ObservedGeneration, set.Generation), set.Status.ObservedGeneration == set.Generation, nil
			})
			s.deletePod(ctx, t, "free-0")
			want := listed{Node: node.Name, State: "Pending"}
			want.Set.Name = free.Name
			hold := s.awaitHold(ctx, t, want)
			if hold.EndsNotBefore == "" || strings.Compare(hold.EndsNotBefore, hold.EndsNotAfter) > 0 {
				t.Errorf("it ends between %q and %q, want two times", hold.EndsNotBefore, hold.EndsNotAfter)
			}
			s.says(ctx, t, []string{"holds"}, "sts/free", "scheduling gates: berth.test/wait")
			s.ungate(ctx, t, "free-0")
			s.noHolds(ctx, t)
		})).
		Feature())
}
