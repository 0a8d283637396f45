// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

const (
	toDB   = "targetRef: {apiVersion: apps/v1, kind: StatefulSet, name: db}\n"
	shards = toDB + "spread: {shardSize: 3}\n"
	seed   = toDB + "spread: {}\nstart: {order: Ordered, until: Ready}\n"
	kafka  = "selector: {matchLabels: {strimzi.io/cluster: kafka}}\nordinal: {namePattern: '(?:data-)?kafka-([0-9]+)'}\nspread: {}\n"
)

// broker is a pod of the set that policy kafka selects.
func broker(name, node string) *st.PodWrapper {
	return st.MakePod().Namespace(ns).Name(name).UID("uid-"+name).Label("strimzi.io/cluster", "kafka").SchedulerName(schedulerName).
		Node(node).Phase(v1.PodRunning).Condition(v1.PodReady, v1.ConditionTrue, "")
}

func brokerClaim(name, zone string) []runtime.Object {
	objects := bound(name, zone)
	objects[0].(*v1.PersistentVolumeClaim).Labels = map[string]string{"strimzi.io/cluster": "kafka"}
	return objects
}

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		world *world
		args  string
	}{
		// db-3 lives in zone-c and db-4 is to follow the count; db-2's claim goes.
		"volumes": {
			world: threeZones(set("db", 5, "data"), running("db", 0, "a1").Obj(), running("db", 1, "b1").Obj(), pod("db", 4).Obj(),
				claim("data-db-4").Obj(), going(bound("data-db-2", "a"))).add(bound("data-db-0", "a")...).add(bound("data-db-1", "b")...).add(bound("data-db-3", "c")...),
			args: "sts/db",
		},
		"scaled up": {
			world: threeZones(set("db", 2, "data"), running("db", 0, "a1").Obj(), running("db", 1, "b1").Obj()).
				add(bound("data-db-0", "a")...).add(bound("data-db-1", "b")...).add(bound("data-db-3", "b")...),
			args: "sts db --replicas 5",
		},
		"scaled down":   {world: threeZones(set("db", 3), running("db", 0, "b1").Obj(), running("db", 2, "b2").Obj()), args: "db --replicas=1"},
		"scaled to 0":   {world: threeZones(set("db", 3)), args: "statefulset/db --replicas 0"},
		"shards":        {world: threeZones(set("db", 6), running("db", 4, "a1").Obj()).policy(t, "ring", shards), args: "sts/db"},
		"start ordinal": {world: threeZones(startingAt(5, set("db", 2)), running("db", 5, "a1").Obj(), running("db", 0, "a2").Obj()), args: "sts/db"},
		"gated": {
			world: threeZones(set("db", 4), running("db", 0, "a1").Obj(),
				pod("db", 1).Node("b1").Phase(v1.PodRunning).Obj(), pod("db", 2).Obj(),
				pod("db", 3).Condition(v1.PodScheduled, v1.ConditionFalse, v1.PodReasonUnschedulable).Obj()).policy(t, "seed-first", seed),
			args: "sts/db",
		},
		"not gated": { // the profile does without OrdinalGate
			world: zones(set("db", 2), pod("db", 1).Obj()).add(withoutGate(configured("berth-scheduler-7d9k", "berth-scheduler", "{}"))...).policy(t, "seed-first", seed),
			args:  "sts/db",
		},
		"states": {
			world: threeZones(set("db", 8, "data"), running("db", 0, "b1").Obj(), running("db", 1, "elsewhere").Obj(), st.MakeNode().Name("elsewhere").Obj(),
				pod("db", 2).Node("c1").Obj(), running("db", 3, "a1").Terminating().Obj(), pod("db", 4).Node("a1").Phase(v1.PodFailed).Obj(),
				pod("db", 5).Node("a1").Phase(v1.PodSucceeded).Obj(), pod("db", 6).SchedulingGates([]string{"example.com/quota"}).Obj(),
				st.MakePod().Namespace(ns).Name("db-7").Node("a1").Obj(), claim("data-db-5").Annotation("volume.kubernetes.io/selected-node", "b1").Obj()).
				add(bound("data-db-0", "a")...).add(bound("data-db-1", "b")...),
			args: "sts/db",
		},
		"rule": {
			world: threeZones(set("db", 3), node("d1", "d").Label("capacity", "on-demand").Obj()).policy(t, "seed", toDB+
				"spread: {}\nrules:\n- {ordinals: '0', nodeSelectorTerms: [{matchExpressions: [{key: capacity, operator: In, values: [on-demand]}]}]}\n"),
			args: "sts/db",
		},
		"rule without spread": {
			world: threeZones(set("db", 2), running("db", 1, "a1").Obj()).policy(t, "seed", toDB+
				"rules:\n- {ordinals: '0', nodeSelectorTerms: [{matchExpressions: [{key: capacity, operator: Exists}]}]}\n"),
			args: "sts/db",
		},
		"named domains": {
			world: threeZones(set("db", 2), node("a3", "a").Condition(v1.NodeReady, v1.ConditionFalse, "", "").Obj(),
				node("a4", "a").Taints([]v1.Taint{{Key: "gpu", Effect: v1.TaintEffectNoSchedule}}).Obj()).
				policy(t, "named", toDB+"spread: {domains: [zone-a, zone-z]}\n"),
			args: "sts/db",
		},
		"lost domains": { // zone-c has had no ready node for long, and zone-z never
			world: threeZones(set("db", 4), pod("db", 2).Node("c3").Obj(), node("c3", "c").Condition(v1.NodeReady, v1.ConditionFalse, "", "").Obj()).
				without("c1", "c2").policy(t, "losing", toDB+"spread: {domains: [zone-a, zone-b, zone-c, zone-z], onDomainLoss: {after: 5m}}\n"),
			args: "sts/db",
		},
		"selected": {
			world: threeZones(broker("kafka-1", "b1").Obj(), broker("kafka-7", "c1").Obj(), broker("other", "c1").Obj()).
				add(brokerClaim("data-kafka-4", "a")...).policy(t, "kafka", kafka),
			args: "pp/kafka",
		},
		"selected beside a set": { // whose claims carry the labels, and are its own
			world: threeZones(set("kafka", 5, "data"), broker("kafka-1", "b1").Obj()).
				add(brokerClaim("data-kafka-4", "a")...).policy(t, "kafka", kafka),
			args: "pp/kafka",
		},
		"selected without pods": {world: threeZones(brokerClaim("data-kafka-4", "a")...).policy(t, "kafka", kafka), args: "pp kafka"},
		"another scheduler":     {world: threeZones(scheduledBy("default-scheduler", set("db", 2)), running("db", 0, "b1").Obj()).policy(t, "db", toDB), args: "sts/db"},
		"policies without effect": {
			world: threeZones(set("db", 1)).policy(t, "older", shards).policy(t, "younger", shards).
				policy(t, "wrong", toDB+"spread: {shardSize: 1}\n").policy(t, "others", strings.ReplaceAll(toDB, "db", "mq")+"spread: {shardSize: 1}\n").
				policy(t, "elsewhere", toDB+"spread: {shardSize: 1}\n").lastPolicyIn("elsewhere"),
			args: "sts/db",
		},
		"yaml": {world: threeZones(set("db", 2, "data"), running("db", 0, "a1").Obj()).add(bound("data-db-0", "a")...).policy(t, "ring", shards), args: "sts/db -o yaml"},
		"json": {world: threeZones(set("db", 1)), args: "sts/db -o json --replicas 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := test.world.run(t, append([]string{"plan"}, strings.Fields(test.args)...)...)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "plan "+name, got)
		})
	}
}

func startingAt(ordinal int32, s *appsv1.StatefulSet) *appsv1.StatefulSet {
	s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: ordinal}
	return s
}

func scheduledBy(name string, s *appsv1.StatefulSet) *appsv1.StatefulSet {
	s.Spec.Template.Spec.SchedulerName = name
	return s
}

func withoutGate(objects []runtime.Object) []runtime.Object {
	data := objects[0].(*v1.ConfigMap).Data
	data["config.yaml"] = strings.ReplaceAll(data["config.yaml"], "{name: OrdinalGate}, ", "")
	return objects
}

// going is a claim that is being deleted.
func going(objects []runtime.Object) *v1.PersistentVolumeClaim {
	claim := objects[0].(*v1.PersistentVolumeClaim)
	claim.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	return claim
}
