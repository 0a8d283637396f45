// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// sized is a node with so much CPU and room for ten pods.
func sized(name, cpu string) *v1.Node {
	n := roomy(name, name[:1])
	n.Status.Allocatable[v1.ResourceCPU] = resource.MustParse(cpu)
	return n
}

// asksFor gives a pod one container that asks for CPU, and for host ports.
func asksFor(pod *v1.Pod, cpu string, ports ...int32) *v1.Pod {
	c := v1.Container{Name: "c", Image: "i"}
	if cpu != "" {
		c.Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu)}
	}
	for _, port := range ports {
		c.Ports = append(c.Ports, v1.ContainerPort{HostPort: port, Protocol: v1.ProtocolTCP})
	}
	pod.Spec.Containers = []v1.Container{c}
	return pod
}

func other(name string, priority int32) *st.PodWrapper {
	return st.MakePod().Namespace("prod").Name(name).UID(name).SchedulerName("berth-scheduler").Priority(priority)
}

// awayFrom writes on the claim that bound made that its slot is absent: the last
// pod was on the node, asked for CPU and had the priority.
func awayFrom(objects []runtime.Object, node, cpu string, priority int32, since time.Time) []runtime.Object {
	objects[0].(*v1.PersistentVolumeClaim).Annotations["berth.dev/last-node"] = fmt.Sprintf(
		`{"node":%q,"podUID":"last","priority":%d,"requests":{"cpu":%q},"holdStart":%q}`, node, priority, cpu, since.UTC().Format(time.RFC3339))
	return objects
}

func template(set *appsv1.StatefulSet, cpu string, ports ...int32) *appsv1.StatefulSet {
	set.Spec.Template.Spec = asksFor(&v1.Pod{}, cpu, ports...).Spec
	return set
}

func cordoned(node *v1.Node) *v1.Node {
	node.Spec.Unschedulable = true
	return node
}

const keeps = "node(s) keep room for absent slots of prod/db (Insufficient cpu)"

