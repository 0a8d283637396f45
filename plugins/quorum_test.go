// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"math/rand"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/plugins"
	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/quorumguard"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/klog/v2/ktesting"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	intree "k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultbinder"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/queuesort"
	schedulerruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// arena is where pods preempt others: resources, a plugin that makes room and
// nothing else, over the stores of real informers.
type arena struct {
	framework framework.Framework
	client    *fake.Clientset
	book      *policies.Book
	activated chan string
}

func newArena(t *testing.T, preemption string, objects ...runtime.Object) *arena {
	t.Helper()
	metrics.Register()
	_, ctx := ktesting.NewTestContext(t)
	book := noPolicies()
	var nodes []*v1.Node
	var pods []*v1.Pod
	var known []runtime.Object
	for _, obj := range objects {
		switch obj := obj.(type) {
		case *v1alpha1.PlacementPolicy:
			book.Set(obj)
			continue
		case *v1.Node:
			nodes = append(nodes, obj)
		case *v1.Pod:
			pods = append(pods, obj)
		}
		known = append(known, obj)
	}
	pods = slices.DeleteFunc(pods, func(pod *v1.Pod) bool { // those elsewhere count for their sets only
		return !slices.ContainsFunc(nodes, func(node *v1.Node) bool { return node.Name == pod.Spec.NodeName })
	})
	a := &arena{client: fake.NewClientset(known...), book: book, activated: make(chan string, 100)}
	factory, shared := informers.NewSharedInformerFactory(a.client, 0), plugins.NewShared(book)
	registry := intree.NewInTreeRegistry()
	if err := registry.Merge(plugins.Registry(shared)); err != nil {
		t.Fatal(err)
	}
	enabled := func(name string) config.PluginSet { return config.PluginSet{Enabled: []config.Plugin{{Name: name}}} }
	defaults, err := latest.Default()
	if err != nil {
		t.Fatal(err)
	}
	profile := &config.KubeSchedulerProfile{SchedulerName: "berth-scheduler", PluginConfig: defaults.Profiles[0].PluginConfig, Plugins: &config.Plugins{
		QueueSort: enabled(queuesort.Name), Bind: enabled(defaultbinder.Name),
		PreFilter: enabled(noderesources.Name), Filter: enabled(noderesources.Name), PostFilter: enabled(preemption),
	}}
	a.framework, err = schedulerruntime.NewFramework(ctx, registry, profile,
		schedulerruntime.WithClientSet(a.client), schedulerruntime.WithInformerFactory(factory),
		schedulerruntime.WithPodNominator(nobody{}), schedulerruntime.WithPodActivator(&cluster{activated: a.activated}),
		schedulerruntime.WithEventRecorder(&events.FakeRecorder{}), schedulerruntime.WithWaitingPods(schedulerruntime.NewWaitingPodsMap()),
		schedulerruntime.WithPodsInPreBind(schedulerruntime.NewPodsInPreBindMap()),
		schedulerruntime.WithSnapshotSharedLister(cache.NewSnapshot(pods, nodes)))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); factory.Shutdown() })
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	for !shared.HasSynced() {
		goruntime.Gosched()
	}
	return a
}

// preempt has a pod refused by every node and then make room. It returns the
// node it is nominated to, who was deleted, and what is said otherwise.
func (a *arena) preempt(t *testing.T, pod *v1.Pod) (node string, victims []string, says string) {
	t.Helper()
	state, refusals := framework.NewCycleState(), framework.NewDefaultNodeToStatus()
	if _, status, _ := a.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
		t.Fatal(status)
	}
	nodes, err := a.framework.SnapshotSharedLister().NodeInfos().List()
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range nodes {
		if status := a.framework.RunFilterPlugins(t.Context(), state, pod, info); !status.IsSuccess() {
			refusals.Set(info.Node().Name, status)
		}
	}
	before := len(a.client.Actions())
	result, status := a.framework.RunPostFilterPlugins(t.Context(), state, pod, refusals)
	if status.IsError() {
		t.Fatal(status)
	}
	for _, action := range a.client.Actions()[before:] {
		if deleted, ok := action.(clienttesting.DeleteAction); ok {
			victims = append(victims, deleted.GetName())
		}
	}
	slices.Sort(victims)
	if result != nil && result.NominatingInfo != nil {
		node = result.NominatedNodeName
	}
	return node, victims, status.Message()
}

