// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
	"github.com/berth-dev/berth/test/fixture"
)

// TestRefusalPairs has a cluster of its own, in which Berth runs and the policies come late: what it does about each pair
// of the table, from the moment both are there, is heard by a journal.
func TestRefusalPairs(t *testing.T) {
	t.Parallel()
	testenv.Test(t, features.New("a cluster whose policies come late").
		Assess("has no workload that is scaled both ways", step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "it starts a cluster without policies")
			cluster := ownCluster(ctx, t, fixture.Options{
				Name: "e2e-refusal", Nodes: 6, Zones: 3, NodeCPU: "32",
				AutoscalerConfig: testdata("autoscaler.yaml"),
				Apply: []string{
					filepath.Join(root, "manifests/crd"), filepath.Join(root, "manifests/scheduler/rbac"), filepath.Join(root, "manifests/autoscaler/rbac"),
					testdata("crews.yaml"), testdata("scaledobjects.yaml"),
				},
			})
			on(ctx, cluster).Test(t, rivalsAreRefused(scene{Cluster: cluster}.watchDeeds(ctx, t)))
		})).
		Feature())
}

// duel is a rivalry in its namespace.
type duel struct {
	scene
	rivalry
	// since is the moment before both were there.
	since time.Time
}

// duels are all of them, by name.
type duels map[string]*duel

func rivalsAreRefused(journal *deeds) features.Feature {
	all := duels{}
	early := func(c *duel) bool { return c.early }
	late := func(c *duel) bool { return c.late }
	before := func(c *duel) bool { return !c.early && !c.late }
	now := func(c *duel) ending { return c.is }
	return features.New("two autoscalers of the same pods").
		Assess("those of one instant are judged by age, then UID", step(func(ctx context.Context, t *testing.T, s scene) {
			s.stopAutoscaler(ctx, t)
			all.prepare(ctx, t, s)
			all.write(ctx, t, early, func(c *duel) []write { return c.first })
			all.judgeByAge(ctx, t)
			s.startAutoscaler(ctx, t)
		})).
		Assess("the first of each pair acts", step(func(ctx context.Context, t *testing.T, s scene) {
			all.write(ctx, t, func(c *duel) bool { return !c.early }, func(c *duel) []write { return c.first })
			all.await(ctx, t, s, func(c *duel) ending {
				if c.early {
					return c.is
				}
				return peace(c.alone...)
			})
		})).
		Assess("the second is refused, and both say so", step(func(ctx context.Context, t *testing.T, s scene) {
			all.write(ctx, t, before, func(c *duel) []write { return c.second })
			all.only(before).await(ctx, t, s, now)
		})).
		Assess("also if policies and another Berth come, and for what the policies do not see", step(func(ctx context.Context, t *testing.T, s scene) {
			s.kubectl(ctx, t, "apply", "--server-side", "-k", filepath.Join(root, "manifests/policies"))
			s.settle(ctx, t, "installed")
			s.stopAutoscaler(ctx, t)
			s.startAutoscaler(ctx, t)
			all.write(ctx, t, late, func(c *duel) []write { return c.second })
			all.await(ctx, t, s, now)
			s.stays(ctx, t, "all of that", 8*time.Second, all.apart(now).look(now))
		})).
		Assess("and nobody did what was the other's", step(func(_ context.Context, t *testing.T, _ scene) {
			all.judge(t, journal, now)
		})).
		Assess("the refusal ends with the conflict", step(func(ctx context.Context, t *testing.T, s scene) {
			ends := func(c *duel) ending { return c.finally }
			all.write(ctx, t, func(*duel) bool { return true }, func(c *duel) []write { return c.last })
			all.await(ctx, t, s, ends)
			for _, c := range all {
				c.since = time.Now()
			}
			s.stays(ctx, t, "all of that", 6*time.Second, all.apart(ends).look(ends))
			all.judge(t, journal, ends)
		})).
		Feature()
}

// apart are the pairs of which one acts at most. Where both do, as in a namespace that opts out, the VPA may
// re-create pods at any moment, and without their metrics the HPA does not act for a while.
func (all duels) apart(when func(*duel) ending) duels {
	apart := maps.Clone(all)
	maps.DeleteFunc(apart, func(_ string, c *duel) bool { return len(when(c).acts) > 1 })
	return apart
}

func (s scene) stopAutoscaler(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := s.Stop(ctx, fixture.Autoscaler); err != nil {
		t.Fatal(err)
	}
}

func (s scene) startAutoscaler(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := s.StartComponent(ctx, fixture.Autoscaler); err != nil {
		t.Fatal(err)
	}
}

