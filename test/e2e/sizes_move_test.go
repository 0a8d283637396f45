// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/test/fixture"
)

// pendingSlack is how much longer than an uncontended re-creation an ordinal may be without a node when it moves.
const pendingSlack = 5 * time.Second

// TestSizesMove: ordinals whose nodes are too small for their new size run on until a node that
// is asked for is ready, and then move there beside their volumes, one at a time.
func TestSizesMove(t *testing.T) {
	t.Parallel()
	const g = ground("sizes-move")
	var w fixture.Workload
	var uncontended time.Duration
	testenv.Test(t, features.New("nodes too small").
		Setup(g.lay(t, g.zones("zone-a", "zone-b", "zone-c")...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			w = s.sizedSet(ctx, t, g, 3, vpav1.UpdateModeInPlaceOrRecreate, nil)
			// Of 4 cpu each node has 3.5 taken by others.
			for _, zone := range []string{"zone-a", "zone-b", "zone-c"} {
				filler := g.on(fixture.Workload{Name: "filler-" + zone, CPU: "3500m"})
				filler.NodeSelector = map[string]string{forLabel: string(g), corev1.LabelTopologyZone: zone}
				s.create(ctx, t, filler.Pod(filler.Name))
				s.awaitPod(ctx, t, filler.Name, corev1.PodRunning)
			}
		})).
		Assess("a re-creation that nobody disturbs is timed", step(func(ctx context.Context, t *testing.T, s scene) {
			j := s.watchSizes(ctx, t, w.Name, 3)
			s.deletePod(ctx, t, "db-1")
			s.until(ctx, t, "db-1 to be back", func(context.Context) (string, bool, error) {
				return j.String(), slices.Contains(j.of("bound to"), "db-1") && slices.Contains(j.of("ready true"), "db-1"), j.err()
			})
			for _, took := range j.pending() {
				uncontended = max(uncontended, took)
			}
		})).
		Assess("they wait for nodes where they are, and move when these are ready", step(func(ctx context.Context, t *testing.T, s scene) {
			j := s.watchSizes(ctx, t, w.Name, 3)
			s.grow(ctx, t, "1", largeMemory)
			s.awaitEvent(ctx, t, "Pod", "db-2", "ResizeWaits", "no node has room for its successor")
			for _, pod := range descending(2, 0) { // one after the other, each with a node that boots
				s.awaitSizes(ctx, t, w, "1000m 600Mi", pod)
			}
			s.awaitVPACondition(ctx, t, "db", config.SizesApplied, corev1.ConditionTrue, "UpToDate")
			j.catchUp(ctx, t, s)
			t.Logf("acceptance: three ordinals move, re-created in %s where nobody disturbs:\n%s", uncontended.Round(time.Millisecond), j)
			for pod, took := range j.pending() {
				if took > uncontended+pendingSlack {
					t.Errorf("%s was without a node for %s, %s longer than an uncontended re-creation", pod, took, took-uncontended)
				}
			}
			if n := j.missing(); n != 1 {
				t.Errorf("%d pods were missing at once, want 1", n)
			}
			if moved := j.turns("created with 1000m 600Mi"); !slices.Equal(moved, descending(2, 0)) {
				t.Errorf("re-created with their size: %v, want %v", moved, descending(2, 0))
			}
			if asked := j.of("asked for"); len(asked) > 0 {
				t.Errorf("resized where there is no room: %v", asked)
			}
			table := s.awaitSet(ctx, t, w.Name, 3)
			if zones := table.Zones(); zones != "zone-a zone-b zone-c" {
				t.Errorf("zones %s, want each ordinal in its own", zones)
			}
			for _, row := range table {
				if slices.Contains([]string{g.at("zone-a"), g.at("zone-b"), g.at("zone-c")}, row.Node) {
					t.Errorf("db-%d is on %s, which has no room for it", row.Ordinal, row.Node)
				}
			}
			if err := j.err(); err != nil {
				t.Error(err)
			}
		})).
		Feature())
}

// at is the name of a node of the ground.
func (g ground) at(name string) string { return fmt.Sprintf("%s-%s", g, name) }

// pending is how long each pod that was created had no node, the longest of each name.
func (j *resizes) pending() map[string]time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	took, since := map[string]time.Duration{}, map[types.UID]time.Time{}
	for _, step := range j.steps {
		switch {
		case strings.HasPrefix(step.what, "created with"):
			since[step.uid] = step.at
		case strings.HasPrefix(step.what, "bound to"):
			if at, ok := since[step.uid]; ok {
				took[step.pod] = max(took[step.pod], step.at.Sub(at))
			}
		}
	}
	return took
}