// What is rebuilt from notes before the first cycle keeps others out.
func TestSlotHold(t *testing.T) {
	begun := time.Now().Add(-time.Minute)
	local := func(node, cpu string) []runtime.Object {
		return awayFrom(bound("data-db-0", host, "host-"+node), node, cpu, 5, begun)
	}
	zonal := func(node, cpu string) []runtime.Object {
		return awayFrom(bound("data-db-0", zone, "a"), node, cpu, 5, begun)
	}
	last := asksFor(slotPod("db", 0, "data").UID("last").Node("a1").Terminating().Obj(), "3", 80)
	tests := map[string]struct {
		objects []runtime.Object
		set     *appsv1.StatefulSet
		policy  string
		pod     *v1.Pod
		reason  string // on a1
		full    bool   // a1 has room for one more pod
		skipped bool
	}{
		"no room beside the hold":            {objects: local("a1", "3"), pod: asksFor(other("p", 0).Obj(), "2"), reason: keeps},
		"room beside the hold":               {objects: local("a1", "3"), pod: asksFor(other("p", 0).Obj(), "1")},
		"no more room even without the hold": {objects: local("a1", "3"), pod: asksFor(other("p", 0).Obj(), "5")},
		"asks for nothing":                   {objects: local("a1", "3"), pod: asksFor(other("p", 0).Obj(), "")},
		"as important":                       {objects: local("a1", "3"), pod: asksFor(other("p", 5).Obj(), "2"), reason: keeps},
		"more important":                     {objects: local("a1", "3"), pod: asksFor(other("p", 6).Obj(), "2")},
		"the slot itself":                    {objects: local("a1", "3"), pod: asksFor(slotPod("db", 0, "data").Obj(), "3")},
		"a sibling":                          {objects: local("a1", "3"), policy: `{home: {holdFor: 10m}}`, pod: asksFor(slotPod("db", 1).Obj(), "2"), reason: keeps},
		"a more important sibling":           {objects: local("a1", "3"), policy: `{home: {holdFor: 10m}}`, pod: asksFor(slotPod("db", 1).Priority(9).Obj(), "2"), reason: keeps},
		"another node's hold":                {objects: local("b1", "3"), pod: asksFor(other("p", 0).Obj(), "2")},
		"a slot that nobody wants":           {objects: awayFrom(bound("data-db-7", zone, "a"), "a1", "3", 5, begun), pod: asksFor(other("p", 0).Obj(), "2"), skipped: true},
		"a zonal slot":                       {objects: zonal("a1", "3"), pod: asksFor(other("p", 0).Obj(), "2"), reason: keeps},
		"a zonal slot that is away for long": {
			objects: awayFrom(bound("data-db-0", zone, "a"), "a1", "3", 5, time.Now().Add(-time.Hour)), pod: asksFor(other("p", 0).Obj(), "2"), skipped: true,
		},
		"a local slot that is away for long": {
			objects: awayFrom(bound("data-db-0", host, "host-a1"), "a1", "3", 5, time.Now().Add(-time.Hour)), pod: asksFor(other("p", 0).Obj(), "2"), reason: keeps,
		},
		"a local slot that is away for long, whose node has lost its labels": {
			objects: awayFrom(bound("data-db-0", host, "host-of-none"), "a1", "3", 5, time.Now().Add(-time.Hour)), pod: asksFor(other("p", 0).Obj(), "2"), reason: keeps,
		},
		"a zonal slot that is away for long and may go nowhere else": {
			objects: awayFrom(bound("data-db-0", zone, "a"), "a1", "3", 5, time.Now().Add(-time.Hour)), policy: `{home: {returnToNode: Required}}`,
			pod: asksFor(other("p", 0).Obj(), "2"), reason: keeps,
		},
		"a policy that keeps nothing":         {objects: zonal("a1", "3"), policy: `{home: {holdFor: 0s}}`, pod: asksFor(other("p", 0).Obj(), "2"), skipped: true},
		"a policy that keeps it for a moment": {objects: zonal("a1", "3"), policy: `{home: {holdFor: 10s}}`, pod: asksFor(other("p", 0).Obj(), "2"), skipped: true},
		"a zonal slot of a cordoned node":     {objects: zonal("c1", "3"), pod: asksFor(other("p", 0).Obj(), "2"), skipped: true},
		"the last pod is still there":         {objects: objects(bound("data-db-0", host, "host-a1"), last), pod: asksFor(other("p", 0).Obj(), "1")},
		"the last pod is there, and the next is larger": {
			objects: objects(bound("data-db-0", host, "host-a1"), last), set: template(set("db", 3, "data"), "4"), pod: asksFor(other("p", 0).Obj(), "1"), reason: keeps,
		},
		"the next pod is larger": {
			objects: local("a1", "3"), set: template(set("db", 3, "data"), "4"), pod: asksFor(other("p", 0).Obj(), "1"), reason: keeps,
		},
		"its place among the pods": {
			objects: local("a1", "1"), full: true, pod: asksFor(other("p", 0).Obj(), ""), reason: "node(s) keep room for absent slots of prod/db (Too many pods)",
		},
		"a port of the last pod that is gone": {
			objects: local("a1", "1"), set: template(set("db", 3, "data"), "1", 80), pod: asksFor(other("p", 0).Obj(), "", 80),
			reason: "node(s) keep room for absent slots of prod/db (node(s) didn't have free ports for the requested pod ports)",
		},
		"another port": {
			objects: local("a1", "1"), set: template(set("db", 3, "data"), "1", 80), pod: asksFor(other("p", 0).Obj(), "", 81),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			first := sized("a1", "4")
			if tt.full {
				first.Status.Allocatable[v1.ResourcePods] = resource.MustParse("1")
			}
			all := objects(first, sized("a2", "4"), sized("b1", "4"), cordoned(sized("c1", "4")), tt.objects)
			if tt.set == nil {
				tt.set = set("db", 3, "data")
			}
			all = append(all, tt.set)
			if tt.policy != "" {
				all = append(all, policy(t, tt.policy))
			}
			c := newCluster(t, nil, all...)
			got := c.alone(t, tt.pod)
			if diff := cmp.Diff(tt.skipped, got == nil); diff != "" {
				t.Errorf("skipped (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.reason, got["a1"]); diff != "" {
				t.Errorf("reason of a1 (-want +got):\n%s", diff)
			}
			if got["a2"] != "" {
				t.Errorf("a2, where nothing is held, is refused: %s", got["a2"])
			}
		})
	}
}

// A process that starts reads what is held before it reads the policies: what
// the default would have ended by then, and the policy does not, stands.
func TestHoldsBeginBeforeThePolicies(t *testing.T) {
	c := newUnread(t, objects(sized("a1", "4"), sized("a2", "4"), set("db", 1, "data"),
		awayFrom(bound("data-db-0", zone, "a"), "a1", "3", 5, time.Now().Add(-30*time.Minute)))...)
	rival := asksFor(other("p", 0).Obj(), "2")
	for _, step := range []struct {
		when, policy, want string
		ready              bool
	}{
		{when: "while no policy is known", want: keeps},
		{when: "with a policy of an hour", policy: `{home: {holdFor: 1h}}`, ready: true, want: keeps},
		{when: "with a policy of a minute", policy: `{home: {holdFor: 1m}}`},
	} {
		if step.policy != "" {
			c.book.Set(policy(t, step.policy))
		}
		if step.ready {
			c.book.MarkReady(nil)
		}
		if got := c.alone(t, rival)["a1"]; got != step.want {
			t.Errorf("%s, 30 minutes after db-0 left, a1 says %q, want %q", step.when, got, step.want)
		}
	}
}

