// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"context"
	goruntime "runtime"
	"sync"
	"testing"
	"time"

	"github.com/berth-dev/berth/plugins"
	"github.com/berth-dev/berth/plugins/policies"
	v1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2/ktesting"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	configscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/profile"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// run starts the real scheduler, queue and all, with our plugins enabled
// everywhere beside the in-tree ones. It returns the bindings as pod and node,
// and what the events say of pods that wait.
func run(t *testing.T, client *fake.Clientset, book *policies.Book) (bindings chan [2]string, waits chan string) {
	t.Helper()
	return runAfter(t, client, book, func() {})
}

// runAfter is run with something that happens when the queue has its pods and
// nobody places them yet, as while another process leads.
func runAfter(t *testing.T, client *fake.Clientset, book *policies.Book, standby func()) (bindings chan [2]string, waits chan string) {
	t.Helper()
	return runProfile(t, client, book, `{"schedulerName": "berth-scheduler",
		"plugins": {"multiPoint": {"enabled": [{"name": "OrdinalGate"}, {"name": "OrdinalPlacement"}, {"name": "SlotHold"}, {"name": "VolumeAffinity"}]}},
		"pluginConfig": [{"name": "OrdinalPlacement", "args": {"defaultPolicy": {"spread": {"domains": ["a", "b", "c"]}}}}]}`, standby)
}

// runProfile is runAfter with another profile.
func runProfile(t *testing.T, client *fake.Clientset, book *policies.Book, profileText string, standby func(), options ...scheduler.Option) (bindings chan [2]string, waits chan string) {
	t.Helper()
	bindings, waits = make(chan [2]string, 100), make(chan string, 100)
	client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.GetSubresource() != "binding" {
			return false, nil, nil
		}
		binding := action.(clienttesting.CreateAction).GetObject().(*v1.Binding)
		tracked, err := client.Tracker().Get(v1.SchemeGroupVersion.WithResource("pods"), binding.Namespace, binding.Name)
		if err != nil {
			return true, nil, err
		}
		pod := tracked.(*v1.Pod).DeepCopy()
		pod.Spec.NodeName = binding.Target.Name
		if err := client.Tracker().Update(v1.SchemeGroupVersion.WithResource("pods"), pod, pod.Namespace); err != nil {
			return true, nil, err
		}
		bindings <- [2]string{binding.Name, binding.Target.Name}
		return true, binding, nil
	})
	text := `{"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "profiles": [` + profileText + `]}`
	decoded, _, err := configscheme.Codecs.UniversalDecoder().Decode([]byte(text), nil, nil)
	if err != nil {
		t.Fatal(err)
	}

	_, ctx := ktesting.NewTestContext(t)
	ctx, cancel := context.WithCancel(ctx)
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	stop, err := broadcaster.StartEventWatcher(func(obj runtime.Object) {
		if event := obj.(*eventsv1.Event); event.Reason != "Scheduled" && event.Reason != "Preempted" {
			waits <- event.Regarding.Name + ": " + event.Note
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	watched := watches(client)
	factory, shared := scheduler.NewInformerFactory(client, 0), plugins.NewShared(book)
	sched, err := scheduler.New(ctx, client, factory, nil, profile.NewRecorderFactory(broadcaster), append(options,
		scheduler.WithProfiles(decoded.(*config.KubeSchedulerConfiguration).Profiles...),
		scheduler.WithFrameworkOutOfTreeRegistry(plugins.Registry(shared)),
		scheduler.WithPodInitialBackoffSeconds(0), scheduler.WithPodMaxBackoffSeconds(0))...)
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	for range factory.WaitForCacheSync(ctx.Done()) {
		<-watched
	}
	if err := sched.WaitForHandlersSync(ctx); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { shared.Run(ctx) })
	for !shared.HasSynced() {
		goruntime.Gosched()
	}
	standby()
	running.Go(func() { sched.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); stop(); broadcaster.Shutdown(); factory.Shutdown() })
	return bindings, waits
}

func noPolicies() *policies.Book {
	book := policies.NewBook()
	book.MarkReady(nil)
	return book
}

// next takes the next message, or fails before the five-minute flush of the
// queue could have helped.
func next[T any](t *testing.T, what string, from <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(time.Minute):
		t.Fatalf("no %s within a minute", what)
	}
	return got
}

