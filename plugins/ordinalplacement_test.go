// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

func TestOrdinalPlacement(t *testing.T) {
	three := nodes("a1", "a2", "b1", "c1")
	tests := map[string]struct {
		args    string
		objects []runtime.Object
		pod     *v1.Pod
		fits    string
		refused string            // PreFilter's reason
		reasons map[string]string // of some nodes
		skipped bool
	}{
		"second ordinal goes to the second zone": {
			objects: objects(three, set("db", 3)), pod: slotPod("db", 1).Obj(), fits: "b1",
			reasons: map[string]string{"a1": "node(s) outside the planned domain b"},
		},
		"reason has its numbers": {
			objects: objects(three[:3], set("db", 5), slotPod("db", 0).Node("a1").Obj(), slotPod("db", 1).Node("a2").Obj(), slotPod("db", 2).Node("a2").Obj()),
			pod:     slotPod("db", 4).Obj(), fits: "b1",
			reasons: map[string]string{"a2": "node(s) outside the planned domain b"},
		},
		"its volume is home": {
			objects: objects(three, set("db", 3, "data"), bound("data-db-1", zone, "c")), pod: slotPod("db", 1, "data").Obj(), fits: "c1",
			reasons: map[string]string{"b1": "node(s) outside the planned domain c"},
		},
		"node without the zone label": {
			objects: objects(three, node("x1", ""), set("db", 3)), pod: slotPod("db", 0).Obj(), fits: "a1 a2",
			reasons: map[string]string{"x1": `node(s) without label "topology.kubernetes.io/zone", which names the domains`},
		},
		"wrong topology key": {
			args:    `{"defaultPolicy": {"spread": {"topologyKey": "example.com/rack"}}}`,
			objects: objects(three, set("db", 3)), pod: slotPod("db", 0).Obj(),
			refused: `ordinal 0 of prod/db has no domain (no node that it may use names a domain); domains are values of node label "example.com/rack": label or add nodes, or correct the policy`,
		},
		"set whose name is another's prefix": {
			objects: objects(three, set("db", 3, "data"), set("db-2", 3, "data"), bound("data-db-2-0", zone, "c")),
			pod:     slotPod("db", 2, "data").Obj(), fits: "c1", // db-2-0's volume is not a volume of db
		},
		"the longer name": {
			objects: objects(three, set("db", 3, "data"), set("db-2", 3, "data"), bound("data-db-2", zone, "a")),
			pod:     slotPod("db-2", 2, "data").Obj(), fits: "c1",
		},
		"named like a slot, owned by a Job": {
			objects: objects(three, set("db", 3)), skipped: true, fits: "a1 a2 b1 c1",
			pod: st.MakePod().Namespace("prod").Name("db-1").OwnerReference("db", v1.SchemeGroupVersion.WithKind("Job")).Obj(),
		},
		"named like a slot, owned by nobody": {
			objects: objects(three, set("db", 3)), skipped: true, fits: "a1 a2 b1 c1",
			pod: st.MakePod().Namespace("prod").Name("db-1").Obj(),
		},
		"the set is not known": {
			objects: three, pod: slotPod("db", 1).Obj(),
			refused: "waiting for StatefulSet prod/db to be known: ordinal 1 of prod/db has no place without it; if the set is gone, so should be the pod",
		},
		"no spread asked for": {
			args: `{"defaultPolicy": {}}`, objects: objects(three, set("db", 3)), pod: slotPod("db", 1).Obj(), skipped: true, fits: "a1 a2 b1 c1",
		},
		"domains by name": {
			args:    `{"apiVersion": "any/v1", "kind": "Any", "defaultPolicy": {"spread": {"domains": ["c", "z"]}}}`,
			objects: objects(three, set("db", 3)), pod: slotPod("db", 0).Obj(), fits: "c1",
		},
		"domains the pod may use": {
			objects: objects(three, set("db", 3)), pod: slotPod("db", 1).NodeAffinityIn(zone, []string{"a", "c"}, st.NodeSelectorTypeMatchExpressions).Obj(), fits: "c1",
		},
		"cordoned zones stay in the plan": {
			objects: objects(three[:2], st.MakeNode().Name("b1").Label(zone, "b").Taints([]v1.Taint{{Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule}}).Obj(), set("db", 3)),
			pod:     slotPod("db", 1).Obj(), fits: "b1",
		},
		"dedicated zones do not enter it": {
			objects: objects(three[:2], st.MakeNode().Name("b1").Label(zone, "b").Taints([]v1.Taint{{Key: "dedicated", Effect: v1.TaintEffectNoSchedule}}).Obj(), node("c1", "c"), set("db", 3)),
			pod:     slotPod("db", 1).Obj(), fits: "c1",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			args := map[string]string{}
			if tt.args != "" {
				args["OrdinalPlacement"] = tt.args
			}
			tt.pod.Spec.Volumes = nil // what they say is TestVolumeAffinity's
			got := newCluster(t, args, tt.objects...).try(t, tt.pod)
			if got.refused != tt.refused {
				t.Errorf("refused with %q\nwant         %q", got.refused, tt.refused)
			}
			if got.fits() != tt.fits {
				t.Errorf("fits on %q, want %q", got.fits(), tt.fits)
			}
			for node, want := range tt.reasons {
				if diff := cmp.Diff(want, got.nodes[node]); diff != "" {
					t.Errorf("reason of %s (-want +got):\n%s", node, diff)
				}
			}
			if skipped := strings.Contains(got.skipped, "OrdinalPlacement"); skipped != tt.skipped {
				t.Errorf("skipped: %t, want %t", skipped, tt.skipped)
			}
		})
	}
}

