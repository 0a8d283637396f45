// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"sigs.k8s.io/yaml"
)

// policy is a PlacementPolicy for set db, as people write it.
func policy(t testing.TB, spec string) *v1alpha1.PlacementPolicy {
	t.Helper()
	p := &v1alpha1.PlacementPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db-policy", UID: types.UID(spec), Generation: 1}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	if p.Spec.Selector == nil {
		p.Spec.TargetRef = &v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}
	}
	return p
}

const onDemand = `[{matchExpressions: [{key: capacity, operator: In, values: [on-demand]}]}]`

func TestPolicies(t *testing.T) {
	three := nodes("a1", "a2", "b1", "c1")
	tests := map[string]struct {
		spec    string
		objects []runtime.Object
		ordinal int
		fits    string
		refused string
		reasons map[string]string
	}{
		"asks for nothing": {spec: `{}`, ordinal: 1, fits: "a1 a2 b1 c1"},
		"wins over the default": {
			spec: `{spread: {domains: [c, b]}}`, ordinal: 0, fits: "b1",
			reasons: map[string]string{"c1": "node(s) outside the planned domain b"},
		},
		"blocks": {spec: `{spread: {arrangement: Contiguous, blockSize: 2}}`, ordinal: 3, fits: "b1"},
		"preferred domain": {
			spec: `{spread: {enforcement: Preferred, domains: [b, c]}}`, ordinal: 0, fits: "b1 c1",
			reasons: map[string]string{"a1": "node(s) outside the allowed domains [b c]"},
		},
		"a shard's other members": {
			spec: `{spread: {shardSize: 2, enforcement: Preferred}}`, ordinal: 1,
			objects: objects(slotPod("db", 0).Node("b1").Obj()), fits: "a1 a2 c1",
		},
		"a full domain": {
			spec: `{spread: {maxPerDomain: 1, domains: [a]}}`, ordinal: 1, objects: objects(slotPod("db", 0).Node("a1").Obj()),
			refused: "ordinal 1 of prod/db has no domain (",
		},
		"rule": {
			spec: `{spread: {}, rules: [{ordinals: "0", nodeSelectorTerms: ` + onDemand + `}]}`, ordinal: 0, fits: "c9",
			objects: objects(st.MakeNode().Name("c9").Label(zone, "c").Label("capacity", "on-demand").Obj()),
			reasons: map[string]string{
				"c1": "node(s) not selected by rule 1 (ordinals 0: capacity In (on-demand))",
				"a1": "node(s) outside the planned domain c",
			},
		},
		"rule without spread": {
			spec: `{rules: [{ordinals: "0-", nodeSelectorTerms: ` + onDemand + `}]}`, ordinal: 5, fits: "x1",
			objects: objects(st.MakeNode().Name("x1").Label("capacity", "on-demand").Obj()),
		},
		"rule for others": {spec: `{rules: [{ordinals: "1-", nodeSelectorTerms: ` + onDemand + `}]}`, ordinal: 0, fits: "a1 a2 b1 c1"},
		"own nodes": {
			spec: `{separateNodes: Required}`, ordinal: 1, fits: "a2 c1",
			objects: objects(slotPod("db", 0).Node("a1").Obj(), slotPod("db", 2).Node("b1").Obj(), slotPod("db-2", 0).Node("a2").Obj()),
			reasons: map[string]string{"a1": "node(s) with another slot of prod/db, and separateNodes is Required"},
		},
		"its own old pod is no sibling": {
			spec: `{separateNodes: Required}`, ordinal: 0, fits: "a1 a2 b1 c1", objects: objects(slotPod("db", 0).UID("old").Node("a1").Terminating().Obj()),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, nil, objects(three, set("db", 9), tt.objects, policy(t, tt.spec))...)
			got := c.try(t, slotPod("db", tt.ordinal).Obj())
			if !strings.HasPrefix(got.refused, tt.refused) || (got.refused == "") != (tt.refused == "") {
				t.Errorf("refused with %q, want %q …", got.refused, tt.refused)
			}
			if got.fits() != tt.fits {
				t.Errorf("fits on %q, want %q", got.fits(), tt.fits)
			}
			for node, want := range tt.reasons {
				if diff := cmp.Diff(want, got.nodes[node]); diff != "" {
					t.Errorf("reason of %s (-want +got):\n%s", node, diff)
				}
			}
		})
	}
}

