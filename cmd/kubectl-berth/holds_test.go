// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// kept adds to a claim the note of a pod that asked for 1 cpu and 2Gi, and began
// to leave a node so long ago; 0 is of one that stays.
func kept(claim []runtime.Object, node string, ago time.Duration) []runtime.Object {
	note := statefulset.Note{Node: node, PodUID: "uid-of-the-last", Priority: 7, Requests: v1.ResourceList{
		v1.ResourceCPU: resource.MustParse("1"), v1.ResourceMemory: resource.MustParse("2Gi"),
	}}
	if ago != 0 {
		note.HoldStart = &metav1.Time{Time: now.Add(-ago)}
	}
	metav1.SetMetaDataAnnotation(&claim[0].(*v1.PersistentVolumeClaim).ObjectMeta, statefulset.LastNode, note.String())
	return claim
}

// onNode makes the volume of a claim one of a node.
func onNode(claim []runtime.Object, node string) []runtime.Object {
	terms := claim[1].(*v1.PersistentVolume).Spec.NodeAffinity.Required.NodeSelectorTerms
	terms[0].MatchExpressions = []v1.NodeSelectorRequirement{{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{node}}}
	return claim
}

// madeAgo says how old a pod is.
func madeAgo(p *st.PodWrapper, ago time.Duration) *v1.Pod {
	return p.CreationTimestamp(metav1.Time{Time: now.Add(-ago)}).Obj()
}

// limited makes the next pods of a set ask for what they are limited to.
func limited(s *appsv1.StatefulSet, cpu string) *appsv1.StatefulSet {
	s.Spec.Template.Spec.Containers = []v1.Container{{Resources: v1.ResourceRequirements{Limits: v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu)}}}}
	return s
}

func inNamespace(namespace string, objects []runtime.Object) []runtime.Object {
	for _, object := range objects {
		if one := object.(metav1.Object); one.GetNamespace() != "" {
			one.SetNamespace(namespace)
		}
	}
	return objects
}

