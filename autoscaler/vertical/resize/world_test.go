// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// list is cpu and memory; an empty one is left out.
func list(cpu, memory string) v1.ResourceList {
	out := v1.ResourceList{}
	if cpu != "" {
		out[v1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		out[v1.ResourceMemory] = resource.MustParse(memory)
	}
	return out
}

// pod is a running, ready pod of a set, whose kubelet has acknowledged its size.
func pod(set string, ordinal int, requests, limits v1.ResourceList) *v1.Pod {
	name := fmt.Sprintf("%s-%d", set, ordinal)
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name), Generation: 1, Labels: map[string]string{"app": set},
			CreationTimestamp: metav1.NewTime(noon.Add(-24 * time.Hour))},
		Spec: v1.PodSpec{NodeName: "node-a", Containers: []v1.Container{{Name: "db", Image: "db",
			TerminationMessagePolicy: v1.TerminationMessageReadFile, ImagePullPolicy: v1.PullAlways,
			Resources: v1.ResourceRequirements{Requests: requests.DeepCopy(), Limits: limits.DeepCopy()}}}},
	}
	p.Status = v1.PodStatus{Phase: v1.PodRunning, StartTime: ptr.To(metav1.NewTime(noon.Add(-24 * time.Hour))),
		Conditions: []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue}}}
	acknowledge(p)
	return p
}

// acknowledge lets the kubelet report what the spec asks for.
func acknowledge(p *v1.Pod) {
	p.Status.ObservedGeneration = p.Generation
	p.Status.ContainerStatuses = nil
	for _, c := range p.Spec.Containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, v1.ContainerStatus{Name: c.Name,
			State: v1.ContainerState{Running: &v1.ContainerStateRunning{}}, AllocatedResources: c.Resources.Requests.DeepCopy(), Resources: c.Resources.DeepCopy()})
	}
	setCondition(p, v1.PodResizePending, "", time.Time{})
	setCondition(p, v1.PodResizeInProgress, "", time.Time{})
}

// setCondition sets a condition, or removes it where at is zero.
func setCondition(p *v1.Pod, kind v1.PodConditionType, reason string, at time.Time) {
	if i := slices.IndexFunc(p.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == kind }); i >= 0 {
		if p.Status.Conditions[i].Reason == reason && !at.IsZero() {
			return
		}
		p.Status.Conditions = slices.Delete(p.Status.Conditions, i, i+1)
	}
	if !at.IsZero() {
		p.Status.Conditions = append(p.Status.Conditions, v1.PodCondition{Type: kind, Status: v1.ConditionTrue, Reason: reason,
			ObservedGeneration: p.Generation, LastTransitionTime: metav1.NewTime(at)})
	}
}

func setReady(p *v1.Pod, ready bool) {
	status := map[bool]v1.ConditionStatus{true: v1.ConditionTrue, false: v1.ConditionFalse}[ready]
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == v1.PodReady {
			p.Status.Conditions[i].Status = status
		}
	}
}

// runOut lets the pod be down, as its container was killed for want of memory soon after its start.
func runOut(p *v1.Pod) {
	setReady(p, false)
	p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &v1.ContainerStateTerminated{Reason: "OOMKilled",
		StartedAt: metav1.NewTime(noon.Add(-2 * time.Minute)), FinishedAt: metav1.NewTime(noon.Add(-time.Minute))}
}

// write changes the spec, as the resize subresource does.
func write(p *v1.Pod, sizes resize.Sizes) {
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		if size, ok := sizes[c.Name]; ok {
			c.Resources = v1.ResourceRequirements{Requests: size.Requests.DeepCopy(), Limits: size.Limits.DeepCopy()}
			p.Generation++
		}
	}
}

// advice recommends one size for container db, with narrow bounds.
func advice(cpu, memory string) []resize.Recommendation {
	target := list(cpu, memory)
	return []resize.Recommendation{{Container: "db", Target: target, Lower: target.DeepCopy(), Upper: target.DeepCopy()}}
}

// set is a target with pods from ordinal 0, all recommended the same.
func set(mode vpav1.UpdateMode, recs []resize.Recommendation, pods ...*v1.Pod) resize.Target {
	t := resize.Target{Key: resize.Key{Namespace: "prod", Name: "db"}, Update: &vpav1.PodUpdatePolicy{UpdateMode: &mode},
		Workload: resize.Workload{Kind: "StatefulSet", Name: "db", Ordered: true, Replicas: len(pods), MaxUnavailable: 1}}
	for i, p := range pods {
		t.Pods = append(t.Pods, resize.Pod{Object: p, Ordinal: i, Containers: recs, Usage: map[string]resize.Bytes{"db": 1}})
	}
	return t
}

// pods are n pods of set db of one size.
func pods(n int, requests, limits v1.ResourceList) []*v1.Pod {
	var out []*v1.Pod
	for i := range n {
		out = append(out, pod("db", i, requests, limits))
	}
	return out
}

func budget(name string, allowed, desired int32, covered ...*v1.Pod) resize.Budget {
	return resize.Budget{Pods: covered, Object: &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name},
		Spec:   policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}},
		Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed, DesiredHealthy: desired, CurrentHealthy: desired + allowed}}}
}

// answered decides until nothing is asked any more; yes answers all questions.
func answered(t *testing.T, in resize.Input, answer func(resize.Question) resize.Answer) resize.Decision {
	t.Helper()
	if in.Now.IsZero() {
		in.Now = noon
	}
	if in.Config == (resize.Config{}) {
		in.Config = resize.DefaultConfig()
	}
	out := resize.Decide(in)
	for range 100 {
		if len(out.Questions) == 0 {
			return out
		}
		for _, q := range out.Questions {
			a := answer(q)
			a.Pod, a.Move, a.Sizes = q.Pod.UID, q.Move, q.Sizes
			in.Answers = append(in.Answers, a)
		}
		out = resize.Again(in, out)
	}
	t.Fatal("asks for ever")
	return resize.Decision{}
}

// yes: there is room everywhere, and the admission policy is installed.
func yes(q resize.Question) resize.Answer {
	return resize.Answer{Fits: true, Node: "node-b", Created: maps.Clone(q.Sizes)}
}

// summary is one line for each pod: its name, step and class.
func summary(out resize.Decision) []string {
	var lines []string
	for _, p := range out.Pods {
		lines = append(lines, fmt.Sprintf("%s %s %s", p.Pod, p.Step, p.Class))
	}
	return lines
}

// expect compares the steps, and what some pods wait for.
func expect(t *testing.T, out resize.Decision, steps []string, waits map[string]string) {
	t.Helper()
	if diff := cmp.Diff(steps, summary(out)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	for name, want := range waits {
		if got := of(out, name); !strings.Contains(got.Waits, want) {
			t.Errorf("%s waits for %q, want %q", name, got.Waits, want)
		}
	}
}

func of(out resize.Decision, name string) resize.Explanation {
	for _, p := range out.Pods {
		if p.Pod == name {
			return p
		}
	}
	return resize.Explanation{}
}
