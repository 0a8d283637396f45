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
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
	"github.com/berth-dev/berth/test/fixture"
)

// deeds are what became of replicas and of sizes in all namespaces, and when the test
// heard of it. What looks now and then misses what did not last.
type deeds struct {
	mu     sync.Mutex
	last   map[types.UID]string // what there is of each thing
	done   []deed
	broken error
}

type deed struct {
	at                          time.Time
	namespace, what, from, into string
}

func (d deed) String() string { return fmt.Sprintf("%s: %q became %q", d.what, d.from, d.into) }

// watchDeeds begins a journal, which ends with the test.
func (s scene) watchDeeds(ctx context.Context, t *testing.T) *deeds {
	t.Helper()
	j := &deeds{last: map[types.UID]string{}}
	apps, pods, vpas, crews := s.Kube.AppsV1(), s.Kube.CoreV1().Pods(""), s.VPA.AutoscalingV1().VerticalPodAutoscalers(""), s.dynamic(t, crewResource)
	follow(ctx, t, j.ended, metav1.ListOptions{}, apps.Deployments("").List, apps.Deployments("").Watch, func(d *appsv1.Deployment, _ bool) {
		j.replicas(d, "Deployment", int64(*d.Spec.Replicas))
	})
	follow(ctx, t, j.ended, metav1.ListOptions{}, apps.ReplicaSets("").List, apps.ReplicaSets("").Watch, func(r *appsv1.ReplicaSet, _ bool) {
		j.replicas(r, "ReplicaSet", int64(*r.Spec.Replicas))
	})
	follow(ctx, t, j.ended, metav1.ListOptions{}, apps.StatefulSets("").List, apps.StatefulSets("").Watch, func(set *appsv1.StatefulSet, _ bool) {
		j.replicas(set, "StatefulSet", int64(*set.Spec.Replicas))
	})
	follow(ctx, t, j.ended, metav1.ListOptions{}, crews.List, crews.Watch, func(crew *unstructured.Unstructured, _ bool) {
		size, _, _ := unstructured.NestedInt64(crew.Object, "spec", "size")
		j.replicas(crew, "Crew", size)
	})
	follow(ctx, t, j.ended, metav1.ListOptions{}, vpas.List, vpas.Watch, func(vpa *vpav1.VerticalPodAutoscaler, gone bool) {
		j.hear(vpa, "VPA/"+vpa.Name, "", sizing(vpa), gone)
	})
	follow(ctx, t, j.ended, metav1.ListOptions{}, pods.List, pods.Watch, func(pod *corev1.Pod, gone bool) {
		if app := pod.Labels[fixture.AppLabel]; len(pod.Spec.Containers) == 1 {
			j.hear(pod, "pods of "+app, rivalCPU, pod.Spec.Containers[0].Resources.Requests.Cpu().String(), gone)
		}
	})
	return j
}

// sizing is what a VPA has from who serves it: what it recommends, and the sizes that pods get.
func sizing(vpa *vpav1.VerticalPodAutoscaler) string {
	var parts []string
	if r := vpa.Status.Recommendation; r != nil {
		for _, c := range r.ContainerRecommendations {
			parts = append(parts, "recommends cpu "+c.Target.Cpu().String())
		}
	}
	if table := vpa.Annotations[sizes.Annotation]; table != "" {
		parts = append(parts, "sizes "+table)
	}
	return strings.Join(parts, ", ")
}

// replicas hears a number. All begin with one.
func (j *deeds) replicas(object metav1.Object, kind string, n int64) {
	j.hear(object, kind+"/"+object.GetName(), "1", fmt.Sprint(n), false)
}

// hear notes a change of a thing, which was so before it was heard of first.
func (j *deeds) hear(object metav1.Object, what, before, now string, gone bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	last, known := j.last[object.GetUID()]
	if !known {
		last = before
	}
	if gone {
		delete(j.last, object.GetUID())
		return
	}
	j.last[object.GetUID()] = now
	if last != now {
		j.done = append(j.done, deed{time.Now(), object.GetNamespace(), what, last, now})
	}
}