// prepare makes a namespace for each, with the workloads.
func (all duels) prepare(ctx context.Context, t *testing.T, s scene) {
	t.Helper()
	for name, r := range rivalries() {
		all[name] = &duel{scene: scene{Cluster: s.Cluster}, rivalry: r}
	}
	failed := make(chan error, len(all))
	for _, c := range all {
		go func() {
			var err error
			if c.Namespace, err = s.NewNamespace(ctx, "rivals", c.labels); err == nil {
				err = c.workloads(ctx)
			}
			failed <- err
		}()
	}
	for range all {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}

// only are some of them.
func (all duels) only(some func(*duel) bool) duels {
	chosen := maps.Clone(all)
	maps.DeleteFunc(chosen, func(_ string, c *duel) bool { return !some(c) })
	return chosen
}

// write asks for something in some of them, and notes since when.
func (all duels) write(ctx context.Context, t *testing.T, some func(*duel) bool, what func(*duel) []write) {
	t.Helper()
	for name, c := range all.only(some) {
		c.since = time.Now()
		for i, do := range what(c) {
			if err := do(ctx, c.scene); err != nil {
				t.Fatalf("%s: request %d: %v", name, i, err)
			}
		}
	}
}

// judgeByAge says who is to act of those that came before Berth.
func (all duels) judgeByAge(ctx context.Context, t *testing.T) {
	t.Helper()
	for name, c := range all.only(func(c *duel) bool { return c.early }) {
		both := []string{byHPA, byVPA}
		if name == twoVPAs {
			both[0] = byOther
		}
		var of [2]metav1.Object
		for i, who := range both {
			g, err := c.guarded(ctx, who)
			if err != nil {
				t.Fatal(err)
			}
			of[i] = g.object
		}
		first, second := of[0].GetCreationTimestamp(), of[1].GetCreationTimestamp()
		if second.Before(&first) || first.Equal(&second) && of[1].GetUID() < of[0].GetUID() {
			slices.Reverse(both)
		}
		t.Logf("%s: %s is to act; of one second: %t", name, both[0], first.Equal(&second))
		c.is, c.last, c.finally = beats(both[0], both[1]), does(deleteNamed(both[0])), peace(both[1])
	}
}

func (all duels) await(ctx context.Context, t *testing.T, s scene, want func(*duel) ending) {
	t.Helper()
	begin := time.Now()
	s.until(ctx, t, fmt.Sprintf("%d pairs", len(all)), all.look(want))
	t.Logf("%d pairs after %s", len(all), time.Since(begin).Round(100*time.Millisecond))
}

// look tells which of them are not as they should be.
func (all duels) look(want func(*duel) ending) fixture.Look {
	return func(ctx context.Context) (string, bool, error) {
		var wrong []string
		for _, name := range slices.Sorted(maps.Keys(all)) {
			complaint, err := all[name].complaint(ctx, want(all[name]))
			if err != nil {
				return "", false, err
			}
			if complaint != "" {
				wrong = append(wrong, fmt.Sprintf("%s (%s): %s", name, all[name].Namespace, complaint))
			}
		}
		return strings.Join(wrong, "\n"), len(wrong) == 0, nil
	}
}

// complaint is what the two and their events do not say as they should, empty if all is well.
func (c *duel) complaint(ctx context.Context, o ending) (string, error) {
	events, err := c.Kube.CoreV1().Events(c.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, who := range slices.Concat(o.acts, o.refused) {
		g, err := c.guarded(ctx, who)
		if err != nil {
			return "", err
		}
		reason, words := o.expects(who)
		switch {
		case slices.Contains(o.acts, who) && !g.acts:
			return who + " does not act", nil
		case g.reason != reason || !containsAll(g.message, words):
			return fmt.Sprintf("%s says %q %q, not %q with %q", who, g.reason, g.message, reason, words), nil
		case reason != "" && !wasTold(events.Items, g, reason, words...):
			return fmt.Sprintf("%s has no event %q with %q", who, reason, words), nil
		case slices.Contains(o.refused, who) && g.object.GetAnnotations()[sizes.Annotation] != "":
			return who + " is refused and sizes pods", nil
		case slices.Contains(o.refused, who) && strings.HasPrefix(who, "HPA/") && g.acts:
			return who + " is refused and active", nil
		}
	}
	return "", nil
}

// expects is what somebody's condition and event are to say: the names of those on the other side.
func (o ending) expects(who string) (reason string, words []string) {
	others := o.refused
	switch {
	case len(o.refused) == 0:
		return "", nil
	case slices.Contains(o.acts, who):
		reason = "HoldsTarget"
	case strings.HasPrefix(o.acts[0], "HPA/"):
		reason, others, words = "TargetHasHPA", o.acts, o.says
	default:
		reason, others, words = "TargetHasVPA", o.acts, o.says
	}
	words = slices.Clone(words)
	for _, other := range others {
		_, name, _ := strings.Cut(other, "/")
		words = append(words, fmt.Sprintf("%q", name))
	}
	return reason, words
}
