// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

const (
	contestSlots  = 30
	contestRivals = 200
	// rivalsPerSlot is how many rivals the room of a slot is enough for.
	rivalsPerSlot = 4
)

// contest is a set whose slots fill a node each, on local volumes, and rivals:
// pods of the same priority that wait for room. A part of what a slot takes is
// enough for a rival, and no slot fits beside one.
type contest struct {
	ground     ground
	set, rival fixture.Workload
	nodes      []*corev1.Node

	scene    scene
	register *register
	updates  int
}

func newContest(g ground, scheduler string) *contest {
	c := &contest{
		ground: g,
		// Parallel matters to pods that are deleted together: an update replaces one at a time.
		set: g.on(fixture.Workload{
			Name: "db", Replicas: contestSlots, CPU: "4", Scheduler: scheduler, Parallel: true,
			Claims: []fixture.Claim{{Name: "data", Class: "local"}},
		}),
		rival: g.on(fixture.Workload{Name: "rival", CPU: "1", Scheduler: scheduler}),
	}
	zones := []string{"zone-a", "zone-b", "zone-c"}
	for i := range contestSlots {
		c.nodes = append(c.nodes, g.node(fmt.Sprint(i), zones[i%len(zones)], nil))
	}
	return c
}

// feature restarts the set in every way, and enters what came of it.
func (c *contest) feature(t *testing.T, all *outcomes) *features.FeatureBuilder {
	f := features.New("a set restarts, and others wait for its room").
		Setup(c.ground.lay(t, c.nodes...)).
		Setup(c.fill())
	for _, r := range c.restarts() {
		f.Assess(r.name, step(func(ctx context.Context, t *testing.T, _ scene) {
			before, begin := c.state(t), time.Now()
			if err := r.run(ctx); err != nil {
				t.Fatal(err)
			}
			o := outcome{scheduler: c.set.Scheduler, restart: r.name, took: time.Since(begin), theftState: c.state(t)}
			o.returns = o.returns[len(before.returns):]
			*all = append(*all, o)
		}))
	}
	return f
}

// fill places the set, and has the rivals wait.
func (c *contest) fill() features.Func {
	return step(func(ctx context.Context, t *testing.T, s scene) {
		c.scene, c.register = s, s.watchTheft(ctx, t, c.set, c.rival)
		c.quiet(ctx, t)
		t.Cleanup(func() { c.leave(context.WithoutCancel(ctx), t) })
		s.create(ctx, t, c.set.Service(), c.set.StatefulSet())
		s.awaitUpdate(ctx, t, c.set.Name, contestSlots)
		for i := range contestRivals {
			s.create(ctx, t, c.rival.Pod(fmt.Sprint("rival-", i)))
		}
		s.until(ctx, t, "all rivals to wait", func(ctx context.Context) (string, bool, error) {
			refused, err := s.refusedPods(ctx, c.rival, "Insufficient cpu")
			return fmt.Sprint(refused, " wait"), refused == contestRivals, err
		})
	})
}

// quiet stops the autoscaler for the time of the test. It would look all the
// while for nodes that so many pods could have, and here it is schedulers that
// are measured.
func (c *contest) quiet(ctx context.Context, t *testing.T) {
	t.Helper()
	if !c.scene.Own() {
		return
	}
	if err := c.scene.Stop(ctx, fixture.Autoscaler); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.scene.start(context.WithoutCancel(ctx), t, fixture.Autoscaler) })
}

