// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/test/fixture"
)

// The sizes of a set before and after. The first is above what is recommended to a pod that is idle.
const (
	smallCPU, smallMemory = "100m", "300Mi"
	largeCPU, largeMemory = "200m", "600Mi"
)

// sizedSet is the set db of small pods in three zones, which take a second to be resized, and its VPA.
func (s scene) sizedSet(ctx context.Context, t *testing.T, g ground, replicas int32, mode vpav1.UpdateMode, edit func(*appsv1.StatefulSet)) fixture.Workload {
	t.Helper()
	return s.sizedSetNamed(ctx, t, g, "db", replicas, mode, edit)
}

func (s scene) sizedSetNamed(ctx context.Context, t *testing.T, g ground, name string, replicas int32, mode vpav1.UpdateMode, edit func(*appsv1.StatefulSet)) fixture.Workload {
	t.Helper()
	w := g.on(fixture.Workload{
		Name: name, Replicas: replicas, CPU: smallCPU, Memory: smallMemory, Parallel: true,
		Claims: []fixture.Claim{{Name: "data", Class: "zonal"}},
	})
	set := w.StatefulSet()
	set.Spec.Template.Annotations = map[string]string{"cluster.berth.dev/resize-seconds": "1"}
	if edit != nil {
		edit(set)
	}
	s.create(ctx, t, w.Service(), set)
	s.awaitSet(ctx, t, w.Name, int(replicas))
	vpa := fixture.VPA(name, fixture.Target("StatefulSet", name))
	vpa.Spec.UpdatePolicy = &vpav1.PodUpdatePolicy{UpdateMode: &mode}
	vpa.Spec.ResourcePolicy = &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{
		ContainerName: "*", MinAllowed: resources(smallCPU, smallMemory),
	}}}
	if err := s.createVPA(ctx, vpa); err != nil {
		t.Fatal(err)
	}
	s.awaitVPACondition(ctx, t, name, config.SizesApplied, corev1.ConditionTrue, "UpToDate")
	return w
}

// grow has the VPA recommend more to every pod.
func (s scene) grow(ctx context.Context, t *testing.T, cpu, memory string) {
	t.Helper()
	s.growNamed(ctx, t, "db", cpu, memory)
}

func (s scene) growNamed(ctx context.Context, t *testing.T, name, cpu, memory string) {
	t.Helper()
	if err := s.updateVPA(ctx, name, func(vpa *vpav1.VerticalPodAutoscaler) {
		vpa.Spec.ResourcePolicy.ContainerPolicies[0].MinAllowed = resources(cpu, memory)
	}); err != nil {
		t.Fatal(err)
	}
}

// awaitVPACondition waits until the VPA has the condition, and returns its message.
func (s scene) awaitVPACondition(ctx context.Context, t *testing.T, name, kind string, status corev1.ConditionStatus, reason string, words ...string) string {
	t.Helper()
	message := ""
	s.until(ctx, t, fmt.Sprintf("%s=%s %s of VPA %s with %q", kind, status, reason, name, words), func(ctx context.Context) (string, bool, error) {
		vpa, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		var seen []string
		for _, c := range vpa.Status.Conditions {
			seen = append(seen, fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message))
			missing := slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(c.Message, word) })
			if string(c.Type) == kind && c.Status == status && (reason == "" || c.Reason == reason) && !missing {
				message = c.Message
				return "", true, nil
			}
		}
		return strings.Join(seen, "; "), false, nil
	})
	return message
}

// awaitSizes waits until the pods, all of them by default, ask for the size and have it.
func (s scene) awaitSizes(ctx context.Context, t *testing.T, w fixture.Workload, size string, pods ...string) {
	t.Helper()
	s.until(ctx, t, fmt.Sprintf("pods %v of size %s", pods, size), func(ctx context.Context) (string, bool, error) {
		all, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: w.Selector()})
		if err != nil {
			return "", false, err
		}
		var seen []string
		done, want := 0, int(w.Replicas)
		if len(pods) > 0 {
			want = len(pods)
		}
		for i := range all.Items {
			pod := &all.Items[i]
			spec, has := sizeOf(pod.Spec.Containers[0].Resources), actualSize(pod)
			seen = append(seen, fmt.Sprintf("%s asks for %s and has %s", pod.Name, spec, has))
			if (len(pods) == 0 || slices.Contains(pods, pod.Name)) && spec == size && has == size && readyPod(pod) {
				done++
			}
		}
		return strings.Join(seen, "; "), done == want, nil
	})
}

// descending are the pods of ordinals from the highest to the lowest.
func descending(from, to int) []string {
	var pods []string
	for ordinal := from; ordinal >= to; ordinal-- {
		pods = append(pods, fmt.Sprintf("db-%d", ordinal))
	}
	return pods
}

// TestSizesInPlace: the ordinals of a set grow one after the other, from the highest to the lowest, and no
// container restarts. One that needs more than the others gets more.
func TestSizesInPlace(t *testing.T) {
	t.Parallel()
	const g = ground("sizes-in-place")
	var w fixture.Workload
	testenv.Test(t, features.New("a set grows in place").
		Setup(g.lay(t, g.zones("zone-a", "zone-b", "zone-c")...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			w = s.sizedSet(ctx, t, g, 5, vpav1.UpdateModeInPlaceOrRecreate, func(set *appsv1.StatefulSet) {
				set.Spec.Template.Spec.Containers[0].Resources.Limits = resources("400m", "900Mi")
			})
		})).
		Assess("from the highest ordinal to the lowest, one at a time", step(func(ctx context.Context, t *testing.T, s scene) {
			before, err := s.pods(ctx, w)
			if err != nil {
				t.Fatal(err)
			}
			j := s.watchSizes(ctx, t, w.Name, 5)
			s.grow(ctx, t, largeCPU, largeMemory)
			s.awaitSizes(ctx, t, w, "200m 600Mi of 800m 1800Mi")
			s.awaitVPACondition(ctx, t, "db", config.SizesApplied, corev1.ConditionTrue, "UpToDate")
			j.catchUp(ctx, t, s)
			t.Logf("acceptance: five ordinals grow in place:\n%s", j)
			if diff := cmp.Diff(descending(4, 0), j.of("asked for")); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(descending(4, 0), j.of("has")); diff != "" {
				t.Errorf("order of acknowledgement (-want +got):\n%s", diff)
			}
			if n := j.atOnce(); n != 1 {
				t.Errorf("%d pods were disturbed at once, want 1", n)
			}
			if all := slices.Concat(j.of("restarted"), j.of("ready false"), j.of("gone")); len(all) > 0 {
				t.Errorf("disturbed: %v", all)
			}
			after, err := s.pods(ctx, w)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("pods (-before +after):\n%s", diff)
			}
			if err := j.err(); err != nil {
				t.Error(err)
			}
			s.awaitEvent(ctx, t, "Pod", "db-4", "InPlaceResizedByVPA", "memory 300Mi to 600Mi")
		})).
		Feature())
}