// Pods that an operator makes itself belong to slots by their policy.
func TestOperatorMadePods(t *testing.T) {
	made := func(ordinal int) *st.PodWrapper {
		return st.MakePod().Namespace("prod").Name(fmt.Sprintf("pg-%d-x", ordinal)).UID(fmt.Sprintf("pg-%d", ordinal)).
			SchedulerName("berth-scheduler").Label("app", "pg").Label("ordinal", fmt.Sprint(ordinal))
	}
	claim := bound("anything", zone, "c")
	claim[0].(*v1.PersistentVolumeClaim).Labels = map[string]string{"app": "pg", "ordinal": "3"}
	byLabel := policy(t, `{selector: {matchLabels: {app: pg}}, ordinal: {label: ordinal}, spread: {}}`)
	c := newCluster(t, nil, objects(nodes("a1", "b1", "c1"), claim, made(1).Node("a1").Obj(), byLabel)...)
	if got := c.try(t, made(7).Obj()).fits(); got != "b1" {
		t.Errorf("beside ordinal 1 in a and the volume of 3 in c, ordinal 7 fits on %q, want b1", got)
	}
	if got := c.try(t, made(3).Obj()).fits(); got != "c1" {
		t.Errorf("ordinal 3 fits on %q, want c1, beside its volume", got)
	}
	other := made(7).Label("app", "other").Obj()
	if got := c.try(t, other).fits(); got != "a1 b1 c1" {
		t.Errorf("a pod that is not selected fits on %q, want everywhere", got)
	}
	byName := policy(t, `{selector: {matchLabels: {app: pg}}, ordinal: {namePattern: "pg-(\\d+)-x"}, spread: {}}`)
	byName.Generation = 2
	c.book.Set(byName)
	if got := c.try(t, made(7).Obj()).fits(); got != "b1" { // 1 in a; the claim's name is no ordinal now
		t.Errorf("by name, ordinal 7 fits on %q, want b1", got)
	}
}

// The claims of a StatefulSet carry its labels, and are no claims of others.
func TestClaimsOfAStatefulSetAreItsOwn(t *testing.T) {
	claim := bound("data-db-0", zone, "a")
	claim[0].(*v1.PersistentVolumeClaim).Labels = map[string]string{"app": "pg"}
	policy := policy(t, `{selector: {matchLabels: {app: pg}}, ordinal: {namePattern: ".*-(\\d+)"}, spread: {}}`)
	pod := st.MakePod().Namespace("prod").Name("pg-1").UID("pg-1").SchedulerName("berth-scheduler").Label("app", "pg").Obj()
	c := newCluster(t, nil, objects(nodes("a1", "b1"), set("db", 1, "data"), claim, policy)...)
	if got := c.try(t, pod).fits(); got != "a1" {
		t.Errorf("as if data-db-0 were beside it: it fits on %q, want a1", got)
	}
	if err := c.client.AppsV1().StatefulSets("prod").Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := <-c.activated; got != "prod/pg-1" {
		t.Errorf("woken when nobody else has the claim: %s, want prod/pg-1", got)
	}
	if got := c.try(t, pod).fits(); got != "b1" {
		t.Errorf("beside the claim that is of nobody else: it fits on %q, want b1", got)
	}
}

