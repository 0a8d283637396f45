// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/test/fixture"
)

// TestComebackAfterRestartOfScheduler: where a slot was is on its claim, and
// outlives the scheduler; of a set without claims the scheduler knows it from
// the pods that it saw.
func TestComebackAfterRestartOfScheduler(t *testing.T) {
	const g ground = "restart"
	nodes := []*corev1.Node{g.node("1", "zone-a", nil), g.node("2", "zone-a", nil), g.node("3", "zone-a", nil)}
	db := g.on(fixture.Workload{Name: "db", Replicas: 1, CPU: "500m", Claims: zonalClaim})
	cache := g.on(fixture.Workload{Name: "cache", Replicas: 1, CPU: "500m"})
	var was, cached fixture.Row
	testenv.Test(t, features.New("slots come back, whoever remembers them").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, endsComponents)
			t.Cleanup(func() { s.start(context.WithoutCancel(ctx), t, fixture.Scheduler) })
			s.create(ctx, t, db.Service(), db.StatefulSet(), cache.Service(), cache.StatefulSet())
			was, cached = s.awaitSet(ctx, t, db.Name, 1)[0], s.awaitSet(ctx, t, cache.Name, 1)[0]
			s.unattractive(ctx, t, g, was.Node, cached.Node)
		})).
		Assess("the claim says where its slot is", step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitNoteOf(ctx, t, "db-0", was.Node)
		})).
		Assess("a set without claims is remembered by the scheduler", step(func(ctx context.Context, t *testing.T, s scene) {
			s.deletePod(ctx, t, "cache-0")
			s.awaitOn(ctx, t, "cache-0", cached.Node)
		})).
		Assess("the claim says that nothing is kept on a cordoned node, and where the slot was", step(func(ctx context.Context, t *testing.T, s scene) {
			s.cordon(ctx, t, true, nodes[0].Name, nodes[1].Name, nodes[2].Name)
			s.deletePod(ctx, t, "db-0")
			s.awaitPending(ctx, t, "db-0", corev1.PodReasonUnschedulable, "unschedulable")
			away := s.awaitNote(ctx, t, "data-db-0", func(n statefulset.Note) bool { return n.PodUID == "" })
			if away.Node != was.Node || away.HoldStart != nil {
				t.Errorf("while the slot is away the claim says %s, its node was %s", away, was.Node)
			}
			s.cordon(ctx, t, false, was.Node) // the first, or another one is better than none
			s.awaitOn(ctx, t, "db-0", was.Node)
			s.cordon(ctx, t, false, nodes[0].Name, nodes[1].Name, nodes[2].Name)
			s.awaitNoteOf(ctx, t, "db-0", was.Node)
		})).
		Assess("a slot that left while the scheduler was dead returns by the note", step(func(ctx context.Context, t *testing.T, s scene) {
			s.kill(ctx, t, fixture.Scheduler)
			s.deletePod(ctx, t, "db-0")
			s.until(ctx, t, "another db-0", s.unscheduled("db-0"))
			// Else it would be the attachment that draws it.
			s.until(ctx, t, "volume "+was.Volume+" to be detached", func(ctx context.Context) (string, bool, error) {
				attachments, err := s.AttachmentsOf(ctx, was.Volume)
				return fmt.Sprint(attachments), len(attachments) == 0, err
			})
			s.start(ctx, t, fixture.Scheduler)
			s.awaitOn(ctx, t, "db-0", was.Node)
			s.awaitNoteOf(ctx, t, "db-0", was.Node)
		})).
		Assess("a scheduler that starts remembers what runs without claims", step(func(ctx context.Context, t *testing.T, s scene) {
			s.deletePod(ctx, t, "cache-0")
			s.awaitOn(ctx, t, "cache-0", cached.Node)
		})).
		Feature())
}

// unattractive loads nodes of a ground, and proves that by scores a pod goes elsewhere.
func (s scene) unattractive(ctx context.Context, t *testing.T, g ground, nodes ...string) {
	t.Helper()
	loaded := map[string]bool{}
	for _, node := range nodes {
		if !loaded[node] {
			loaded[node] = true
			s.create(ctx, t, g.load(node, "2"))
			s.awaitPod(ctx, t, "load-"+node, corev1.PodRunning)
		}
	}
	// It is as large as any slot, and no slot.
	probe := g.on(fixture.Workload{Name: "probe", CPU: "500m"}).Pod("probe")
	s.create(ctx, t, probe)
	if pod := s.awaitPod(ctx, t, probe.Name, corev1.PodRunning); loaded[pod.Spec.NodeName] {
		t.Fatalf("the best node for a pod without a home is %s, one of %v: coming back would prove nothing", pod.Spec.NodeName, nodes)
	}
	s.deletePod(ctx, t, probe.Name)
}

// awaitOn waits until a pod is ready, and demands that it is on the node.
func (s scene) awaitOn(ctx context.Context, t *testing.T, pod, node string) {
	t.Helper()
	if is := s.awaitPod(ctx, t, pod, corev1.PodRunning).Spec.NodeName; is != node {
		t.Errorf("%s is on node %s, want %s", pod, is, node)
	}
}

// awaitNoteOf waits until the claim of a slot says that its pod, as it is now, is on
// the node and not away.
func (s scene) awaitNoteOf(ctx context.Context, t *testing.T, pod, node string) {
	t.Helper()
	want := statefulset.Note{
		Node:     node,
		PodUID:   s.awaitPod(ctx, t, pod, corev1.PodRunning).UID,
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")},
	}
	s.awaitNote(ctx, t, "data-"+pod, func(is statefulset.Note) bool { return is.String() == want.String() })
}

// awaitNote waits until the note on a claim is as wanted.
func (s scene) awaitNote(ctx context.Context, t *testing.T, claim string, wanted func(statefulset.Note) bool) statefulset.Note {
	t.Helper()
	var note statefulset.Note
	s.until(ctx, t, "annotation "+statefulset.LastNode+" of claim "+claim, func(ctx context.Context) (string, bool, error) {
		is, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Get(ctx, claim, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		note, err = statefulset.ParseNote(is.Annotations[statefulset.LastNode])
		return is.Annotations[statefulset.LastNode], err == nil && wanted(note), err
	})
	return note
}
