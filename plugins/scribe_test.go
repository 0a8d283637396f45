// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"testing"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// notes returns what is written on a claim, each text once.
func notes(t *testing.T, client *fake.Clientset, claim string) func(suits func(statefulset.Note) bool) statefulset.Note {
	t.Helper()
	watch, err := client.CoreV1().PersistentVolumeClaims("prod").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watch.Stop)
	return func(suits func(statefulset.Note) bool) statefulset.Note {
		t.Helper()
		for {
			changed, ok := next(t, "change of a claim", watch.ResultChan()).Object.(*v1.PersistentVolumeClaim)
			if !ok || changed.Name != claim {
				continue
			}
			note, err := statefulset.ParseNote(changed.Annotations[statefulset.LastNode])
			if err == nil && suits(note) {
				return note
			}
		}
	}
}

// The claim of a slot says where its pod is, since when it is away, and where it
// is again, through the life of a pod, a scale-down and a restart.
func TestSchedulerNotesWhereSlotsAre(t *testing.T) {
	big := roomy("a2", "a")
	big.Status.Allocatable[v1.ResourceCPU] = resource.MustParse("1")
	client := fake.NewClientset(objects(roomy("a1", "a"), big, set("db", 1, "data"), bound("data-db-0", zone, "a"))...)
	note := notes(t, client, "data-db-0")
	bindings, _ := run(t, client, noPolicies())
	createPod(t, client, slotPod("db", 0, "data").UID("first").Overhead(v1.ResourceList{v1.ResourceCPU: resource.MustParse("100m")}).Obj())
	home := next(t, "binding", bindings)[1]
	is := note(func(statefulset.Note) bool { return true })
	if is.Node != home || is.PodUID != "first" || is.Requests.Cpu().String() != "100m" || is.HoldStart != nil {
		t.Errorf("bound to %s, and the note says %s", home, is)
	}
	if err := client.CoreV1().Pods("prod").Delete(t.Context(), "db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	away := note(func(n statefulset.Note) bool { return n.HoldStart != nil })
	if away.Node != home || away.PodUID != "first" {
		t.Errorf("away from %s, and the note says %s", home, away)
	}
	createPod(t, client, slotPod("db", 0, "data").UID("second").Obj())
	if got := next(t, "binding", bindings)[1]; got != home {
		t.Errorf("it is on %s, and was on %s", got, home)
	}
	back := note(func(n statefulset.Note) bool { return n.HoldStart == nil })
	if back.Node != home || back.PodUID != "second" {
		t.Errorf("back on %s, and the note says %s", home, back)
	}
	none := int32(0)
	smaller := set("db", 0, "data")
	smaller.Spec.Replicas = &none
	if err := client.CoreV1().Pods("prod").Delete(t.Context(), "db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	note(func(n statefulset.Note) bool { return n.HoldStart != nil })
	if _, err := client.AppsV1().StatefulSets("prod").Update(t.Context(), smaller, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := note(func(n statefulset.Note) bool { return n.HoldStart == nil }); got.Node != home {
		t.Errorf("the set gave the slot up, which was on %s, and the note says %s", home, got)
	}
}

// What was noted by a scheduler that is gone holds.
func TestSchedulerReadsNotes(t *testing.T) {
	many := objects(set("db", 1, "data"), noted(bound("data-db-0", zone, "a"), "a7"))
	for _, name := range []string{"a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9"} {
		many = append(many, roomy(name, "a"))
	}
	client := fake.NewClientset(many...)
	bindings, _ := run(t, client, noPolicies())
	createPod(t, client, slotPod("db", 0, "data").Obj())
	if got := next(t, "binding", bindings)[1]; got != "a7" {
		t.Errorf("it is on %s, and was on a7", got)
	}
}

// A claim that is being provisioned for a node that is gone is given another.
func TestSchedulerFreesMisdirectedClaims(t *testing.T) {
	claim := asking("data", "fast", "1Gi")
	claim.Annotations = map[string]string{statefulset.SelectedNode: "z9"}
	client := fake.NewClientset(objects(roomy("a1", "a"), pooled("fast"), claim)...)
	watch, err := client.CoreV1().PersistentVolumeClaims("prod").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	run(t, client, noPolicies())
	pod := claiming("data")
	pod.Spec.SchedulerName = "berth-scheduler"
	createPod(t, client, pod)
	for {
		changed := next(t, "change of a claim", watch.ResultChan()).Object.(*v1.PersistentVolumeClaim)
		if changed.Annotations[statefulset.SelectedNode] == "" {
			break
		}
	}
}

// A pod that waits beside a claim that goes is told so: its condition changes,
// and its set hears that something is to be done.
func TestSchedulerTellsOfClaimsThatGo(t *testing.T) {
	client := fake.NewClientset(objects(roomy("b1", "b"), set("db", 1, "data"), bound("data-db-0", zone, "a"))...)
	_, says := run(t, client, noPolicies())
	createPod(t, client, slotPod("db", 0, "data").Obj())
	next(t, "event", says)
	if err := client.CoreV1().PersistentVolumeClaims("prod").Delete(t.Context(), "data-db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, "event", says); got == "" {
		t.Error("there is an event without a word")
	}
}
