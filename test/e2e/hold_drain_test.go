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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestDrain: a node is drained, stays closed for longer than holdFor, and opens
// while 200 pods wait for its room. Slots that can run nowhere else find theirs,
// also those that have no pod yet when it opens; that of a slot which could run
// elsewhere was free at once.
func TestDrain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		parallel bool
		waiting  int // slots with a pod while the node is closed
	}{
		"one-by-one": {false, 1},
		"parallel":   {true, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := drain{ground: ground("drain-" + name), node: "drain-" + name + "-1", waiting: tc.waiting}
			// 400m of the node's 4 cores are nobody's: room for one of the crowd.
			d.db = d.on(fixture.Workload{Name: "db", Replicas: 3, CPU: "900m", Parallel: tc.parallel, Claims: []fixture.Claim{{Name: "data", Class: "local"}}})
			d.movable = d.on(fixture.Workload{Name: "movable", Replicas: 1, CPU: "900m", Claims: zonalClaim})
			d.crowd = d.on(fixture.Workload{Name: "crowd", CPU: "400m"})
			d.crowd.NodeSelector[corev1.LabelHostname] = d.node + ".local"
			testenv.Test(t, features.New("a drained node comes back").
				Setup(d.lay(t, d.ground.node("1", "zone-a", nil))).
				Setup(step(d.settle)).
				Assess("a slot that can run elsewhere leaves its room to others", step(d.empty)).
				Assess("the others wait for longer than holdFor", step(d.wait)).
				Assess("and find their room when the node opens", step(d.open)).
				Feature())
		})
	}
}

// drain is the story of one node.
type drain struct {
	ground
	node               string
	db, movable, crowd fixture.Workload
	waiting            int
	before             fixture.Table
	moments            *moments
}

// shortly is a holdFor that is over while the node is closed.
const shortly = 3 * time.Second

func (d *drain) settle(ctx context.Context, t *testing.T, s scene) {
	for _, w := range []fixture.Workload{d.db, d.movable} {
		s.policy(ctx, t, w.Name, v1alpha1.Placement{Home: &v1alpha1.Home{HoldFor: &metav1.Duration{Duration: shortly}}})
		s.create(ctx, t, w.Service(), w.StatefulSet())
	}
	d.before = s.awaitSet(ctx, t, d.db.Name, 3)
	s.awaitSet(ctx, t, d.movable.Name, 1)
	s.create(ctx, t, d.ground.node("2", "zone-a", nil))
	d.moments = s.listen(ctx, t, d.ground)
}

func (d *drain) empty(ctx context.Context, t *testing.T, s scene) {
	s.create(ctx, t, d.rival("rival", d.node, "900m"))
	s.awaitPending(ctx, t, "rival", corev1.PodReasonUnschedulable, "Insufficient cpu")
	// The lowest slot leaves first: until it is ready again an ordered set makes no pod for those above it. In which order a
	// drain evicts them, and so which the set finds missing first, is not known.
	s.cordon(ctx, t, true, d.node)
	s.deletePod(ctx, t, d.db.Name+"-0")
	s.until(ctx, t, "the first slot to wait", func(ctx context.Context) (string, bool, error) {
		n, err := s.refusedPods(ctx, d.db, "unschedulable")
		return fmt.Sprint(n, " wait"), n == 1, err
	})
	s.kubectl(ctx, t, "drain", d.node, "--timeout=60s")
	free := d.moments.when(ctx, t, s, "movable-0 gone")
	after := d.moments.when(ctx, t, s, "rival bound").Sub(free)
	t.Logf("acceptance: drained: others had the room %s after its pod was gone", after.Round(time.Millisecond))
	if after > soon {
		t.Errorf("others had the room %s after its pod was gone", after)
	}
	if is := s.awaitSet(ctx, t, d.movable.Name, 1)[0].Node; is == d.node {
		t.Errorf("movable-0 is on node %s, which is drained", is)
	}
}

func (d *drain) wait(ctx context.Context, t *testing.T, s scene) {
	for i := range 200 {
		s.create(ctx, t, d.crowd.Pod(fmt.Sprint("crowd-", i)))
	}
	s.until(ctx, t, "200 pods to wait", func(ctx context.Context) (string, bool, error) {
		n, err := s.refusedPods(ctx, d.crowd, "unschedulable")
		return fmt.Sprint(n), n == 200, err
	})
	slots := func(ctx context.Context) (string, bool, error) {
		n, err := s.refusedPods(ctx, d.db, "unschedulable")
		return fmt.Sprint(n, " wait"), n == d.waiting, err
	}
	s.until(ctx, t, "the slots to wait", slots)
	s.stays(ctx, t, "the slots wait", 2*shortly, slots)
}

func (d *drain) open(ctx context.Context, t *testing.T, s scene) {
	s.cordon(ctx, t, false, d.node)
	if diff := cmp.Diff(d.before, s.awaitSet(ctx, t, d.db.Name, 3)); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
	want := []string{"crowd", "db", "db", "db", "rival"}
	s.until(ctx, t, fmt.Sprintf("%v on node %s", want, d.node), func(ctx context.Context) (string, bool, error) {
		apps, err := s.appsOn(ctx, d.node)
		return fmt.Sprint(apps), slices.Equal(want, apps), err
	})
}

// appsOn lists the workloads whose pods are on a node, by name.
func (s scene) appsOn(ctx context.Context, node string) (apps []string, err error) {
	pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return nil, err
	}
	for _, pod := range pods.Items {
		apps = append(apps, pod.Labels[fixture.AppLabel])
	}
	slices.Sort(apps)
	return apps, nil
}
