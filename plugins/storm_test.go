// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/policies"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/kubernetes/pkg/scheduler"
)

// guarded is the profile of a scheduler that preempts by QuorumGuard.
const guarded = `{"schedulerName": "berth-scheduler", "plugins": {"multiPoint": {
	"enabled": [{"name": "QuorumGuard"}], "disabled": [{"name": "DefaultPreemption"}]}}}`

// storm is a running scheduler whose preemptions, asynchronous as they are by
// default, delete pods of a fake cluster.
type storm struct {
	client   *fake.Clientset
	book     *policies.Book
	bindings chan [2]string
	waits    chan string
}

// errNotSeen has a deletion accepted whose effect nobody sees.
var errNotSeen = errors.New("not seen")

func newStorm(t *testing.T, onDelete func(pods func() []*v1.Pod, name string) error, objects ...runtime.Object) *storm {
	t.Helper()
	return newStormWith(t, nil, onDelete, objects...)
}

func newStormWith(t *testing.T, options []scheduler.Option, onDelete func(pods func() []*v1.Pod, name string) error, objects ...runtime.Object) *storm {
	t.Helper()
	s := &storm{book: noPolicies()}
	var known []runtime.Object
	for _, obj := range objects {
		if policy, ok := obj.(*v1alpha1.PlacementPolicy); ok {
			s.book.Set(policy)
			continue
		}
		known = append(known, obj)
	}
	s.client = fake.NewClientset(known...)
	s.client.PrependReactor("delete", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		err := onDelete(s.pods, action.(clienttesting.DeleteAction).GetName())
		if errors.Is(err, errNotSeen) {
			return true, nil, nil
		}
		return err != nil, nil, err
	})
	s.bindings, s.waits = runProfile(t, s.client, s.book, guarded, func() {}, options...)
	return s
}

// pods lists what is there.
func (s *storm) pods() []*v1.Pod {
	list, err := s.client.Tracker().List(v1.SchemeGroupVersion.WithResource("pods"), v1.SchemeGroupVersion.WithKind("Pod"), "prod")
	if err != nil {
		return nil
	}
	var pods []*v1.Pod
	for i := range list.(*v1.PodList).Items {
		pods = append(pods, &list.(*v1.PodList).Items[i])
	}
	return pods
}