// leave ends all pods at once: the end of a namespace gives them half their
// grace period. What has failed is left for people to look at.
func (c *contest) leave(ctx context.Context, t *testing.T) {
	t.Helper()
	if t.Failed() {
		return
	}
	kube, namespace := c.scene.Kube, c.scene.Namespace
	if err := errors.Join(
		kube.AppsV1().StatefulSets(namespace).Delete(ctx, c.set.Name, metav1.DeleteOptions{}),
		kube.CoreV1().Pods(namespace).DeleteCollection(ctx, *metav1.NewDeleteOptions(0), metav1.ListOptions{}),
	); err != nil {
		t.Error(err)
	}
	c.scene.until(ctx, t, "the end of all pods", func(ctx context.Context) (string, bool, error) {
		pods, err := kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", false, err
		}
		return fmt.Sprint(len(pods.Items), " are there"), len(pods.Items) == 0, nil
	})
}

// restart has every slot leave its node. It ends when all are back, or those
// that are not have no room left.
type restart struct {
	name string
	run  func(context.Context) error
}

func (c *contest) restarts() []restart {
	return []restart{{"rolling update", c.update}, {"all deleted at once", c.deleteAll}}
}

// restartUntil restarts the set in every way, until it is enough.
func (c *contest) restartUntil(ctx context.Context, enough <-chan struct{}) error {
	for {
		for _, r := range c.restarts() {
			if err := r.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			select {
			case <-enough:
				return nil
			default:
			}
		}
	}
}

// update changes the template, and waits for the pods that follow from it.
func (c *contest) update(ctx context.Context) error {
	c.updates++
	patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"e2e.berth.dev/revision":"%d"}}}}}`, c.updates)
	sets := c.scene.Kube.AppsV1().StatefulSets(c.scene.Namespace)
	set, err := sets.Patch(ctx, c.set.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	return c.settle(ctx, set.Generation)
}

// deleteAll deletes the pods of all slots.
func (c *contest) deleteAll(ctx context.Context) error {
	pods := c.scene.Kube.CoreV1().Pods(c.scene.Namespace)
	before := c.register.departures()
	err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: c.set.Selector()})
	if err != nil {
		return err
	}
	if err := fixture.Until(ctx, "all slots to leave their nodes", patience, func(context.Context) (string, bool, error) {
		return c.register.departedSince(before)
	}); err != nil {
		return err
	}
	return c.settle(ctx, 0)
}

// settle waits until nothing changes any more: every slot has a ready pod of the
// newest revision of that generation, or those that have none are stuck.
func (c *contest) settle(ctx context.Context, generation int64) error {
	sets := c.scene.Kube.AppsV1().StatefulSets(c.scene.Namespace)
	return fixture.Until(ctx, "the slots to be back", 2*patience, func(ctx context.Context) (string, bool, error) {
		is, err := c.register.state()
		if err != nil || is.stuck() {
			return is.String(), err == nil, err
		}
		set, err := sets.Get(ctx, c.set.Name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		status := set.Status
		settled := is.away == 0 && status.ObservedGeneration >= generation &&
			status.UpdatedReplicas == contestSlots && status.ReadyReplicas == contestSlots
		return fmt.Sprintf("%s; %d updated, %d ready", is, status.UpdatedReplicas, status.ReadyReplicas), settled, nil
	})
}

func (c *contest) state(t *testing.T) theftState {
	t.Helper()
	state, err := c.register.state()
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// nothingStolen demands that all slots are where they were from the beginning,
// and that no rival ever got a node.
func (c *contest) nothingStolen() features.Func {
	return step(func(_ context.Context, t *testing.T, _ scene) {
		if is := c.state(t); is.away != 0 || is.placed != 0 || len(is.moved) != 0 {
			t.Errorf("%s, and these came to another node: %v", is, is.moved)
		}
	})
}

// givesUp proves that it is for the set's sake that the rivals wait.
func (c *contest) givesUp() features.Func {
	return step(func(ctx context.Context, t *testing.T, s scene) {
		s.scale(ctx, t, "StatefulSet", c.set.Name, 0)
		s.until(ctx, t, "rivals in all the room", func(context.Context) (string, bool, error) {
			is, err := c.register.state()
			return is.String(), is.placed == rivalsPerSlot*contestSlots, err
		})
	})
}