// synchronous preemption deletes its victims within the cycle.
func synchronous(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.SchedulerAsyncPreemption, false)
}

func cores(name, cpu string) *v1.Node {
	return st.MakeNode().Name(name).Label(host, name).Capacity(map[v1.ResourceName]string{v1.ResourceCPU: cpu, v1.ResourcePods: "50"}).Obj()
}

// uses makes a pod run on a node, ready, with so much cpu.
func uses(w *st.PodWrapper, node, cpu string) *v1.Pod {
	pod := w.Node(node).Req(map[v1.ResourceName]string{v1.ResourceCPU: cpu}).Obj()
	pod.Status.Phase = v1.PodRunning
	pod.Status.StartTime = &metav1.Time{Time: time.Unix(1e9, 0)}
	pod.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue}}
	return pod
}

func notReady(pod *v1.Pod) *v1.Pod {
	pod.Status.Conditions[0].Status = v1.ConditionFalse
	return pod
}

func terminating(pod *v1.Pod) *v1.Pod {
	pod.DeletionTimestamp, pod.Finalizers = &metav1.Time{Time: time.Unix(2e9, 0)}, []string{"test/keep"}
	return pod
}

func urgent(name, cpu string, priority int32) *v1.Pod {
	return st.MakePod().Namespace("prod").Name(name).UID(name).SchedulerName("berth-scheduler").Priority(priority).
		Req(map[v1.ResourceName]string{v1.ResourceCPU: cpu}).Obj()
}

func plain(name string) *st.PodWrapper {
	return st.MakePod().Namespace("prod").Name(name).UID(name).Label("app", "web")
}

func labelled(w *st.PodWrapper) *st.PodWrapper { return w.Label("app", "db") }

// disruptions is a PodDisruptionBudget for the pods of a label, with this status.
func disruptions(app string, allowed, desired int32) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "keep-" + app},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed, DesiredHealthy: desired},
	}
}

