// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const inOrder = `{spread: {}, start: {order: Ordered}}`

// Slots that were never bound come up one after the other, whatever the order
// in which their pods are made, and each says meanwhile what it waits for.
func TestSchedulerStartsInOrder(t *testing.T) {
	client := fake.NewClientset(roomy("a1", "a"), roomy("b1", "b"), roomy("c1", "c"), set("db", 3), set("web", 1))
	book := noPolicies()
	book.Set(policy(t, inOrder))
	bindings, says := run(t, client, book)
	createPod(t, client, slotPod("web", 0).Obj()) // who places a pod tells people
	next(t, "binding", bindings)
	createPod(t, client, slotPod("db", 2).Obj())
	createPod(t, client, slotPod("db", 1).Obj())
	said := map[string]bool{next(t, "event", says): true, next(t, "event", says): true}
	for _, pod := range []string{"1", "2"} {
		want := "db-" + pod + ": ordinal " + pod + ` of prod/db starts when every lower ordinal is scheduled, and ordinal 0 was not yet (start.order Ordered of PlacementPolicy "db-policy")`
		if !said[want] {
			t.Errorf("events: %v\nwant %s", said, want)
		}
	}
	createPod(t, client, slotPod("db", 0).Obj())
	for _, want := range []string{"db-0", "db-1", "db-2"} {
		if got := next(t, "binding", bindings)[0]; got != want {
			t.Errorf("bound: %s, want %s", got, want)
		}
	}
}

// A gate goes with its policy, and its pod starts without anybody asking.
func TestGateGoesWithThePolicy(t *testing.T) {
	client := fake.NewClientset(roomy("a1", "a"), roomy("b1", "b"), set("db", 2), set("web", 1))
	book := noPolicies()
	book.Set(policy(t, inOrder))
	bindings, says := run(t, client, book)
	createPod(t, client, slotPod("web", 0).Obj()) // who places a pod tells people
	next(t, "binding", bindings)
	createPod(t, client, slotPod("db", 1).Obj())
	if got := next(t, "event", says); !strings.HasPrefix(got, "db-1: ordinal 1 of prod/db starts when") {
		t.Fatalf("event: %s", got)
	}
	book.Delete("prod", "db-policy")
	if got := next(t, "binding", bindings)[0]; got != "db-1" {
		t.Errorf("bound: %s, want db-1", got)
	}
}

// The condition of a pod at a gate says why it waits, as its event does.
func TestGatedPodHasACondition(t *testing.T) {
	client := fake.NewClientset(roomy("a1", "a"), set("db", 2), set("web", 1))
	book := noPolicies()
	book.Set(policy(t, inOrder))
	watch, err := client.CoreV1().Pods("prod").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	bindings, _ := run(t, client, book)
	createPod(t, client, slotPod("web", 0).Obj())
	next(t, "binding", bindings)
	createPod(t, client, slotPod("db", 1).Obj())
	for {
		event := next(t, "change of a pod", watch.ResultChan())
		pod, ok := event.Object.(*v1.Pod)
		if !ok || pod.Name != "db-1" || len(pod.Status.Conditions) == 0 {
			continue
		}
		got := pod.Status.Conditions[0]
		if got.Type != v1.PodScheduled || got.Status != v1.ConditionFalse || got.Reason != v1.PodReasonSchedulingGated || !strings.HasPrefix(got.Message, "ordinal 1 of prod/db starts when") {
			t.Errorf("condition %+v", got)
		}
		return
	}
}

// People are told of a policy that has no effect.
func TestConflictIsTold(t *testing.T) {
	client := fake.NewClientset(roomy("a1", "a"), set("db", 1), set("web", 1))
	book := noPolicies()
	bindings, says := run(t, client, book)
	createPod(t, client, slotPod("web", 0).Obj())
	next(t, "binding", bindings)
	older, younger := policy(t, `{}`), policy(t, `{spread: {}}`)
	younger.Name, younger.CreationTimestamp = "younger", metav1.Now()
	book.Set(older)
	book.Set(younger)
	if got := next(t, "event", says); !strings.HasPrefix(got, "younger: ") || !strings.Contains(got, `"db-policy"`) {
		t.Errorf("event: %s", got)
	}
}