// A claim that gets another ordinal leaves its old one.
func TestRelabelledClaimMoves(t *testing.T) {
	claim := bound("x", zone, "c")
	claim[0].(*v1.PersistentVolumeClaim).Labels = map[string]string{"app": "pg", "ordinal": "2"}
	made := st.MakePod().Namespace("prod").Name("pg").UID("pg").SchedulerName("berth-scheduler").Label("app", "pg").Label("ordinal", "2").Obj()
	c := newCluster(t, nil, objects(nodes("a1", "b1", "c1"), claim, policy(t, `{selector: {matchLabels: {app: pg}}, ordinal: {label: ordinal}, spread: {}}`))...)
	if got := c.try(t, made).fits(); got != "c1" {
		t.Fatalf("fits on %q, want c1", got)
	}
	moved := claim[0].(*v1.PersistentVolumeClaim).DeepCopy()
	moved.Labels = map[string]string{"app": "pg", "ordinal": "9"}
	if _, err := c.client.CoreV1().PersistentVolumeClaims("prod").Update(t.Context(), moved, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := <-c.activated; got != "prod/pg" {
		t.Errorf("woken: %s, want prod/pg", got)
	}
	if got := c.try(t, made).fits(); got != "a1" {
		t.Errorf("fits on %q, want a1", got)
	}
}

// The same answers that refuse nodes explain, in the pod's event, what stands
// in the way where the slot belongs.
func TestExplanation(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1", "b1", "b2", "b3", "c1"), set("db", 3))...)
	state, pod := framework.NewCycleState(), slotPod("db", 1).Obj()
	if _, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
		t.Fatal(status)
	}
	refusals := framework.NewDefaultNodeToStatus()
	for node, reasons := range map[string][]string{
		"a1": {"node(s) outside the planned domain b"},
		"b1": {"Insufficient cpu", "Insufficient memory"}, "b2": {"Insufficient cpu"}, "b3": {"node(s) had untolerated taint(s)"},
	} {
		refusals.Set(node, fwk.NewStatus(fwk.Unschedulable, reasons...))
	}
	_, status := c.framework.RunPostFilterPlugins(t.Context(), state, pod, refusals)
	want := "ordinal 1 of prod/db belongs in b (0 of its 1 lower ordinals are there, as few as elsewhere; first by name); " +
		"3 nodes there: 2 Insufficient cpu, 1 Insufficient memory, 1 node(s) had untolerated taint(s)"
	if diff := cmp.Diff(want, status.Message()); diff != "" {
		t.Errorf("explanation (-want +got):\n%s", diff)
	}
	if _, status := c.framework.RunPostFilterPlugins(t.Context(), framework.NewCycleState(), claiming("x"), refusals); status.Message() != "" {
		t.Errorf("a pod that fills no slot is explained: %q", status.Message())
	}
}

func TestScores(t *testing.T) {
	tests := map[string]struct {
		spec string
		want map[string]int64
	}{
		"the planned domain, then the next best": {
			`{spread: {enforcement: Preferred}}`, map[string]int64{"a1": 26 + 20, "a2": 26 + 20, "b1": 80 + 20, "c1": 53 + 20},
		},
		"nodes without siblings": {`{separateNodes: Preferred}`, map[string]int64{"a1": 0, "a2": 20, "b1": 20, "c1": 20}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, nil, objects(nodes("a1", "a2", "b1", "c1"), set("db", 9), slotPod("db", 0).Node("a1").Obj(), policy(t, tt.spec))...)
			state, pod := framework.NewCycleState(), slotPod("db", 1).Obj()
			if _, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
				t.Fatal(status)
			}
			all, err := c.framework.SnapshotSharedLister().NodeInfos().List()
			if err != nil {
				t.Fatal(err)
			}
			if status := c.framework.RunPreScorePlugins(t.Context(), state, pod, all); !status.IsSuccess() {
				t.Fatal(status)
			}
			scores, status := c.framework.RunScorePlugins(t.Context(), state, pod, all)
			if !status.IsSuccess() {
				t.Fatal(status)
			}
			got := map[string]int64{}
			for _, score := range scores {
				got[score.Name] = score.TotalScore
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("scores (-want +got):\n%s", diff)
			}
		})
	}
}

// Until the policies are read nobody is placed, and then everybody is woken.
func TestNobodyIsPlacedBeforeThePoliciesAreRead(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1", "b1", "c1"), set("db", 3))...)
	unread := newUnread(t, objects(nodes("a1", "b1", "c1"), set("db", 3))...)
	pod := slotPod("db", 1).Obj()
	if got := unread.try(t, pod).refused; !strings.HasPrefix(got, "ordinal 1 of prod/db has no place yet: PlacementPolicies ") {
		t.Errorf("refused with %q", got)
	}
	unread.book.MarkReady(nil)
	if got := <-unread.activated; got != "prod/db-1" {
		t.Errorf("woken: %s, want prod/db-1", got)
	}
	if diff := cmp.Diff(c.try(t, pod).fits(), unread.try(t, pod).fits()); diff != "" {
		t.Errorf("afterwards it fits (-want +got):\n%s", diff)
	}
}