// A pod group is placed in a snapshot that has the pod when Reserve is asked.
func TestReserveCountsAPodOnce(t *testing.T) {
	pod := asksFor(other("p", 0).Node("a1").Obj(), "2")
	c := newCluster(t, nil, objects(sized("a1", "4"), set("db", 1, "data"), pod,
		awayFrom(bound("data-db-0", host, "host-a1"), "a1", "1", 0, time.Now()))...)
	state := framework.NewCycleState()
	if _, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	if status := c.framework.RunReservePluginsReserve(t.Context(), state, pod, "a1"); !status.IsSuccess() {
		t.Errorf("2 are asked for and 1 is held of 4, and Reserve says %q", status.Message())
	}
}

// alone returns what SlotHold says about every node, nil if it skips.
func (c *cluster) alone(t *testing.T, pod *v1.Pod) map[string]string {
	t.Helper()
	state := framework.NewCycleState()
	if _, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	if state.GetSkipFilterPlugins().Has("SlotHold") {
		return nil
	}
	reasons := map[string]string{}
	for _, name := range c.nodes {
		nodeInfo, err := c.framework.SnapshotSharedLister().NodeInfos().Get(name)
		if err != nil {
			t.Fatal(err)
		}
		status := c.framework.RunFilterPlugins(t.Context(), state, pod, nodeInfo)
		if !status.IsSuccess() && status.Plugin() == "SlotHold" {
			reasons[name] = status.Message()
		}
	}
	return reasons
}