func TestPreemptionLeavesQuorums(t *testing.T) {
	majority := policy(t, `{quorum: Majority}`)
	db := func(ordinal int, node, cpu string) *v1.Pod { return uses(labelled(slotPod("db", ordinal)), node, cpu) }
	const nowhere = "0/1 nodes are available: 1 node(s) where preemption would "
	tests := map[string]struct {
		objects []runtime.Object
		cpu     string
		node    string
		victims []string
		says    string
		system  bool
	}{
		"two siblings on one node, of three": {
			objects: objects(majority, set("db", 3), cores("n1", "2"), db(0, "n1", "1"), db(1, "n1", "1"), db(2, "n2", "1")),
			cpu:     "2",
			says:    nowhere + "leave prod/db with 1 of 3 slots, and quorum Majority needs 2",
		},
		"of five they may go": {
			objects: objects(majority, set("db", 5), cores("n1", "2"), db(0, "n1", "1"), db(1, "n1", "1"), db(2, "n2", "1"), db(3, "n2", "1"), db(4, "n2", "1")),
			cpu:     "2", node: "n1", victims: []string{"db-0", "db-1"},
		},
		"declared replicas count, not pods": {
			objects: objects(majority, set("db", 5), cores("n1", "2"), db(0, "n1", "1"), db(1, "n1", "1"), db(2, "n2", "1")),
			cpu:     "1",
			says:    nowhere + "leave prod/db with 2 of 5 slots, and quorum Majority needs 3",
		},
		"one of them may go": {
			objects: objects(majority, set("db", 3), cores("n1", "2"), db(0, "n1", "1"), db(1, "n1", "1"), db(2, "n2", "1")),
			cpu:     "1", node: "n1", victims: []string{"db-1"},
		},
		"one of them and another pod, though upstream prefers both": {
			objects: objects(majority, set("db", 3), cores("n1", "4"), db(0, "n1", "1"), db(1, "n1", "1"), db(2, "n2", "1"),
				uses(plain("web").Priority(5), "n1", "2")),
			cpu: "2", node: "n1", victims: []string{"web"},
		},
		"one that is not ready is not counted": {
			objects: objects(majority, set("db", 3), cores("n1", "1"), db(0, "n1", "1"), db(1, "n3", "1"), notReady(db(2, "n4", "1"))),
			cpu:     "1",
			says:    nowhere + "leave prod/db with 1 of 3 slots, and quorum Majority needs 2",
		},
		"nor one that terminates": {
			objects: objects(majority, set("db", 3), cores("n1", "1"), db(0, "n1", "1"), db(1, "n3", "1"), terminating(db(2, "n4", "1"))),
			cpu:     "1",
			says:    nowhere + "leave prod/db with 1 of 3 slots, and quorum Majority needs 2",
		},
		"one that is not ready may go": {
			objects: objects(majority, set("db", 3), cores("n1", "1"), notReady(db(0, "n1", "1")), db(1, "n3", "1"), db(2, "n4", "1")),
			cpu:     "1", node: "n1", victims: []string{"db-0"},
		},
		"but not where the set needs it to come back": {
			objects: objects(majority, set("db", 3), cores("n1", "1"), notReady(db(0, "n1", "1")), db(1, "n3", "1")),
			cpu:     "1",
			says:    nowhere + "leave prod/db with 1 of 3 slots, and quorum Majority needs 2",
		},
		"an ordinal that is not wanted any more may go": {
			objects: objects(majority, set("db", 1), cores("n1", "1"), db(0, "n3", "1"), db(1, "n1", "1")),
			cpu:     "1", node: "n1", victims: []string{"db-1"},
		},
		"a set without a quorum": {
			objects: objects(policy(t, `{}`), set("db", 3), cores("n1", "2"), db(0, "n1", "1"), db(1, "n1", "1")),
			cpu:     "2", node: "n1", victims: []string{"db-0", "db-1"},
		},
		"a number": {
			objects: objects(policy(t, `{quorum: 3}`), set("db", 3), cores("n1", "1"), db(0, "n1", "1"), db(1, "n2", "1"), db(2, "n2", "1")),
			cpu:     "1",
			says:    nowhere + "leave prod/db with 2 of 3 slots, and quorum 3 needs 3",
		},
		"the system takes what it needs": {
			objects: objects(majority, set("db", 3), cores("n1", "2"), db(0, "n1", "1"), db(1, "n1", "1")),
			cpu:     "2", node: "n1", victims: []string{"db-0", "db-1"}, system: true,
		},
		"a budget of the set without room": {
			objects: objects(set("db", 3), disruptions("db", 0, 3), cores("n1", "1"), db(0, "n1", "1"), db(1, "n2", "1"), db(2, "n2", "1")),
			cpu:     "1",
			says:    nowhere + "break PodDisruptionBudget prod/keep-db: 1 pod(s) would go, and 0 may",
		},
		"a budget with room for one": {
			objects: objects(set("db", 3), disruptions("db", 1, 2), cores("n1", "2"), db(0, "n1", "1"), db(1, "n1", "1"), db(2, "n2", "1")),
			cpu:     "2",
			says:    nowhere + "break PodDisruptionBudget prod/keep-db: 2 pod(s) would go, and 1 may",
		},
		"which is used": {
			objects: objects(set("db", 3), disruptions("db", 1, 2), cores("n1", "1"), db(0, "n1", "1"), db(1, "n2", "1"), db(2, "n2", "1")),
			cpu:     "1", node: "n1", victims: []string{"db-0"},
		},
		"but not twice, while the status is behind": {
			objects: objects(set("db", 3), disruptions("db", 1, 2), cores("n1", "1"), db(0, "n1", "1"), db(1, "n2", "1"), terminating(db(2, "n2", "1"))),
			cpu:     "1",
			says:    nowhere + "break PodDisruptionBudget prod/keep-db: 1 pod(s) would go, and 0 may",
		},
		"a budget that covers no slot is upstream's to weigh": {
			objects: objects(disruptions("web", 0, 1), cores("n1", "1"), uses(plain("web"), "n1", "1")),
			cpu:     "1", node: "n1", victims: []string{"web"},
		},
	}
	synchronous(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			priority := int32(1000)
			if tt.system {
				priority = scheduling.SystemCriticalPriority
			}
			pod := urgent("urgent", tt.cpu, priority)
			a := newArena(t, quorumguard.Name, append(tt.objects, pod)...)
			node, victims, says := a.preempt(t, pod)
			if node != tt.node || !slices.Equal(victims, tt.victims) {
				t.Errorf("nominated to %q by %v, want %q by %v", node, victims, tt.node, tt.victims)
			}
			if want := "preemption: " + tt.says + "."; tt.says != "" && says != want {
				t.Errorf("said %q\nwant %q", says, want)
			}
		})
	}
}