func TestHolds(t *testing.T) {
	tests := map[string]struct {
		world *world
		args  string
	}{
		// db-0 is away, db-1 leaves, db-2 waits; db-3 and db-4 have one node.
		"states": {
			world: threeZones(limited(set("db", 5, "data"), "1500m"), running("db", 1, "b1").Terminating().Obj(), madeAgo(pod("db", 2), 2*time.Minute),
				node("a3", "a").Label(v1.LabelHostname, "a3").Unschedulable(true).Condition(v1.NodeReady, v1.ConditionUnknown, "", "").Obj(),
				node("a4", "a").Label(v1.LabelHostname, "a4").Taints([]v1.Taint{{Key: statefulset.DrainTaint, Effect: v1.TaintEffectNoSchedule}}).Obj()).
				add(kept(bound("data-db-0", "a"), "a1", 4*time.Minute)...).add(kept(bound("data-db-1", "b"), "b1", 30*time.Second)...).
				add(kept(bound("data-db-2", "c"), "c1", 2*time.Minute+20*time.Second)...).
				add(kept(onNode(bound("data-db-3", "a"), "a3"), "a3", 26*time.Hour)...).add(kept(onNode(bound("data-db-4", "a"), "a4"), "a4", time.Hour)...),
		},
		// The pods were long in leaving, so the holds may be young yet; db-3 left by a clock that is ahead.
		"long in leaving": {
			world: threeZones(set("db", 4, "data"), madeAgo(pod("db", 1), 5*time.Minute), madeAgo(pod("db", 2), 11*time.Minute)).
				add(kept(bound("data-db-0", "a"), "a1", time.Hour)...).add(kept(bound("data-db-1", "b"), "b1", time.Hour)...).add(kept(bound("data-db-2", "c"), "c1", time.Hour)...).
				add(kept(bound("data-db-3", "a"), "a1", -time.Minute)...),
		},
		"left out": { // one that is back, one whose first claim says it stays (an old note is on the second), one that is unwanted, of a node that is gone, of a node that others may leave, and of a claim that goes
			world: threeZones(set("db", 5, "data", "logs"), running("db", 0, "a2").Obj(), node("a3", "a").Unschedulable(true).Obj()).
				add(kept(bound("data-db-0", "a"), "a1", time.Minute)...).add(kept(bound("data-db-1", "b"), "b1", 0)...).add(kept(bound("logs-db-1", "b"), "b1", time.Minute)...).add(kept(bound("data-db-5", "b"), "b1", time.Minute)...).
				add(kept(bound("data-db-2", "c"), "gone", time.Minute)...).add(kept(bound("data-db-3", "a"), "a3", time.Minute)...).
				add(going(kept(bound("data-db-4", "b"), "b1", time.Minute))),
		},
		"of one set": {
			world: threeZones(set("db", 1, "data"), set("mq", 1, "data")).add(kept(bound("data-db-0", "a"), "a1", time.Minute)...).add(kept(bound("data-mq-0", "b"), "b1", time.Minute)...),
			args:  "sts/mq",
		},
		"all namespaces": {
			world: threeZones(set("db", 1, "data")).add(kept(bound("data-db-0", "a"), "a1", time.Minute)...).
				add(inNamespace("dev", append(kept(bound("wal-mq-0", "b"), "b1", time.Minute), set("mq", 1, "wal")))...).
				policy(t, "long", strings.ReplaceAll(toDB, "db", "mq")+"home: {holdFor: 1h}\n").lastPolicyIn("dev"),
			args: "-A",
		},
		"policy": {
			world: threeZones(set("db", 1, "data"), set("mq", 1, "data")).policy(t, "short", toDB+"home: {holdFor: 90s}\n").policy(t, "none", strings.ReplaceAll(toDB, "db", "mq")+"home: {holdFor: 0s}\n").
				add(kept(bound("data-db-0", "a"), "a1", time.Minute)...).add(kept(bound("data-mq-0", "b"), "b1", time.Minute)...),
		},
		"required": { // whatever becomes of its node
			world: threeZones(set("db", 1, "data"), node("a3", "a").Unschedulable(true).Obj()).policy(t, "back", toDB+"home: {returnToNode: Required}\n").
				add(kept(bound("data-db-0", "a"), "a3", time.Hour)...),
		},
		"another scheduler": { // whose pods give way to holds no more than its sets lose them
			world: threeZones(scheduledBy("default-scheduler", set("db", 1, "data"))).policy(t, "short", toDB+"home: {holdFor: 90s}\n").add(kept(bound("data-db-0", "a"), "a1", time.Minute)...),
		},
		"selected": {
			world: threeZones(broker("kafka-1", "b1").Terminating().Obj()).add(kept(brokerClaim("data-kafka-1", "b"), "b1", time.Minute)...).
				add(kept(brokerClaim("data-kafka-4", "a"), "a1", time.Minute)...).policy(t, "kafka", kafka),
			args: "pp/kafka",
		},
		"no configuration": {world: zones(set("db", 1, "data")).add(kept(bound("data-db-0", "a"), "a1", time.Minute)...)},
		"yaml": {
			world: threeZones(set("db", 2, "data"), madeAgo(pod("db", 0), time.Minute), node("a3", "a").Label(v1.LabelHostname, "a3").Obj()).
				add(kept(bound("data-db-0", "a"), "a1", time.Minute)...).add(kept(onNode(bound("data-db-1", "a"), "a3"), "a3", time.Minute)...),
			args: "-o yaml",
		},
		"none json": {world: threeZones(set("db", 1, "data")), args: "-o json"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, said, err := test.world.runs(t, append([]string{"holds"}, strings.Fields(test.args)...)...)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "holds "+name, out+said)
		})
	}
}

func TestNoHolds(t *testing.T) {
	sets := threeZones(set("db", 1, "data"), set("cache", 1))
	tests := map[string]struct{ args, want string }{
		"none":           {args: "holds", want: "No room is kept.\n"},
		"none of a set":  {args: "holds sts/db", want: "No room is kept.\n"},
		"without claims": {args: "holds sts/cache", want: "Nothing is known: StatefulSet prod/cache has no claims to carry notes: room may be kept for its slots, and is not seen from here.\n"},
		"for programs":   {args: "holds -o yaml"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, said, err := sets.runs(t, strings.Fields(test.args)...)
			if err != nil || (out != "" && test.want != "") {
				t.Errorf("error %v, standard output %q", err, out)
			}
			if diff := cmp.Diff(test.want, said); diff != "" {
				t.Errorf("standard error (-want +got):\n%s", diff)
			}
		})
	}
}
