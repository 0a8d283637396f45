// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/plugins/statefulset"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"
)

// asking is a pod that asks for cpu and memory.
func asking(p *st.PodWrapper, cpu, memory string) *st.PodWrapper {
	return p.Req(map[v1.ResourceName]string{v1.ResourceCPU: cpu, v1.ResourceMemory: memory})
}

// other is a pod of another namespace on a node.
func other(name, node string) *st.PodWrapper {
	return st.MakePod().Namespace("other").Name(name).Node(node).Phase(v1.PodRunning)
}

func failed(pod, uid, message string, at int64) *v1.Event {
	return &v1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("%s.%d", uid, at)},
		InvolvedObject: v1.ObjectReference{Kind: "Pod", Namespace: ns, Name: pod, UID: types.UID(uid)},
		Reason:         failedScheduling, Message: message, LastTimestamp: metav1.Time{Time: time.Unix(at, 0)},
	}
}

// forbidden makes an API server refuse to list something in a namespace.
func forbidden(resource, namespace string) func(*fake.Clientset) {
	return func(client *fake.Clientset) {
		client.PrependReactor("*", resource, func(action clienttesting.Action) (bool, runtime.Object, error) {
			if action.GetNamespace() != namespace {
				return false, nil, nil
			}
			return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", fmt.Errorf(`User "jane" cannot %s it`, action.GetVerb()))
		})
	}
}

// urgent raises the priority in the note on a claim.
func urgent(claim []runtime.Object, priority int32) []runtime.Object {
	of := &claim[0].(*v1.PersistentVolumeClaim).ObjectMeta
	note, _ := statefulset.ParseNote(of.Annotations[statefulset.LastNode])
	note.Priority = priority
	metav1.SetMetaDataAnnotation(of, statefulset.LastNode, note.String())
	return claim
}

func (w *world) but(change func(*fake.Clientset)) *world {
	w.change = change
	return w
}

func withoutVolumeAffinity(configuration []runtime.Object) []runtime.Object {
	data := configuration[0].(*v1.ConfigMap).Data
	data["config.yaml"] = strings.ReplaceAll(data["config.yaml"], ", {name: VolumeAffinity}", "")
	return configuration
}

// returns is a policy by which a slot must return to its node.
const returns = "spread: {}\nhome: {returnToNode: Required}\n"

func parallel(s *appsv1.StatefulSet) *appsv1.StatefulSet {
	s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	return s
}

