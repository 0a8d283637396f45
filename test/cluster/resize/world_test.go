// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// world is node n of 4 cpu and 8Gi, what an API server has of its pods, and its kubelet.
type world struct {
	t        *testing.T
	client   *fake.Clientset
	node     *corev1.Node
	kubelets *Kubelets
	made     int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, client: fake.NewClientset(), node: &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", Annotations: map[string]string{}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("4"),
			corev1.ResourceMemory: resource.MustParse("8Gi"),
			corev1.ResourcePods:   resource.MustParse("10"),
		}},
	}}
	w.restart()
	return w
}

// restart forgets all that the kubelets had in memory.
func (w *world) restart() {
	nodes := cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil)
	if err := nodes.Add(w.node); err != nil {
		w.t.Fatal(err)
	}
	w.kubelets = New(Config{
		Client: w.client,
		Nodes:  corelisters.NewNodeLister(nodes),
		PodsOn: func(string) ([]*corev1.Pod, error) { return w.pods(), nil },
		Alive:  func(node *corev1.Node) bool { return node.Annotations[layout.AnnotationKubelet] == "" },
		Events: record.NewBroadcaster(),
		Queue:  workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	})
	w.t.Cleanup(w.kubelets.Queue.ShutDown)
	w.t.Cleanup(w.kubelets.Events.Shutdown)
}

func (w *world) pods() []*corev1.Pod {
	w.t.Helper()
	list, err := w.client.CoreV1().Pods("").List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var pods []*corev1.Pod
	for i := range list.Items {
		pods = append(pods, &list.Items[i])
	}
	slices.SortFunc(pods, byName)
	return pods
}

// settle looks at the node until that changes nothing any more.
func (w *world) settle() {
	w.t.Helper()
	for range 20 {
		before := w.show() + fmt.Sprint(w.kubelets.on("n") == nil)
		if err := w.kubelets.Sync(w.t.Context(), "n"); err != nil {
			w.t.Fatal(err)
		}
		if before == w.show()+fmt.Sprint(w.kubelets.on("n") == nil) {
			return
		}
	}
	w.t.Fatalf("it does not settle: %s", w.show())
}

// option is how a pod differs from others.
type option func(*corev1.Pod)

func priority(p int32) option { return func(pod *corev1.Pod) { pod.Spec.Priority = &p } }

// limited gives each request the same limit.
func limited(pod *corev1.Pod) {
	pod.Spec.Containers[0].Resources.Limits = pod.Spec.Containers[0].Resources.Requests
}

func memoryLimit(q string) option {
	return func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(q)}
	}
}

func annotated(key, value string) option {
	return func(pod *corev1.Pod) { metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value) }
}

func restartsOn(r corev1.ResourceName) option {
	return func(pod *corev1.Pod) {
		pod.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: r, RestartPolicy: corev1.RestartContainer}}
	}
}

// add starts a pod with one container that requests so much cpu and 1Gi.
func (w *world) add(name, cpu string, options ...option) {
	w.t.Helper()
	w.made++
	start := metav1.Now().Rfc3339Copy()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(fmt.Sprint(name, w.made)), Generation: 1},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("1Gi")},
		}}}},
	}
	for _, o := range options {
		o(pod)
	}
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, ObservedGeneration: 1, StartTime: &start,
		Conditions: []corev1.PodCondition{
			{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, ObservedGeneration: 1},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, ObservedGeneration: 1},
		},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "main", Ready: true, Started: new(true),
			State:              corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: start}},
			AllocatedResources: pod.Spec.Containers[0].Resources.Requests,
			Resources:          pod.Spec.Containers[0].Resources.DeepCopy(),
		}},
	}
	if _, err := w.client.CoreV1().Pods("ns").Create(w.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// change writes a pod as somebody else does.
func (w *world) change(name string, options ...option) {
	w.t.Helper()
	pod := w.pod(name)
	for _, o := range options {
		o(pod)
	}
	if _, err := w.client.CoreV1().Pods("ns").Update(w.t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// resize asks for another size of a pod.
func (w *world) resize(name string, options ...option) {
	w.t.Helper()
	w.change(name, append(options, func(pod *corev1.Pod) { pod.Generation++ })...)
}

func cpu(q string) option {
	return func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse(q)
	}
}

func memory(q string) option {
	return func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Resources.Requests[corev1.ResourceMemory] = resource.MustParse(q)
	}
}

func (w *world) pod(name string) *corev1.Pod {
	w.t.Helper()
	pod, err := w.client.CoreV1().Pods("ns").Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return pod
}

func (w *world) remove(name string) {
	w.t.Helper()
	if err := w.client.CoreV1().Pods("ns").Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// show is what the statuses say: of each pod the cpu that it has, in brackets what else is
// allocated to it, and its conditions.
func (w *world) show() string {
	var all []string
	for _, pod := range w.pods() {
		cs := pod.Status.ContainerStatuses[0]
		text := pod.Name + "=" + cs.Resources.Requests.Cpu().String()
		if allocated := cs.AllocatedResources.Cpu(); allocated.Cmp(*cs.Resources.Requests.Cpu()) != 0 {
			text += "(" + allocated.String() + ")"
		}
		if cs.RestartCount > 0 {
			text += fmt.Sprintf(" restarted %d", cs.RestartCount)
		}
		for _, c := range pod.Status.Conditions {
			switch {
			case c.Type == corev1.PodResizePending || c.Reason == corev1.PodReasonError:
				text += fmt.Sprintf(" %s@%d", c.Reason, c.ObservedGeneration)
			case c.Type == corev1.PodResizeInProgress:
				text += fmt.Sprintf(" InProgress@%d", c.ObservedGeneration)
			case c.Status == corev1.ConditionFalse:
				text += " not " + string(c.Type)
			}
			if c.Type != corev1.PodResizePending && c.Type != corev1.PodResizeInProgress && c.ObservedGeneration != pod.Status.ObservedGeneration {
				text += fmt.Sprintf(" %s@%d", c.Type, c.ObservedGeneration)
			}
		}
		if pod.Status.ObservedGeneration != pod.Generation {
			text += " not seen"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func (w *world) expect(want string) {
	w.t.Helper()
	if got := w.show(); got != want {
		w.t.Errorf("got  %s\nwant %s", got, want)
	}
}

// pass lets time go by, and the kubelet look when it wants to. It needs synctest.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	for w.kubelets.Queue.Len() > 0 {
		name, _ := w.kubelets.Queue.Get()
		w.kubelets.Queue.Done(name)
		w.settle()
	}
}