func (s *storm) create(t *testing.T, pod *v1.Pod) {
	t.Helper()
	if _, err := s.client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// says waits for a message about a pod that has these words.
func (s *storm) says(t *testing.T, pod, words string) {
	t.Helper()
	for {
		if message := next(t, "event that says "+words, s.waits); strings.HasPrefix(message, pod+": ") && strings.Contains(message, words) {
			return
		}
	}
}

// binds waits for a pod to be bound.
func (s *storm) binds(t *testing.T, pod string) {
	t.Helper()
	for b := next(t, "binding", s.bindings); b[0] != pod; b = next(t, "binding", s.bindings) {
	}
}

func anything(func() []*v1.Pod, string) error { return nil }

func dbOn(ordinal int, node string) *v1.Pod { return uses(slotPod("db", ordinal), node, "1") }

// Who could not preempt is woken by what gives the set room again, and not by
// the flush.
func TestPreemptorsAreWoken(t *testing.T) {
	update := func(t *testing.T, client *fake.Clientset, pod *v1.Pod) {
		t.Helper()
		if _, err := client.CoreV1().Pods("prod").Update(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	const below = "node(s) where preemption would leave prod/db with 1 of 3 slots, and quorum Majority needs 2"
	three := objects(cores("n1", "1"), set("db", 3), dbOn(0, "n1"), dbOn(1, "n2"))
	tests := map[string]struct {
		objects []runtime.Object
		says    string
		cure    func(*testing.T, *storm)
	}{
		"a slot becomes ready": {
			objects: objects(three, policy(t, `{quorum: Majority}`), notReady(dbOn(2, "n2"))), says: below,
			cure: func(t *testing.T, s *storm) { update(t, s.client, dbOn(2, "n2")) },
		},
		"the set is scaled down": {
			objects: objects(three, policy(t, `{quorum: Majority}`)), says: below,
			cure: func(t *testing.T, s *storm) {
				if _, err := s.client.AppsV1().StatefulSets("prod").Update(t.Context(), set("db", 0), metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
			},
		},
		"the pod leaves its set": {
			objects: objects(three, policy(t, `{quorum: Majority}`)), says: below,
			cure: func(t *testing.T, s *storm) {
				orphan := dbOn(0, "n1")
				orphan.OwnerReferences = nil
				update(t, s.client, orphan)
			},
		},
		"a budget gets room": {
			objects: []runtime.Object{cores("n1", "1"), set("db", 3), disruptions("db", 0, 1), labelledDB(0, "n1"), labelledDB(1, "n2")},
			says:    "node(s) where preemption would break PodDisruptionBudget prod/keep-db: 1 pod(s) would go, and 0 may",
			cure: func(t *testing.T, s *storm) {
				if _, err := s.client.PolicyV1().PodDisruptionBudgets("prod").Update(t.Context(), disruptions("db", 1, 1), metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStorm(t, anything, tt.objects...)
			s.create(t, urgent("urgent", "1", 1000))
			s.says(t, "urgent", tt.says)
			tt.cure(t, s)
			s.binds(t, "urgent")
		})
	}
}

// A policy has no event that the queue would see.
func TestAPolicyThatAsksForLessWakes(t *testing.T) {
	synchronous(t)
	pod := urgent("urgent", "1", 1000)
	a := newArena(t, "QuorumGuard", append(objects(cores("n1", "1"), set("db", 3), policy(t, `{quorum: Majority}`), dbOn(0, "n1"), dbOn(1, "n2")), pod)...)
	if node, _, says := a.preempt(t, pod); node != "" || len(a.activated) > 0 {
		t.Fatalf("nominated to %q (%s), %d pods woken, before anything changed", node, says, len(a.activated))
	}
	less := policy(t, `{quorum: 1}`)
	less.UID, less.Generation = policy(t, `{quorum: Majority}`).UID, 2
	a.book.Set(less)
	if woken := next(t, "pod woken", a.activated); woken != "prod/urgent" {
		t.Errorf("woken: %s", woken)
	}
	if node, victims, says := a.preempt(t, pod); node != "n1" {
		t.Errorf("nominated to %q by %v (%s), want n1", node, victims, says)
	}
}

func labelledDB(ordinal int, node string) *v1.Pod {
	return uses(labelled(slotPod("db", ordinal)), node, "1")
}

// Between the deletion of a victim and the moment that this is seen, the next
// preemptor must not count on it.
func TestVictimsInFlightCount(t *testing.T) {
	deleted := make(chan string, 10)
	s := newStorm(t, func(_ func() []*v1.Pod, name string) error {
		deleted <- name
		return errNotSeen
	}, objects(cores("n1", "1"), cores("n2", "1"), set("db", 3), policy(t, `{quorum: Majority}`), dbOn(0, "n1"), dbOn(1, "n2"), dbOn(2, "n3"))...)
	s.create(t, urgent("first", "1", 1000))
	victim := next(t, "deletion", deleted)
	s.create(t, urgent("second", "1", 1000))
	s.says(t, "second", "node(s) where preemption would leave prod/db with 1 of 3 slots, and quorum Majority needs 2")
	if err := s.client.Tracker().Delete(v1.SchemeGroupVersion.WithResource("pods"), "prod", victim); err != nil {
		t.Fatal(err)
	}
	s.binds(t, "first")
}

// A storm of preemptors against sets with a quorum, with a budget, and without
// either: only the last may lose everything. The status of the budget never
// follows, as when its controller is slow.
func TestStormsLeaveQuorums(t *testing.T) {
	all := objects(set("db", 5), namedPolicy(t, "db", `{quorum: Majority}`), set("kv", 3), namedPolicy(t, "kv", `{quorum: 2}`), set("mq", 4), disruptions("mq", 4, 3), set("tmp", 4))
	needs := map[string]int{"db": 3, "kv": 2, "mq": 3, "tmp": 0}
	left := map[string]int{"db": 5, "kv": 3, "mq": 4, "tmp": 4}
	n := 0
	for _, name := range []string{"db", "kv", "mq", "tmp"} {
		for ordinal := range left[name] {
			all = append(all, uses(slotPod(name, ordinal).Label("app", name), fmt.Sprint("n", n%4), "1"))
			n++
		}
	}
	for i := range 4 {
		all = append(all, cores(fmt.Sprint("n", i), "4"))
	}
	var mu sync.Mutex
	var broken []string
	// Upstream forgets a preemptor whose last victim is deleted by another one between its cycle and its own deletion,
	// which finds nobody: the queue tries it again when it has waited for long, five minutes elsewhere.
	sooner := []scheduler.Option{scheduler.WithPodMaxInUnschedulablePodsDuration(10 * time.Second)}
	s := newStormWith(t, sooner, func(pods func() []*v1.Pod, name string) error {
		mu.Lock()
		defer mu.Unlock()
		for _, pod := range pods() {
			if app, _, _ := strings.Cut(name, "-"); pod.Name == name {
				if left[app]--; left[app] < needs[app] {
					broken = append(broken, fmt.Sprintf("%s leaves %d of %s, which needs %d", name, left[app], app, needs[app]))
				}
			}
		}
		return nil
	}, all...)
	for i := range 20 {
		s.create(t, urgent(fmt.Sprint("urgent-", i), fmt.Sprint(1+i%2), 1000))
	}
	// Every one is bound, or told that no preemption helps.
	seen, bound := map[string]bool{}, 0
	for len(seen) < 20 {
		select {
		case b := <-s.bindings:
			seen[b[0]] = true
			bound++
		case message := <-s.waits:
			if name, text, _ := strings.Cut(message, ": "); strings.Contains(text, "preemption: 0/4") {
				seen[name] = true
			}
		case <-time.After(time.Minute):
			t.Fatalf("nothing happens any more; seen: %v", seen)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(broken) > 0 {
		t.Errorf("deleted too much:\n%s", strings.Join(broken, "\n"))
	}
	if left["tmp"] == 4 || bound == 0 {
		t.Errorf("nothing was preempted: %v are left, %d bound", left, bound)
	}
}
