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

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/test/fixture"
)

// resizes is what became of the sizes of a set's pods, by the watch.
type resizes struct {
	mu     sync.Mutex
	pods   map[string]*corev1.Pod
	steps  []sizeStep
	broken error
	// list is what there is now.
	list func(context.Context) (*corev1.PodList, error)
	// most is the highest number of pods that were disturbed at once: absent, not ready or being resized; down
	// is that of pods that were absent or not ready.
	most, down, replicas int
}

// sizeStep is a change that the watch told of.
type sizeStep struct {
	at        time.Time
	pod, what string
	uid       types.UID
}

// watchSizes begins a journal of the pods of a set of so many replicas, all of which run.
func (s scene) watchSizes(ctx context.Context, t *testing.T, app string, replicas int) *resizes {
	t.Helper()
	return s.watchSelected(ctx, t, fixture.AppLabel+"="+app, replicas)
}

// watchSelected does so for as many pods that a selector selects.
func (s scene) watchSelected(ctx context.Context, t *testing.T, selector string, replicas int) *resizes {
	t.Helper()
	pods := s.Kube.CoreV1().Pods(s.Namespace)
	j := &resizes{pods: map[string]*corev1.Pod{}, replicas: replicas}
	j.list = func(ctx context.Context) (*corev1.PodList, error) {
		return pods.List(ctx, metav1.ListOptions{LabelSelector: selector})
	}
	known := func(ctx context.Context, options metav1.ListOptions) (*corev1.PodList, error) {
		list, err := pods.List(ctx, options)
		for i := range list.Items {
			j.pods[list.Items[i].Name] = &list.Items[i]
		}
		return list, err
	}
	follow(ctx, t, j.breaks, metav1.ListOptions{LabelSelector: selector}, known, pods.Watch, j.hear)
	return j
}

func (j *resizes) breaks(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = err
}

func (j *resizes) hear(pod *corev1.Pod, gone bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	was := j.pods[pod.Name]
	say := func(what string) {
		j.steps = append(j.steps, sizeStep{time.Now(), pod.Name, what, pod.UID})
	}
	switch {
	case gone:
		delete(j.pods, pod.Name)
		say("gone")
	case was == nil:
		j.pods[pod.Name] = pod
		say("created with " + sizeOf(pod.Spec.Containers[0].Resources))
	default:
		j.pods[pod.Name] = pod
		if is := sizeOf(pod.Spec.Containers[0].Resources); is != sizeOf(was.Spec.Containers[0].Resources) {
			say("asked for " + is)
		}
		if has := actualSize(pod); has != actualSize(was) {
			say("has " + has)
		}
		if pod.DeletionTimestamp != nil && was.DeletionTimestamp == nil {
			say("is being deleted")
		}
		if bound := pod.Spec.NodeName; bound != was.Spec.NodeName {
			say("bound to " + bound)
		}
		if readyPod(pod) != readyPod(was) {
			say(fmt.Sprintf("ready %t", readyPod(pod)))
		}
		if a, b := restartsOf(was), restartsOf(pod); a != b {
			say(fmt.Sprintf("restarted %d times", b))
		}
	}
	calm, up := 0, 0
	for _, p := range j.pods {
		if readyPod(p) {
			up++
		}
		if readyPod(p) && actualSize(p) == sizeOf(p.Spec.Containers[0].Resources) {
			calm++
		}
	}
	j.most, j.down = max(j.most, j.replicas-calm), max(j.down, j.replicas-up)
}

// sizeOf is requests, and limits where there are any, such as "100m 300Mi".
func sizeOf(r corev1.ResourceRequirements) string {
	text := amountsOf(r.Requests)
	if len(r.Limits) > 0 {
		text += " of " + amountsOf(r.Limits)
	}
	return text
}

// amountsOf writes equal amounts equally, however they were written.
func amountsOf(list corev1.ResourceList) string {
	return fmt.Sprintf("%dm %dMi", list.Cpu().MilliValue(), list.Memory().Value()>>20)
}

// actualSize is what the kubelet says that the first container has.
func actualSize(pod *corev1.Pod) string {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == pod.Spec.Containers[0].Name && status.Resources != nil {
			return sizeOf(*status.Resources)
		}
	}
	return ""
}

func readyPod(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func restartsOf(pod *corev1.Pod) (n int32) {
	for _, status := range pod.Status.ContainerStatuses {
		n += status.RestartCount
	}
	return n
}

// catchUp waits until the journal has heard of all that there is: it may hear of something a moment late.
func (j *resizes) catchUp(ctx context.Context, t *testing.T, s scene) {
	t.Helper()
	s.until(ctx, t, "the journal to know all pods as they are", func(ctx context.Context) (string, bool, error) {
		now, err := j.list(ctx)
		if err != nil {
			return "", false, err
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		for i := range now.Items {
			if pod := j.pods[now.Items[i].Name]; pod == nil || pod.ResourceVersion != now.Items[i].ResourceVersion {
				return "it has yet to hear of " + now.Items[i].Name, false, j.broken
			}
		}
		return fmt.Sprintf("%d pods, of which it knows %d", len(now.Items), len(j.pods)), len(now.Items) == len(j.pods), j.broken
	})
}

// of are the pods that did so, in that order; what is the beginning of a step.
func (j *resizes) of(what string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var pods []string
	for _, step := range j.steps {
		if strings.HasPrefix(step.what, what) {
			pods = append(pods, step.pod)
		}
	}
	return pods
}

// turns are the pods that did so, in the order in which each did it first: what failed is tried
// again after a while, and kwok, which ends pods by name, may end the next one with the last.
func (j *resizes) turns(what string) []string {
	var turns []string
	for _, pod := range j.of(what) {
		if !slices.Contains(turns, pod) {
			turns = append(turns, pod)
		}
	}
	return turns
}

// atOnce is the highest number of pods that were disturbed at the same time.
func (j *resizes) atOnce() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.most
}

// missing is the highest number of pods that were absent or not ready at the same time.
func (j *resizes) missing() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.down
}

func (j *resizes) err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.broken
}

func (j *resizes) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b strings.Builder
	for _, step := range j.steps {
		fmt.Fprintf(&b, "%s %s %s\n", step.at.Format("15:04:05.0"), step.pod, step.what)
	}
	return b.String()
}
