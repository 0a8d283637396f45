// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

var evictedAt = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func evictionEvent(name, pod, containers, usage, starved string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "prod", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(evictedAt),
			Annotations: map[string]string{offenders: containers, offendersUsage: usage, starvedResource: starved},
		},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "prod", Name: pod, UID: types.UID("uid-of-" + pod)},
		Reason:         evicted, Message: "The node was low on resource: memory.",
	}
}

func TestEvictionsIn(t *testing.T) {
	eviction := func(container string, used int64) Eviction {
		return Eviction{Event: "e", Pod: "uid-of-db-0", Container: container, Time: evictedAt, Used: used}
	}
	for name, tc := range map[string]struct {
		containers, usage, starved string
		want                       []Eviction
	}{
		"one container":                 {"app", "100Mi", "memory", []Eviction{eviction("app", 100<<20)}},
		"two containers":                {"app,proxy", "1Gi,5Ki", "memory", []Eviction{eviction("app", 1<<30), eviction("proxy", 5<<10)}},
		"for want of room on its disk":  {"app", "100Mi", "ephemeral-storage", nil},
		"no annotations":                {"", "", "", nil},
		"nobody has offended":           {"", "", "memory", nil},
		"fewer amounts than containers": {"app,proxy", "1Gi", "memory", nil},
		"an amount that is none":        {"app,proxy", "much,5Ki", "memory", []Eviction{eviction("proxy", 5<<10)}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, evictionsIn(evictionEvent("e", "db-0", tc.containers, tc.usage, tc.starved))); diff != "" {
				t.Errorf("evictions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEvictionsAreWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		client := fake.NewClientset(evictionEvent("first", "db-0", "app", "1Ki", "memory"), evictionEvent("another", "db-1", "app", "2Ki", "memory"))
		e, err := NewEvictions(client)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); e.Run(ctx) }()
		synctest.Wait()
		if _, err := client.CoreV1().Events("prod").Create(ctx, evictionEvent("second", "db-0", "app", "3Ki", "memory"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		used := map[types.UID]int64{}
		for _, one := range e.Of("prod", "db-0") {
			used[one.Event] = one.Used
		}
		if diff := cmp.Diff(map[types.UID]int64{"first": 1 << 10, "second": 3 << 10}, used); diff != "" {
			t.Errorf("evictions of db-0 (-want +got):\n%s", diff)
		}
		if got := e.Of("test", "db-0"); len(got) != 0 {
			t.Errorf("evictions %v of a pod in another namespace", got)
		}
		if err := client.CoreV1().Events("prod").Delete(ctx, "first", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if e.Told("first") || !e.Told("second") {
			t.Errorf("told: first %t, second %t, want the second only", e.Told("first"), e.Told("second"))
		}
		for _, action := range client.Actions() {
			if list, ok := action.(clienttesting.ListActionImpl); ok {
				if got := list.GetListRestrictions().Fields.String(); got != "involvedObject.kind=Pod,reason=Evicted" {
					t.Errorf("events are asked for with the selector %q", got)
				}
			}
		}
		cancel()
		<-done
	})
}