func TestExplain(t *testing.T) {
	unschedulable := []v1.PodCondition{{Type: v1.PodScheduled, Status: v1.ConditionFalse, Reason: v1.PodReasonUnschedulable, Message: "0/8 nodes are available"}}
	tests := map[string]struct {
		world *world
		args  string
	}{
		"pending": { // each node of zone-b has its own reason
			world: threeZones(set("db", 2, "data"), running("db", 0, "a1").Obj(),
				asking(pod("db", 1), "3", "5Gi").Conditions(unschedulable).NominatedNodeName("b1").HostPort(80).Obj(),
				claim("data-db-1").Obj(), other("gone", "b1").Phase(v1.PodSucceeded).HostPort(80).Obj(), asking(other("big", "b1"), "2", "4Gi").Obj(),
				asking(other("small", "b2"), "1500m", "1Gi").HostPort(80).Obj(),
				node("b3", "b").Unschedulable(true).Obj(), node("b4", "b").Taints([]v1.Taint{{Key: "gpu", Value: "yes", Effect: v1.TaintEffectNoExecute}}).Obj(),
				node("b5", "b").Obj(),
				failed("db-1", "uid-db-1", "older", 100), failed("db-1", "uid-db-1", "newer", 200), failed("db-1", "uid-of-the-one-before", "not this", 300),
				failed("db-0", "uid-db-0", "nor this", 300)),
			args: "pod/db-1",
		},
		"gated": { // the scheduler said the same, and something older
			world: threeZones(set("db", 2), pod("db", 1).Conditions([]v1.PodCondition{{Type: v1.PodScheduled, Status: v1.ConditionFalse, Reason: v1.PodReasonSchedulingGated,
				Message: `ordinal 1 of prod/db starts when every lower ordinal is ready, and ordinal 0 was not yet (start.order Ordered of PlacementPolicy "seed-first")`}}).Obj(),
				failed("db-1", "uid-db-1", "no \"room\"\nthere", 1)).policy(t, "seed-first", seed),
			args: "pod db-1",
		},
		"home":   {world: threeZones(set("db", 1, "data"), running("db", 0, "a2").PVC("data-db-0").PVC("shared").Obj()).add(bound("data-db-0", "a")...), args: "db-0"},
		"absent": {world: threeZones(set("db", 2, "data"), running("db", 0, "a2").Obj()).add(bound("data-db-1", "c")...), args: "po/db-1"},
		"preferred": {
			world: threeZones(set("db", 2), running("db", 0, "a1").Obj(), pod("db", 1).NodeSelector(map[string]string{"disk": "ssd"}).Obj(),
				node("b3", "b").Label("disk", "ssd").Obj(), node("c3", "c").Label("disk", "ssd").Obj(), asking(other("big", "b3"), "1", "1Gi").Obj()).
				policy(t, "soft", toDB+"spread: {enforcement: Preferred}\n"),
			args: "db-1",
		},
		"no domain": {
			world: threeZones(set("db", 1), pod("db", 0).Obj()).policy(t, "seed", toDB+
				"spread: {}\nrules: [{ordinals: '0', nodeSelectorTerms: [{matchExpressions: [{key: capacity, operator: Exists}]}]}]\n"),
			args: "db-0",
		},
		"rule and siblings": {
			world: threeZones(set("db", 3), running("db", 1, "a1").Obj(), running("mq", 0, "b1").Obj(), st.MakePod().Namespace("other").Name("db-2").
				OwnerReference("db", appsv1.SchemeGroupVersion.WithKind("StatefulSet")).Node("c1").Obj(), pod("db", 0).Obj(),
				node("x1", "x").Label("capacity", "spot").Obj()).policy(t, "seed", toDB+
				"separateNodes: Required\nrules: [{ordinals: '0-', nodeSelectorTerms: [{matchExpressions: [{key: capacity, operator: DoesNotExist}]}]}]\n"),
			args: "db-0",
		},
		"volume out of reach": {
			world: threeZones(set("db", 1, "data", "logs"), pod("db", 0).PVC("data-db-0").PVC("logs-db-0").Obj()).
				add(bound("data-db-0", "a")...).add(bound("logs-db-0", "b")...),
			args: "db-0",
		},
		"claims in trouble": {
			world: threeZones(set("db", 1, "data", "logs", "tmp", "wal"), pod("db", 0).PVC("data-db-0").PVC("extra").Obj(),
				claim("logs-db-0").VolumeName("pv-gone").Obj(), claim("tmp-db-0").StorageClassName(ptr.To("early")).Obj(), going(bound("wal-db-0", "c"))),
			args: "db-0",
		},
		"surge": { // the old pod of the slot is on b1, and a sibling on b2
			world: threeZones(broker("kafka-1-new", "").Label("id", "1").Obj(), broker("kafka-1", "b1").Label("id", "1").Terminating().Obj(), broker("kafka-2", "b2").Label("id", "2").Obj()).
				policy(t, "kafka", "selector: {matchLabels: {strimzi.io/cluster: kafka}}\nordinal: {label: id}\nspread: {domains: [zone-b]}\nseparateNodes: Required\n"),
			args: "kafka-1-new",
		},
		"without rights": {
			world: threeZones(set("db", 1), asking(pod("db", 0), "3", "1Gi").Obj(), asking(running("web", 0, "a1"), "2", "1Gi").Obj(), asking(other("big", "a2"), "2", "1Gi").Obj()).
				but(func(client *fake.Clientset) {
					forbidden("pods", "")(client)
					forbidden("events", ns)(client)
				}),
			args: "db-0",
		},
		"room kept": { // on a1, where it lacks; on a2 for the pod itself; on a3 for one that still takes it; on a4 for one of lower priority; on a5, where it lacks anyway
			world: threeZones(set("db", 1, "data"), asking(pod("db", 0), "2500m", "1Gi").PVC("data-db-0").Priority(8).Obj(), node("a3", "a").Obj(), node("a4", "a").Obj(), node("a5", "a").Obj(),
				asking(other("one", "a1"), "1", "1Gi").Obj(), asking(other("two", "a2"), "1", "1Gi").Obj(), asking(other("four", "a4"), "1", "1Gi").Obj(), asking(other("five", "a5"), "3", "1Gi").Obj()).
				add(kept(bound("data-db-0", "a"), "a2", time.Minute)...).
				add(inNamespace("dev", []runtime.Object{set("mq", 4, "wal"), asking(running("mq", 3, "a3"), "1", "1Gi").Terminating().Obj()})...).
				add(inNamespace("dev", urgent(kept(bound("wal-mq-1", "a"), "a1", time.Minute), 8))...).
				add(inNamespace("dev", urgent(kept(bound("wal-mq-3", "a"), "a3", time.Minute), 8))...).
				add(inNamespace("dev", urgent(kept(bound("wal-mq-2", "a"), "a5", time.Minute), 8))...).
				add(inNamespace("dev", kept(bound("wal-mq-0", "a"), "a4", time.Minute))...),
			args: "db-0",
		},
		"room kept beside siblings": { // whatever their priority
			world: threeZones(set("db", 2, "data"), asking(pod("db", 0), "3500m", "1Gi").PVC("data-db-0").Priority(8).Obj()).without("a2").
				add(bound("data-db-0", "a")...).add(kept(bound("data-db-1", "a"), "a1", time.Minute)...),
			args: "db-0",
		},
		"room kept in many places": { // for a pod that fills no slot
			world: threeZones(set("db", 7, "data"), asking(st.MakePod().Namespace(ns).Name("web").SchedulerName(schedulerName).PVC("files"), "3500m", "1Gi").Obj()).
				add(bound("files", "b")...).add(node("b3", "b").Obj(), node("b4", "b").Obj(), node("b5", "b").Obj()).
				add(kept(bound("data-db-0", "b"), "b1", time.Minute)...).add(kept(bound("data-db-1", "b"), "b1", time.Minute)...).add(kept(bound("data-db-2", "b"), "b1", time.Minute)...).
				add(inNamespace("dev", append(kept(bound("wal-mq-0", "b"), "b1", time.Minute), set("mq", 1, "wal")))...).
				add(kept(bound("data-db-3", "b"), "b2", time.Minute)...).add(kept(bound("data-db-4", "b"), "b3", time.Minute)...).
				add(kept(bound("data-db-5", "b"), "b4", time.Minute)...).add(kept(bound("data-db-6", "b"), "b5", time.Minute)...),
			args: "web",
		},
		"room kept in many places yaml": {
			world: threeZones(set("db", 2, "data"), asking(st.MakePod().Namespace(ns).Name("web").SchedulerName(schedulerName), "3500m", "1Gi").Obj()).without("b1", "b2", "c1", "c2").
				add(kept(bound("data-db-0", "a"), "a1", time.Minute)...).add(kept(onNode(bound("data-db-1", "a"), "a2"), "a2", time.Minute)...),
			args: "web -o yaml",
		},
		"room of its own":       {world: threeZones(set("db", 1, "data"), madeAgo(pod("db", 0), 575*time.Second)).add(kept(bound("data-db-0", "a"), "a1", 580*time.Second)...), args: "db-0"},
		"room of a leaving pod": {world: threeZones(set("db", 1, "data"), running("db", 0, "a1").Terminating().Obj()).add(kept(bound("data-db-0", "a"), "a1", time.Minute)...), args: "db-0"},
		"room without end":      {world: threeZones(set("db", 1, "data"), node("a3", "a").Label(v1.LabelHostname, "a3").Unschedulable(true).Obj()).add(kept(onNode(bound("data-db-0", "a"), "a3"), "a3", time.Hour)...), args: "db-0"},
		"must return": { // to a node that is cordoned; so is another
			world: threeZones(set("db", 1, "data"), pod("db", 0).PVC("data-db-0").Conditions(unschedulable).Obj(), node("a3", "a").Unschedulable(true).Obj(), node("a4", "a").Unschedulable(true).Obj()).
				add(kept(bound("data-db-0", "a"), "a3", time.Hour)...).policy(t, "back", toDB+returns),
			args: "db-0",
		},
		"must return to a full node": {
			world: threeZones(set("db", 1, "data"), asking(pod("db", 0), "2", "1Gi").PVC("data-db-0").Obj(), asking(other("big", "a1"), "3", "1Gi").Obj()).
				add(kept(bound("data-db-0", "a"), "a1", time.Hour)...).policy(t, "back", toDB+returns),
			args: "db-0",
		},
		"must return to a node that is gone": {
			world: threeZones(set("db", 1, "data"), pod("db", 0).PVC("data-db-0").Obj()).add(kept(bound("data-db-0", "a"), "a3", time.Hour)...).policy(t, "back", toDB+returns),
			args:  "db-0",
		},
		"gone with its volume": { // whatever the policy
			world: threeZones(set("db", 1, "data"), pod("db", 0).PVC("data-db-0").Obj()).add(kept(onNode(bound("data-db-0", "a"), "a3"), "a3", time.Hour)...).policy(t, "back", toDB+returns),
			args:  "db-0",
		},
		"given up with its volume": { // and the claim is made anew: the other one, without data, remembers in vain
			world: threeZones(set("db", 1, "data", "logs"), pod("db", 0).PVC("data-db-0").PVC("logs-db-0").Obj(), claim("data-db-0").Obj()).
				add(going(kept(onNode(bound("logs-db-0", "a"), "a3"), "a3", time.Hour))).policy(t, "back", toDB+returns),
			args: "db-0",
		},
		"need not return": { // by a profile that does not keep it
			world: zones(set("db", 1, "data"), pod("db", 0).PVC("data-db-0").Obj()).add(withoutVolumeAffinity(configured("c", schedulerName, "{}"))...).
				add(kept(bound("data-db-0", "a"), "a1", time.Hour)...).policy(t, "back", toDB+returns),
			args: "db-0",
		},
		"selected":            {world: threeZones(broker("kafka-1", "").Obj()).add(brokerClaim("data-kafka-1", "b")...).policy(t, "kafka", kafka), args: "kafka-1"},
		"scaled down":         {world: threeZones(set("db", 1), pod("db", 1).Conditions(unschedulable).Obj(), failed("db-1", "uid-db-1", unschedulable[0].Message, 1)), args: "db-1"},
		"absent and parallel": {world: threeZones(parallel(set("db", 1))), args: "db-0"},
		"no slot":             {world: threeZones(st.MakePod().Namespace(ns).Name("web").Conditions(unschedulable).Obj()), args: "web"},
		"no slot but a node":  {world: threeZones(st.MakePod().Namespace(ns).Name("web").SchedulerName(schedulerName).Node("a1").Obj()), args: "web"},
		"orphan":              {world: threeZones(pod("db", 0).Obj()), args: "db-0"},
		"unscheduled":         {world: threeZones(scheduledBy("default-scheduler", set("db", 1)), pod("db", 0).SchedulerName("default-scheduler").Obj()), args: "db-0"},
		"foreign pod":         {world: threeZones(set("db", 1), st.MakePod().Namespace(ns).Name("db-0").Obj()), args: "db-0"},
		"yaml":                {world: threeZones(set("db", 1), asking(pod("db", 0), "8", "1Gi").Conditions(unschedulable).Obj()).policy(t, "ring", shards), args: "db-0 -o yaml"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := test.world.run(t, append([]string{"explain"}, strings.Fields(test.args)...)...)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "explain "+name, got)
		})
	}
}
