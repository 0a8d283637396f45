// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/plugins/policies"
)

func TestKilled(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ended := func(reason string, after time.Duration) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason, FinishedAt: metav1.NewTime(at.Add(after))}}
	}
	memory := func(q string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(q)}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	oom := func(container string, after time.Duration, request vertical.Bytes) vertical.OOM {
		return vertical.OOM{Pod: "pod", Container: container, Time: at.Add(after), Request: request}
	}
	for name, tc := range map[string]struct {
		status, init []corev1.ContainerStatus
		want         []vertical.OOM
	}{
		"never": {status: []corev1.ContainerStatus{{Name: "app", State: running}}},
		"runs again": {
			status: []corev1.ContainerStatus{{Name: "app", State: running, LastTerminationState: ended("OOMKilled", 0)}},
			want:   []vertical.OOM{oom("app", 0, 100<<20)}},
		"not restarted yet": {
			status: []corev1.ContainerStatus{{Name: "app", State: ended("OOMKilled", 0)}},
			want:   []vertical.OOM{oom("app", 0, 100<<20)}},
		"killed again": {
			status: []corev1.ContainerStatus{{Name: "app", State: ended("OOMKilled", time.Hour), LastTerminationState: ended("OOMKilled", 0)}},
			want:   []vertical.OOM{oom("app", 0, 100<<20), oom("app", time.Hour, 100<<20)}},
		"ended for another reason": {status: []corev1.ContainerStatus{{Name: "app", State: ended("Completed", 0), LastTerminationState: ended("Error", 0)}}},
		"less than the spec asks for": {
			status: []corev1.ContainerStatus{{Name: "app", State: ended("OOMKilled", 0), Resources: &corev1.ResourceRequirements{Requests: memory("60Mi")}}},
			want:   []vertical.OOM{oom("app", 0, 60<<20)}},
		"the kubelet says nothing of memory": {
			status: []corev1.ContainerStatus{{Name: "app", State: ended("OOMKilled", 0), Resources: &corev1.ResourceRequirements{}}},
			want:   []vertical.OOM{oom("app", 0, 100<<20)}},
		"a sidecar": {
			init: []corev1.ContainerStatus{{Name: "proxy", State: running, LastTerminationState: ended("OOMKilled", 0)}},
			want: []vertical.OOM{oom("proxy", 0, 20<<20)}},
		"a container without a request": {
			status: []corev1.ContainerStatus{{Name: "bare", State: running, LastTerminationState: ended("OOMKilled", 0)}},
			want:   []vertical.OOM{oom("bare", 0, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "pod"}, Status: corev1.PodStatus{ContainerStatuses: tc.status, InitContainerStatuses: tc.init}}
			pod.Spec.Containers = []corev1.Container{{Name: "app", Resources: corev1.ResourceRequirements{Requests: memory("100Mi")}}, {Name: "bare"}}
			pod.Spec.InitContainers = []corev1.Container{{Name: "proxy", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), Resources: corev1.ResourceRequirements{Requests: memory("20Mi")}}}
			if diff := cmp.Diff(tc.want, killed(pod)); diff != "" {
				t.Errorf("kills (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnEvictionIsToldOfOnePod(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "prod", Name: "evicted", UID: "event", CreationTimestamp: metav1.NewTime(at), Annotations: map[string]string{"offending_containers": "app", "offending_containers_usage": "1Gi", "starved_resource": "memory"}},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "prod", Name: "db-0", UID: "old"}, Reason: "Evicted",
	}
	pod := func(uid types.UID, created time.Duration, owner string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "prod", Name: "db-0", UID: uid, CreationTimestamp: metav1.NewTime(at.Add(created)),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: owner, Name: "db", Controller: ptr.To(true)}},
		}}
	}
	old, next, later := pod("old", -time.Hour, "StatefulSet"), pod("next", time.Second, "StatefulSet"), pod("later", time.Minute, "StatefulSet")
	for name, tc := range map[string]struct {
		pods []*corev1.Pod // as they are looked at, one after the other
		want []types.UID   // that are told of it
	}{
		"the pod itself":                {[]*corev1.Pod{old, old}, []types.UID{"old", "old"}},
		"then its successor":            {[]*corev1.Pod{old, next, later}, []types.UID{"old"}},
		"its successor only":            {[]*corev1.Pod{next, next, later}, []types.UID{"next", "next"}},
		"one that was there before":     {[]*corev1.Pod{pod("other", -time.Minute, "StatefulSet")}, nil},
		"one that is no slot, but like": {[]*corev1.Pod{pod("other", time.Minute, "ReplicaSet")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				client := fake.NewClientset(event)
				evictions, err := observe.NewEvictions(client)
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan struct{})
				go func() { defer close(done); evictions.Run(ctx) }()
				synctest.Wait()
				c := &Conductor{evictions: evictions, policies: policies.NewBook(), history: newHistory()}
				var told []types.UID
				for _, pod := range tc.pods {
					for _, oom := range c.ooms(pod) {
						if oom.Container != "app" || oom.Request != 1<<30 || !oom.Time.Equal(at) {
							t.Errorf("told %+v", oom)
						}
						told = append(told, oom.Pod)
					}
				}
				if diff := cmp.Diff(tc.want, told); diff != "" {
					t.Errorf("told (-want +got):\n%s", diff)
				}
				cancel()
				<-done
			})
		})
	}
}