func (j *deeds) ended(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = err
}

// of are the deeds in a namespace.
func (j *deeds) of(namespace string) ([]deed, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []deed
	for _, d := range j.done {
		if d.namespace == namespace {
			found = append(found, d)
		}
	}
	return found, j.broken
}

// judge fails for each deed of somebody who was refused, and where it has not heard what those did who act.
func (all duels) judge(t *testing.T, journal *deeds, want func(*duel) ending) {
	t.Helper()
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			done, err := journal.of(c.Namespace)
			if err != nil {
				t.Fatal(err)
			}
			for _, who := range want(c).acts {
				does := c.guardedOf(t, who).does
				if does != "" && !slices.ContainsFunc(done, func(d deed) bool { return d.what == does }) {
					t.Errorf("%s acts, and nobody has heard of %s", who, does)
				}
			}
			for _, d := range done {
				if who := c.trespasser(t, want(c), d); who != "" && d.at.After(c.since) {
					t.Errorf("%s was refused, and %s after both were there %s", who, d.at.Sub(c.since).Round(100*time.Millisecond), d)
				}
			}
		})
	}
}

// trespasser is who was refused and did it, empty if nobody of those.
func (c *duel) trespasser(t *testing.T, o ending, d deed) string {
	t.Helper()
	app := "web"
	if c.app != "" {
		app = c.app
	}
	sized := slices.ContainsFunc(o.acts, func(who string) bool { return strings.HasPrefix(who, "VPA/") })
	for _, who := range o.refused {
		switch {
		case strings.HasPrefix(who, "HPA/"):
			if d.what == c.guardedOf(t, who).does {
				return who
			}
		// What was there before may be taken away.
		case d.what == who && !strings.HasPrefix(d.from, d.into), d.what == "pods of "+app && !sized:
			return who
		}
	}
	return ""
}

func (c *duel) guardedOf(t *testing.T, who string) guarded {
	t.Helper()
	g, err := c.guarded(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// guarded is an HPA or VPA as the guard leaves it.
type guarded struct {
	kind, name string
	// does is what a journal calls its deeds, empty for another recommender's VPA.
	does string
	// reason and message are of the condition Conflicted, empty without it.
	reason, message string
	// acts tells that it does what it is for.
	acts   bool
	object metav1.Object
}

// guarded reads "HPA/name" or "VPA/name".
func (s scene) guarded(ctx context.Context, who string) (g guarded, err error) {
	kind, name, _ := strings.Cut(who, "/")
	if kind == "VPA" {
		vpa, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return g, err
		}
		g = guarded{kind: "VerticalPodAutoscaler", name: name, does: who, acts: vpa.Status.Recommendation != nil, object: vpa}
		if len(vpa.Spec.Recommenders) == 0 { // its recommender is not here
			g.does, g.acts = "", true
		}
		for _, c := range vpa.Status.Conditions {
			if c.Type == "Conflicted" {
				g.reason, g.message = c.Reason, c.Message
			}
		}
		return g, nil
	}
	hpa, err := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return g, err
	}
	g = guarded{kind: "HorizontalPodAutoscaler", name: name, does: hpa.Spec.ScaleTargetRef.Kind + "/" + hpa.Spec.ScaleTargetRef.Name, object: hpa}
	for _, c := range hpa.Status.Conditions {
		switch c.Type {
		case "Conflicted":
			g.reason, g.message = c.Reason, c.Message
		case autoscalingv2.ScalingActive:
			g.acts = c.Status == corev1.ConditionTrue && hpa.Status.LastScaleTime != nil
		}
	}
	return g, nil
}

// wasTold tells whether an event about an autoscaler has the reason and the words.
func wasTold(events []corev1.Event, g guarded, reason string, words ...string) bool {
	for _, e := range events {
		if e.InvolvedObject.Kind == g.kind && e.InvolvedObject.Name == g.name && e.Reason == reason && containsAll(e.Message, words) {
			return true
		}
	}
	return false
}
