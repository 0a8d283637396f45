// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"strings"
	"testing"

	"github.com/berth-dev/berth/plugins/policies"
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

// Pods that came into the queue before the policies were read, as in a process
// that stands by, do not start out of order when it leads.
func TestGateHoldsWhoCameBeforeThePolicies(t *testing.T) {
	first, second := slotPod("db", 0).Obj(), slotPod("db", 1).Obj()
	second.Spec.Containers = []v1.Container{{Name: "c", Image: "i"}}
	client := fake.NewClientset(roomy("a1", "a"), roomy("b1", "b"), set("db", 2), second)
	book := policies.NewBook()
	bindings, says := runAfter(t, client, book, func() {
		book.Set(policy(t, inOrder))
		book.MarkReady(nil)
	})
	if got := next(t, "event", says); !strings.Contains(got, "ordinal 1 of prod/db starts when") {
		t.Errorf("event: %s", got)
	}
	createPod(t, client, first)
	for _, want := range []string{"db-0", "db-1"} {
		if got := next(t, "binding", bindings)[0]; got != want {
			t.Errorf("bound: %s, want %s", got, want)
		}
	}
}

// A pod whose set is deleted with --cascade=orphan is nobody's slot: it starts.
func TestOrphansAreWoken(t *testing.T) {
	for name, wait := range map[string]struct {
		spec  string
		event string
	}{
		"at the gate":           {inOrder, "ordinal 1 of prod/db starts when"},
		"for a domain to come":  {`{spread: {domains: [z]}}`, "outside the planned domain z"},
		"for a node of its own": {`{separateNodes: Required}`, "with another slot of prod/db"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := objects(roomy("a1", "a"), set("db", 2))
			if name == "for a node of its own" {
				objects = append(objects, slotPod("db", 0).Node("a1").Obj())
			}
			client, book := fake.NewClientset(objects...), noPolicies()
			book.Set(policy(t, wait.spec))
			bindings, says := run(t, client, book)
			plain := claiming()
			plain.Name, plain.UID, plain.Spec.SchedulerName = "plain", "plain", "berth-scheduler"
			createPod(t, client, plain) // who places a pod tells people
			next(t, "binding", bindings)
			pod := slotPod("db", 1).Obj()
			createPod(t, client, pod)
			if got := next(t, "event", says); !strings.Contains(got, wait.event) {
				t.Fatalf("event: %s", got)
			}
			orphan := pod.DeepCopy()
			orphan.OwnerReferences = nil
			if _, err := client.CoreV1().Pods("prod").Update(t.Context(), orphan, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := next(t, "binding", bindings)[0]; got != "db-1" {
				t.Errorf("bound: %s, want db-1", got)
			}
		})
	}
}