func TestReservedSiblingsCount(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1", "b1", "c1"), set("db", 3))...)
	pod := slotPod("db", 0).Obj()
	c.try(t, pod)
	if status := c.framework.RunReservePluginsReserve(t.Context(), framework.NewCycleState(), pod, "c1"); !status.IsSuccess() {
		t.Fatal(status)
	}
	if got := c.try(t, slotPod("db", 1).Obj()).fits(); got != "a1" {
		t.Errorf("beside a sibling reserved in c, ordinal 1 fits on %q, want a1", got)
	}
	c.framework.RunReservePluginsUnreserve(t.Context(), framework.NewCycleState(), pod, "c1")
	if got := c.try(t, slotPod("db", 1).Obj()).fits(); got != "b1" {
		t.Errorf("after it was taken back, ordinal 1 fits on %q, want b1", got)
	}
	if got := <-c.activated; got != "prod/db-1" {
		t.Errorf("woken: %s, want prod/db-1", got)
	}
}

// Changes of the plan have no cluster event: whoever waits is woken by name.
func TestChangesOfThePlanWakeWhoWaits(t *testing.T) {
	tests := map[string]struct {
		objects []runtime.Object
		change  func(*testing.T, *cluster)
	}{
		"the set appears": {nil, func(t *testing.T, c *cluster) {
			_, err := c.client.AppsV1().StatefulSets("prod").Create(t.Context(), set("db", 3, "data"), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
		}},
		"the set's first ordinal changes": {objects(set("db", 3, "data")), func(t *testing.T, c *cluster) {
			changed := set("db", 3, "data")
			changed.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 1}
			if _, err := c.client.AppsV1().StatefulSets("prod").Update(t.Context(), changed, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
		"its claim is bound elsewhere": {objects(set("db", 3, "data"), bound("data-db-1", zone, "c")[1]), func(t *testing.T, c *cluster) {
			claim := bound("data-db-1", zone, "c")[0].(*v1.PersistentVolumeClaim)
			if _, err := c.client.CoreV1().PersistentVolumeClaims("prod").Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
		"its volume is seen after its claim": {objects(set("db", 3, "data"), bound("data-db-1", zone, "c")[0]), func(t *testing.T, c *cluster) {
			volume := bound("data-db-1", zone, "c")[1].(*v1.PersistentVolume)
			if _, err := c.client.CoreV1().PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
		"a sibling is bound in its place": {objects(set("db", 3, "data")), func(t *testing.T, c *cluster) {
			if _, err := c.client.CoreV1().Pods("prod").Create(t.Context(), slotPod("db", 0).Node("b1").Obj(), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
		"its domain loses its last node": {objects(set("db", 3, "data")), func(t *testing.T, c *cluster) {
			if err := c.client.CoreV1().Nodes().Delete(t.Context(), "b1", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, nil, objects(nodes("a1", "b1", "c1"), tt.objects)...)
			c.try(t, slotPod("db", 1).Obj())
			c.try(t, slotPod("web", 1).Obj()) // of another set: nobody wakes it
			tt.change(t, c)
			if got := <-c.activated; got != "prod/db-1" {
				t.Errorf("woken: %s, want prod/db-1", got)
			}
			if len(c.activated) != 0 {
				t.Errorf("woken too: %s", <-c.activated)
			}
		})
	}
}

func TestOrdinalPlacementHints(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1", "b1", "c1"), set("db", 3))...)
	pod := slotPod("db", 1).Obj()
	c.try(t, pod) // told b
	relabelled := node("a1", "b")
	tests := map[string]struct {
		event         fwk.ActionType
		before, after *v1.Node
		want          fwk.QueueingHint
	}{
		"node in the planned zone":        {fwk.Add, nil, node("b2", "b"), fwk.Queue},
		"node elsewhere":                  {fwk.Add, nil, node("a2", "a"), fwk.QueueSkip},
		"node without label":              {fwk.Add, nil, node("x1", ""), fwk.QueueSkip},
		"node labelled into the zone":     {fwk.UpdateNodeLabel, node("a1", "a"), relabelled, fwk.Queue},
		"node of the zone, another label": {fwk.UpdateNodeLabel, node("b1", "b"), relabelled, fwk.QueueSkip},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := hint(t, c, "OrdinalPlacement", fwk.Node, tt.event, pod, tt.before, tt.after); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if got := hint(t, c, "OrdinalPlacement", fwk.Node, fwk.Add, slotPod("db", 2).Obj(), nil, node("a2", "a")); got != fwk.Queue {
		t.Errorf("a pod that was told nothing: %v, want Queue", got)
	}
	if got := hint(t, c, "OrdinalPlacement", fwk.Pod, fwk.UpdatePodToleration, pod, pod, pod); got != fwk.Queue {
		t.Errorf("its own tolerations: %v, want Queue", got)
	}
	other := slotPod("db", 2).Obj()
	if got := hint(t, c, "OrdinalPlacement", fwk.Pod, fwk.UpdatePodToleration, pod, other, other); got != fwk.QueueSkip {
		t.Errorf("tolerations of another: %v, want QueueSkip", got)
	}
}

// hint asks a plugin as the scheduling queue does.
func hint[T any](t *testing.T, c *cluster, plugin string, resource fwk.EventResource, action fwk.ActionType, pod *v1.Pod, before, after *T) fwk.QueueingHint {
	t.Helper()
	for _, extension := range c.framework.EnqueueExtensions() {
		if extension.Name() != plugin {
			continue
		}
		events, err := extension.EventsToRegister(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, registered := range events {
			if registered.Event.Resource != resource || registered.Event.ActionType&action == 0 {
				continue
			}
			var oldObj, newObj any
			if before != nil {
				oldObj = before
			}
			if after != nil {
				newObj = after
			}
			got, err := registered.QueueingHintFn(testLogger(t), pod, oldObj, newObj)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
	}
	t.Fatalf("%s does not register %s", plugin, resource)
	return fwk.QueueSkip
}
