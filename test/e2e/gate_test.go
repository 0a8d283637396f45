// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// readySeconds is the annotation by which a pod takes its time to get ready.
const readySeconds = "cluster.berth.dev/ready-seconds"

// log is what happened to the pods of a set, in the order of the API server:
// "db-0 bound", "db-0 ready", …
type log struct {
	mu     sync.Mutex
	lines  []string
	broken error
}

// watchPods writes a log of the pods of an app until the test ends.
func (s scene) watchPods(ctx context.Context, t *testing.T, app string) *log {
	t.Helper()
	var l log
	pods := s.Kube.CoreV1().Pods(s.Namespace)
	of := metav1.ListOptions{LabelSelector: fixture.AppLabel + "=" + app}
	follow(ctx, t, l.ended, of, pods.List, pods.Watch, func(pod *corev1.Pod, _ bool) { l.note(pod) })
	return &l
}

func (l *log) ended(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = err
}

func (l *log) note(pod *corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	add := func(is bool, line string) {
		if is && !slices.Contains(l.lines, line) {
			l.lines = append(l.lines, line)
		}
	}
	add(pod.Spec.NodeName != "", pod.Name+" bound")
	add(slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}), pod.Name+" ready")
}

// of are the lines about something, "bound" for one, in their order; all if it is empty.
func (l *log) of(what string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, line := range l.lines {
		if strings.HasSuffix(line, what) {
			lines = append(lines, line)
		}
	}
	return lines
}

// await waits until there are n lines about something.
func (l *log) await(ctx context.Context, t *testing.T, s scene, what string, n int) []string {
	t.Helper()
	s.until(ctx, t, fmt.Sprintf("%d pods to be %s", n, what), func(context.Context) (string, bool, error) {
		lines := l.of(what)
		l.mu.Lock()
		defer l.mu.Unlock()
		return strings.Join(lines, ", "), len(lines) == n, l.broken
	})
	return l.of(what)
}