// until waits for the informers.
func (c *cluster) until(t *testing.T, what string, seen func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !seen(); goruntime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func (c *cluster) remove(t *testing.T, pod string) {
	t.Helper()
	if err := c.client.CoreV1().Pods("prod").Delete(t.Context(), pod, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Whoever was refused for a hold is woken when it is released, and nobody else.
func TestHoldsWakeWhoTheyRefused(t *testing.T) {
	begun := time.Now().Add(-time.Minute)
	for name, release := range map[string]func(*testing.T, *cluster){
		"scaled down": func(t *testing.T, c *cluster) {
			if _, err := c.client.AppsV1().StatefulSets("prod").Update(t.Context(), set("db", 0, "data"), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"the set is deleted": func(t *testing.T, c *cluster) {
			if err := c.client.AppsV1().StatefulSets("prod").Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"the node is cordoned": func(t *testing.T, c *cluster) {
			if _, err := c.client.CoreV1().Nodes().Update(t.Context(), cordoned(sized("a1", "4")), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"the node goes": func(t *testing.T, c *cluster) {
			if err := c.client.CoreV1().Nodes().Delete(t.Context(), "a1", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"the slot is bound elsewhere": func(t *testing.T, c *cluster) {
			if _, err := c.client.CoreV1().Pods("prod").Create(t.Context(), slotPod("db", 0, "data").Node("a2").Obj(), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"the next pod is not so large": func(t *testing.T, c *cluster) {
			if _, err := c.client.AppsV1().StatefulSets("prod").Update(t.Context(), template(set("db", 1, "data"), "3"), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, nil, objects(sized("a1", "4"), sized("a2", "4"), template(set("db", 1, "data"), "4"),
				awayFrom(bound("data-db-0", zone, "a"), "a1", "3", 0, begun))...)
			refused, free := asksFor(other("refused", 0).Obj(), "2"), asksFor(other("important", 1).Obj(), "2")
			if got := c.alone(t, refused)["a1"]; got != keeps {
				t.Fatalf("a1 says %q, want %q", got, keeps)
			}
			if got := c.alone(t, free)["a1"]; got != "" {
				t.Fatalf("a1 says %q", got)
			}
			release(t, c)
			if got := next(t, "activation", c.activated); got != "prod/refused" {
				t.Errorf("%s is woken, want prod/refused", got)
			}
		})
	}
}

// A pod that goes without a word frees its room in the scheduler's cache before
// anybody can keep it: the chosen node is looked at once more.
func TestReserveSeesWhoIsMissing(t *testing.T) {
	c := newCluster(t, nil, objects(sized("a1", "4"), sized("b1", "4"), set("db", 2))...)
	rival, sibling := asksFor(other("p", 0).Obj(), "2"), slotPod("db", 1).Obj()
	if got := c.alone(t, rival); got != nil {
		t.Fatalf("nothing is held, and it says %v", got)
	}
	c.alone(t, sibling)
	there := asksFor(slotPod("db", 0).UID("last").Node("b1").Obj(), "3")
	if _, err := c.client.CoreV1().Pods("prod").Create(t.Context(), there, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, "activation", c.activated); got != "prod/db-1" { // the plugins have heard of db-0
		t.Errorf("%s is woken, want prod/db-1, which belongs elsewhere now", got)
	}
	reserve := func() string {
		state := framework.NewCycleState()
		defer c.framework.RunReservePluginsUnreserve(t.Context(), state, rival, "b1")
		return c.framework.RunReservePluginsReserve(t.Context(), state, rival, "b1").Message()
	}
	if got := reserve(); got != "" { // the snapshot of this test never has it, and the stores say it is there
		t.Errorf("refused: %s", got)
	}
	c.stalls, c.resume = "prod/db-1", make(chan struct{}) // whose handler is late now: it wakes db-1 before it looks at db-0
	defer close(c.resume)
	c.remove(t, "db-0")
	pods := c.framework.SharedInformerFactory().Core().V1().Pods().Lister().Pods("prod")
	c.until(t, "the pod is gone", func() bool { _, err := pods.Get("db-0"); return err != nil })
	if got := reserve(); !strings.Contains(got, keeps) {
		t.Errorf("Reserve says %q, want %q", got, keeps)
	}
	if got := next(t, "activation", c.activated); got != "prod/p" {
		t.Errorf("%s is woken, want prod/p: another node may do", got)
	}
	if got := next(t, "event", c.events.Events); !strings.HasPrefix(got, "Normal SlotHoldLate the pod of ordinal 0 of prod/db") {
		t.Errorf("event %q", got)
	}
}

// Whoever takes what is kept is named.
func TestHoldIsTaken(t *testing.T) {
	c := newCluster(t, nil, objects(sized("a1", "4"), set("db", 1, "data"), awayFrom(bound("data-db-0", host, "host-a1"), "a1", "3", 0, time.Now()))...)
	for _, tt := range []struct{ name, cpu, want string }{
		{"small", "1", ""},
		{"large", "2", `Warning SlotHoldTaken the room of ordinal 0 of prod/db on node "a1" went to pod prod/large, whose priority is higher`},
	} {
		pod, state := asksFor(other(tt.name, 9).Obj(), tt.cpu), framework.NewCycleState()
		if _, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
			t.Fatal(status.Message())
		}
		if status := c.framework.RunReservePluginsReserve(t.Context(), state, pod, "a1"); !status.IsSuccess() {
			t.Fatal(status.Message())
		}
		c.framework.RunPostBindPlugins(t.Context(), state, pod, "a1")
		got := ""
		if len(c.events.Events) > 0 {
			got = <-c.events.Events
		}
		if got != tt.want {
			t.Errorf("event %q, want %q", got, tt.want)
		}
	}
}

// A simulation places a slot elsewhere, and its room is free there; it is kept
// again afterwards.
func TestSimulationReleasesHolds(t *testing.T) {
	c := newCluster(t, nil, objects(sized("a1", "4"), sized("a2", "4"), set("db", 1, "data"), awayFrom(bound("data-db-0", zone, "a"), "a1", "3", 0, time.Now()))...)
	rival := asksFor(other("p", 0).Obj(), "2")
	restore := c.shared.Checkpoint()
	if got := c.alone(t, rival)["a1"]; got != keeps {
		t.Fatalf("a1 says %q, want %q", got, keeps)
	}
	placed := slotPod("db", 0, "data").Node("a2").Obj()
	if _, err := c.client.CoreV1().Pods("prod").Create(t.Context(), placed, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	next(t, "activation", c.activated)
	if got := c.alone(t, rival); got != nil {
		t.Errorf("the slot is on a2, and a1 says %q", got["a1"])
	}
	pods := c.framework.SharedInformerFactory().Core().V1().Pods().Lister().Pods("prod")
	c.remove(t, "db-0")
	c.until(t, "the pod is gone", func() bool { _, err := pods.Get("db-0"); return err != nil })
	restore()
	if got := c.alone(t, rival)["a1"]; got != keeps {
		t.Errorf("after the simulation a1 says %q, want %q", got, keeps)
	}
}