// A slot whose priority has risen does not take the place of another slot of its
// set: the room would be kept for that one, and taken from it again.
func TestPreemptionSparesSiblings(t *testing.T) {
	db := func(ordinal int, node, cpu string) *v1.Pod { return uses(slotPod("db", ordinal), node, cpu) }
	const spares = "preemption: 0/1 nodes are available: 1 node(s) where preemption would take other slots of prod/db, whose room is kept for them."
	tests := map[string]struct {
		objects  []runtime.Object
		priority int32
		node     string
		victims  []string
		says     string
	}{
		"nobody else is there": {
			objects: objects(set("db", 3), cores("n1", "2"), db(0, "n1", "1"), db(1, "n1", "1")), priority: 1000, says: spares,
		},
		"nor for the system's sake": {
			objects: objects(set("db", 3), cores("n1", "1"), db(0, "n1", "1")), priority: scheduling.SystemCriticalPriority, says: spares,
		},
		"others go": {
			objects:  objects(set("db", 3), cores("n1", "2"), db(0, "n1", "1"), uses(plain("web").Priority(5), "n1", "1")),
			priority: 1000, node: "n1", victims: []string{"web"},
		},
		"slots of another set go": {
			objects:  objects(set("db", 3), set("mq", 1), cores("n1", "2"), db(0, "n1", "1"), uses(slotPod("mq", 0).Priority(5), "n1", "1")),
			priority: 1000, node: "n1", victims: []string{"mq-0"},
		},
		"the reason is the quorum of another set": {
			objects: objects(set("db", 3), set("mq", 1), namedPolicy(t, "mq", `{quorum: 1}`), cores("n1", "2"),
				db(0, "n1", "1"), uses(slotPod("mq", 0).Priority(5), "n1", "1")),
			priority: 1000,
			says:     "preemption: 0/1 nodes are available: 1 node(s) where preemption would leave prod/mq with 0 of 1 slots, and quorum 1 needs 1.",
		},
	}
	synchronous(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := slotPod("db", 2).Priority(tt.priority).Req(map[v1.ResourceName]string{v1.ResourceCPU: "1"}).Obj()
			a := newArena(t, quorumguard.Name, append(tt.objects, pod)...)
			node, victims, says := a.preempt(t, pod)
			if node != tt.node || !slices.Equal(victims, tt.victims) {
				t.Errorf("nominated to %q by %v, want %q by %v", node, victims, tt.node, tt.victims)
			}
			if tt.says != "" && says != tt.says {
				t.Errorf("said %q\nwant %q", says, tt.says)
			}
		})
	}
}

// randomArena is a cluster full of pods, of no set and of three.
func randomArena(random *rand.Rand) []runtime.Object {
	all := objects(set("db", 5), set("kv", 3), set("mq", 4), disruptions("web", int32(random.Intn(3)), 1))
	started := 0
	ordinals := map[string]int{"db": 5, "kv": 3, "mq": 4}
	for n := range 3 + random.Intn(4) {
		name := fmt.Sprint("n", n)
		all = append(all, cores(name, "8"))
		for range 2 + random.Intn(4) {
			w := plain(fmt.Sprint("web-", started))
			if app := []string{"db", "kv", "mq", "web"}[random.Intn(4)]; ordinals[app] > 0 {
				ordinals[app]--
				w = slotPod(app, ordinals[app])
			}
			pod := uses(w.Priority(int32(random.Intn(4))*10), name, fmt.Sprint(1+random.Intn(3)))
			if started++; random.Intn(5) == 0 {
				notReady(pod)
			}
			pod.Status.StartTime = &metav1.Time{Time: time.Unix(1e9+int64(started), 0)} // no ties
			all = append(all, pod)
		}
	}
	return all
}