// TestStartOrdered: the pods of a Parallel set start one after the other, the
// seed first, and none waits that has been there before.
func TestStartOrdered(t *testing.T) {
	t.Parallel()
	const g ground = "start"
	nodes := g.zones("zone-a", "zone-b", "zone-c")
	set := func(name string, replicas int32) fixture.Workload {
		return g.on(fixture.Workload{Name: name, Replicas: replicas, CPU: "50m", Parallel: true})
	}
	seeded, ready, shards := set("seeded", 5), set("ready", 4), set("shards", 4)
	ordered := func(until v1alpha1.StartUntil) *v1alpha1.Start {
		return &v1alpha1.Start{Order: v1alpha1.StartOrdered, Until: until}
	}
	logs := map[string]*log{}
	testenv.Test(t, features.New("start in order").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			seed := []v1alpha1.Rule{onNodes("0", capacityLabel, "on-demand")}
			s.policy(ctx, t, seeded.Name, v1alpha1.Placement{Start: ordered(v1alpha1.UntilScheduled), Rules: seed})
			s.policy(ctx, t, ready.Name, v1alpha1.Placement{Start: ordered(v1alpha1.UntilReady), Spread: &v1alpha1.Spread{}})
			s.policy(ctx, t, shards.Name, v1alpha1.Placement{Start: ordered(v1alpha1.UntilReady), Spread: &v1alpha1.Spread{ShardSize: new(int32(2))}})
			for _, w := range []fixture.Workload{seeded, ready, shards} {
				object := w.StatefulSet()
				object.Spec.Template.Annotations = map[string]string{readySeconds: "2"}
				if w.Name == shards.Name {
					object.Spec.Template.Annotations[readySeconds] = "86400" // when the test says so
				}
				logs[w.Name] = s.watchPods(ctx, t, w.Name)
				s.create(ctx, t, w.Service(), object)
			}
		})).
		Assess("until Scheduled: all wait for the seed, which has no node", step(func(ctx context.Context, t *testing.T, s scene) {
			t.Log(s.awaitPending(ctx, t, "seeded-0", corev1.PodReasonUnschedulable, "on-demand"))
			for ordinal := 1; ordinal < 5; ordinal++ {
				s.awaitPending(ctx, t, fmt.Sprintf("seeded-%d", ordinal), corev1.PodReasonSchedulingGated, "ordinal 0 was not yet")
			}
			if bound := logs[seeded.Name].of("bound"); len(bound) > 0 {
				t.Errorf("pods were bound: %v", bound)
			}
		})).
		Assess("the seed gets its node, and the others follow in order", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, g.node("seed", "zone-a", map[string]string{capacityLabel: "on-demand"}))
			want := []string{"seeded-0 bound", "seeded-1 bound", "seeded-2 bound", "seeded-3 bound", "seeded-4 bound"}
			if diff := cmp.Diff(want, logs[seeded.Name].await(ctx, t, s, "bound", 5)); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})).
		Assess("until Ready: each starts after the one before is ready", step(func(ctx context.Context, t *testing.T, s scene) {
			want := []string{
				"ready-0 bound", "ready-0 ready", "ready-1 bound", "ready-1 ready",
				"ready-2 bound", "ready-2 ready", "ready-3 bound", "ready-3 ready",
			}
			if diff := cmp.Diff(want, logs[ready.Name].await(ctx, t, s, "", 8)); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})).
		Assess("with shards, each of them has its own order", step(func(ctx context.Context, t *testing.T, s scene) {
			// Side by side: the first of each is bound while that of the other is not ready.
			firsts := logs[shards.Name].await(ctx, t, s, "bound", 2)
			if diff := cmp.Diff([]string{"shards-0 bound", "shards-2 bound"}, slices.Sorted(slices.Values(firsts))); diff != "" {
				t.Errorf("bound at first (-want +got):\n%s", diff)
			}
			for ordinal := range int(shards.Replicas) {
				patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"0"}}}`, readySeconds)
				_, err := s.Kube.CoreV1().Pods(s.Namespace).Patch(ctx, fmt.Sprint("shards-", ordinal), types.MergePatchType, patch, metav1.PatchOptions{})
				if err != nil {
					t.Fatal(err)
				}
			}
			lines := logs[shards.Name].await(ctx, t, s, "", 8)
			comes := func(line string) int { return slices.Index(lines, line) }
			for _, pair := range [][2]string{{"shards-0 ready", "shards-1 bound"}, {"shards-2 ready", "shards-3 bound"}} {
				if comes(pair[0]) > comes(pair[1]) {
					t.Errorf("%s is not before %s: %v", pair[0], pair[1], lines)
				}
			}
		})).
		Assess("one that comes back waits for nobody", step(func(ctx context.Context, t *testing.T, s scene) {
			s.cordon(ctx, t, true, "start-seed")
			s.deletePod(ctx, t, "seeded-0")
			s.awaitPending(ctx, t, "seeded-0", corev1.PodReasonUnschedulable)
			s.deletePod(ctx, t, "seeded-3")
			s.until(ctx, t, "pod seeded-3 to be bound", func(ctx context.Context) (string, bool, error) {
				pod, err := s.Kube.CoreV1().Pods(s.Namespace).Get(ctx, "seeded-3", metav1.GetOptions{})
				if err != nil {
					return "", false, err
				}
				return fmt.Sprint(pod.Status.Conditions), pod.Spec.NodeName != "", nil
			})
		})).
		Assess("a new one does wait, until nobody wants it", step(func(ctx context.Context, t *testing.T, s scene) {
			s.scale(ctx, t, "StatefulSet", seeded.Name, 7)
			for _, pod := range []string{"seeded-5", "seeded-6"} {
				t.Log(s.awaitPending(ctx, t, pod, corev1.PodReasonSchedulingGated, "ordinal 0 was not yet"))
			}
			s.scale(ctx, t, "StatefulSet", seeded.Name, 6)
			s.until(ctx, t, "the end of pod seeded-6", func(ctx context.Context) (string, bool, error) {
				pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=seeded-6"})
				if err != nil {
					return "", false, err
				}
				return "still there", len(pods.Items) == 0, nil
			})
			s.cordon(ctx, t, false, "start-seed")
			s.awaitRunning(ctx, t, seeded.Name, 6)
		})).
		Feature())
}
