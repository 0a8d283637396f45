// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func create(t *testing.T, client *fake.Clientset, pods ...*v1.Pod) {
	t.Helper()
	for _, pod := range pods {
		if _, err := client.CoreV1().Pods("prod").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func scale(t *testing.T, client *fake.Clientset, replicas int32) {
	t.Helper()
	if _, err := client.AppsV1().StatefulSets("prod").Update(t.Context(), set("db", replicas, "data"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func deletePod(t *testing.T, client *fake.Clientset, pod string) {
	t.Helper()
	if err := client.CoreV1().Pods("prod").Delete(t.Context(), pod, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// The room of a pod that is killed while others wait for it goes to the pod
// that comes after it, again and again; the moment its set gives it up, it goes
// to who waits. Deleting from the fake client is deleting without grace.
func TestSchedulerKeepsRoom(t *testing.T) {
	client := fake.NewClientset(objects(sized("a1", "4"), set("db", 1, "data"), bound("data-db-0", host, "host-a1"))...)
	bindings, waits := run(t, client, noPolicies())
	slot := func(life int) *v1.Pod {
		return asksFor(slotPod("db", 0, "data").UID(fmt.Sprint("life-", life)).Obj(), "3")
	}
	create(t, client, slot(0))
	if got := next(t, "binding", bindings); got != [2]string{"db-0", "a1"} {
		t.Fatalf("bound %v", got)
	}
	create(t, client, asksFor(other("rival", 0).Obj(), "2"))
	if got := next(t, "event", waits); !strings.HasPrefix(got, "rival: 0/1 nodes are available: 1 Insufficient cpu") {
		t.Fatalf("event %q", got)
	}
	for life := range 5 {
		deletePod(t, client, "db-0")
		for !strings.Contains(next(t, "refusal of the rival", waits), keeps) {
		}
		create(t, client, slot(life+1))
		if got := next(t, "binding", bindings); got != [2]string{"db-0", "a1"} {
			t.Fatalf("bound %v, want db-0 on a1: its room was kept", got)
		}
	}
	deletePod(t, client, "db-0")
	for !strings.Contains(next(t, "refusal of the rival", waits), keeps) {
	}
	scale(t, client, 0)
	if got := next(t, "binding", bindings); got != [2]string{"rival", "a1"} {
		t.Errorf("bound %v, want rival on a1: the set gave the slot up", got)
	}
}

// A new process knows what is kept before it places the first pod.
func TestSchedulerRebuildsHolds(t *testing.T) {
	away := bound("data-db-0", host, "host-a1")
	away[0].(*v1.PersistentVolumeClaim).Annotations["berth.dev/last-node"] = `{"node":"a1","podUID":"last","requests":{"cpu":"3"}}`
	client := fake.NewClientset(objects(sized("a1", "4"), set("db", 1, "data"), away, asksFor(other("rival", 0).Obj(), "2"))...)
	bindings, waits := run(t, client, noPolicies())
	if got := next(t, "event", waits); !strings.HasPrefix(got, "rival: 0/1 nodes are available: 1 "+keeps) {
		t.Errorf("event %q, want that its room is kept", got)
	}
	create(t, client, asksFor(slotPod("db", 0, "data").Obj(), "3"))
	if got := next(t, "binding", bindings); got != [2]string{"db-0", "a1"} {
		t.Errorf("bound %v, want db-0 on a1", got)
	}
}

// Who was scaled away while nobody watched is noted as given up: when its set
// wants it again, it is new.
func TestSchedulerForgetsWhoIsNotWanted(t *testing.T) {
	away := awayFrom(bound("data-db-1", zone, "a"), "a1", "3", 0, time.Now().Add(-time.Minute))
	client := fake.NewClientset(objects(sized("a1", "4"), set("db", 1, "data"), bound("data-db-0", zone, "a"), away)...)
	noted := notes(t, client, "data-db-1")
	bindings, _ := run(t, client, noPolicies())
	create(t, client, asksFor(other("first", 0).Obj(), "1")) // this process places pods, and writes notes
	next(t, "binding", bindings)
	noted(func(n statefulset.Note) bool { return n.Node == "a1" && n.PodUID == "" && n.HoldStart == nil })
}