// Without policies and budgets of sets, pods are nominated to where upstream's
// plugin nominates them, at the cost of the same victims.
func TestNominationsAreUpstreamsWithoutPolicies(t *testing.T) {
	synchronous(t)
	random := rand.New(rand.NewSource(1))
	nominated := 0
	for i := range 150 {
		all := randomArena(random)
		pod := urgent("urgent", fmt.Sprint(2+random.Intn(7)), int32(random.Intn(5))*10)
		var got [2]string
		for side, name := range []string{defaultpreemption.Name, quorumguard.Name} {
			fresh := []runtime.Object{pod.DeepCopy()}
			for _, obj := range all {
				fresh = append(fresh, obj.DeepCopyObject())
			}
			node, victims, says := newArena(t, name, fresh...).preempt(t, pod)
			got[side] = fmt.Sprintf("%s by %v: %s", node, victims, says)
			if node != "" {
				nominated++
			}
		}
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			t.Fatalf("cluster %d (-upstream +ours):\n%s", i, diff)
		}
	}
	if nominated < 100 {
		t.Errorf("%d nominations: the clusters are too easy or too hard", nominated)
	}
}

// With them, no set that had its quorum loses it, whatever preempts, one
// after the other.
func TestPreemptionNeverGoesBelowAQuorum(t *testing.T) {
	synchronous(t)
	random := rand.New(rand.NewSource(2))
	taken, spared := 0, 0
	for i := range 60 {
		all := append(randomArena(random), namedPolicy(t, "db", `{quorum: 4}`), namedPolicy(t, "kv", `{quorum: 3}`), namedPolicy(t, "mq", `{quorum: Majority}`))
		var preemptors []*v1.Pod
		for p := range 6 {
			pod := urgent(fmt.Sprint("urgent-", p), fmt.Sprint(3+random.Intn(6)), 1000)
			preemptors, all = append(preemptors, pod), append(all, pod)
		}
		before := strength(all)
		a := newArena(t, quorumguard.Name, all...)
		gone := map[string]bool{}
		for _, pod := range preemptors {
			node, victims, _ := a.preempt(t, pod)
			if node == "" {
				spared++
			}
			for _, victim := range victims {
				gone[victim] = true
				taken++
			}
		}
		for set, needs := range map[string]int{"db": 4, "kv": 3, "mq": 3} {
			was, is := count(before, nil, set), count(before, gone, set)
			if is < was && is < needs {
				t.Fatalf("cluster %d: %s had %d ready pods, needs %d, and was left %d; gone: %v", i, set, was, needs, is, gone)
			}
		}
	}
	if taken < 50 || spared < 20 {
		t.Errorf("%d pods taken, %d preemptors sent away: the clusters are too easy or too hard", taken, spared)
	}
}

// strength is which pods are ready.
func strength(all []runtime.Object) map[string]bool {
	ready := map[string]bool{}
	for _, obj := range all {
		if pod, ok := obj.(*v1.Pod); ok && len(pod.Status.Conditions) > 0 && pod.Status.Conditions[0].Status == v1.ConditionTrue {
			ready[pod.Name] = true
		}
	}
	return ready
}

func count(ready, gone map[string]bool, set string) (n int) {
	for name := range ready {
		if strings.HasPrefix(name, set+"-") && !gone[name] {
			n++
		}
	}
	return n
}

func namedPolicy(t *testing.T, set, text string) *v1alpha1.PlacementPolicy {
	t.Helper()
	p := policy(t, text)
	p.Name, p.UID, p.Spec.TargetRef = set, "", &v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "StatefulSet", Name: set}
	return p
}