func roomy(name, zone string) *v1.Node {
	n := node(name, zone)
	n.Status.Allocatable = v1.ResourceList{v1.ResourcePods: *st.MakeNode().Capacity(map[v1.ResourceName]string{v1.ResourcePods: "10"}).Obj().Status.Capacity.Pods()}
	n.Status.Capacity = n.Status.Allocatable
	return n
}

func createPod(t *testing.T, client *fake.Clientset, pod *v1.Pod) {
	t.Helper()
	pod.Spec.Containers = []v1.Container{{Name: "c", Image: "i"}}
	if _, err := client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestSchedulerInterleavesOrdinals(t *testing.T) {
	client := fake.NewClientset(roomy("a1", "a"), roomy("b1", "b"), roomy("c1", "c"), set("db", 6))
	bindings, _ := run(t, client, noPolicies())
	for i := range 6 {
		createPod(t, client, slotPod("db", i).Obj())
	}
	got := map[string]string{}
	for range 6 {
		b := next(t, "binding", bindings)
		got[b[0]] = b[1]
	}
	for pod, want := range map[string]string{"db-0": "a1", "db-1": "b1", "db-2": "c1", "db-3": "a1", "db-4": "b1", "db-5": "c1"} {
		if got[pod] != want {
			t.Errorf("%s is on %s, want %s; all: %v", pod, got[pod], want, got)
		}
	}
}

// Whoever was refused is woken by what cures it, through the queue's own
// hints or by the planner, and not by the flush.
func TestRefusedPodsAreWoken(t *testing.T) {
	tests := map[string]struct {
		objects []runtime.Object
		pod     *v1.Pod
		wait    string
		cure    func(*testing.T, *fake.Clientset)
		node    string
	}{
		"the set appears after its pod": {
			objects: objects(roomy("a1", "a"), roomy("b1", "b")),
			pod:     slotPod("db", 1).Obj(),
			wait:    "db-1: 0/2 nodes are available: waiting for StatefulSet prod/db to be known",
			cure: func(t *testing.T, client *fake.Clientset) {
				if _, err := client.AppsV1().StatefulSets("prod").Create(t.Context(), set("db", 2), metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			},
			node: "b1",
		},
		"a node comes in the planned zone": {
			objects: objects(roomy("a1", "a"), roomy("b1", "b"), set("db", 3)),
			pod:     slotPod("db", 2).Obj(),
			wait:    "db-2: 0/2 nodes are available: 2 node(s) outside the planned domain c. ",
			cure: func(t *testing.T, client *fake.Clientset) {
				if _, err := client.CoreV1().Nodes().Create(t.Context(), roomy("c1", "c"), metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			},
			node: "c1",
		},
		"a sibling's home moves the plan": {
			objects: objects(roomy("a1", "a"), roomy("b1", "b"), set("db", 3)),
			pod:     slotPod("db", 2).Obj(),
			wait:    "db-2: 0/2 nodes are available: 2 node(s) outside the planned domain c. ",
			cure: func(t *testing.T, client *fake.Clientset) {
				createPod(t, client, slotPod("db", 0).Node("c1").Obj()) // bound by hand to a node that is not known yet
				labelled := roomy("c1", "c")
				labelled.Spec.Unschedulable = true
				if _, err := client.CoreV1().Nodes().Create(t.Context(), labelled, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			},
			node: "b1",
		},
		"the node of a local volume comes back": {
			objects: objects(roomy("a1", "a"), bound("data", host, "host-b1")),
			pod:     claiming("data"),
			wait:    `p: 0/1 nodes are available: no node reaches volume "pv-data" of claim "data"`,
			cure: func(t *testing.T, client *fake.Clientset) {
				if _, err := client.CoreV1().Nodes().Create(t.Context(), roomy("b1", "b"), metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			},
			node: "b1",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(tt.objects...)
			bindings, waits := run(t, client, noPolicies())
			tt.pod.Spec.SchedulerName = "berth-scheduler"
			createPod(t, client, tt.pod)
			if got := next(t, "event", waits); len(got) < len(tt.wait) || got[:len(tt.wait)] != tt.wait {
				t.Errorf("the event says %q\nwant          %q …", got, tt.wait)
			}
			tt.cure(t, client)
			for b := next(t, "binding", bindings); b != [2]string{tt.pod.Name, tt.node}; b = next(t, "binding", bindings) {
				t.Errorf("%s is bound to %s, want %s on %s", b[0], b[1], tt.pod.Name, tt.node)
			}
		})
	}
}
