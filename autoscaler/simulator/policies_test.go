// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// policyOf returns the policy of the set db.
func policyOf(placement v1alpha1.Placement) *v1alpha1.PlacementPolicy {
	return &v1alpha1.PlacementPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db", UID: "policy"},
		Spec: v1alpha1.PlacementPolicySpec{
			TargetRef: &v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"},
			Placement: placement,
		},
	}
}

func rule(ordinals string, requirements ...v1alpha1.NodeLabelRequirement) v1alpha1.Rule {
	return v1alpha1.Rule{Ordinals: ordinals, NodeSelectorTerms: []v1alpha1.NodeSelectorTerm{{MatchExpressions: requirements}}}
}

func onDemand(n *v1.Node) *v1.Node {
	n.Labels["capacity"] = "on-demand"
	return n
}

// helped returns the pods that each group grows for.
func helped(d nodes.Decision) map[string][]string {
	pods := map[string][]string{}
	for _, add := range d.Adds {
		for _, pod := range add.Pods {
			pods[add.Group] = append(pods[add.Group], pod.Name)
		}
	}
	return pods
}

// What a policy says of a set decides where its nodes come, before any of its
// pods could be asked.
func TestNodesComeWhereThePolicyWantsThem(t *testing.T) {
	spread := func(change func(*v1alpha1.Spread)) v1alpha1.Placement {
		s := &v1alpha1.Spread{}
		if change != nil {
			change(s)
		}
		return v1alpha1.Placement{Spread: s}
	}
	for name, tc := range map[string]struct {
		placement v1alpha1.Placement
		live      []string // zones that have a node, a full one
		cpu       string   // of one pod; a node has 4
		want      map[string][]string
	}{
		"interleaved over the zones that have nodes": {
			placement: spread(nil), live: []string{"a", "b"}, cpu: "3",
			want: map[string][]string{"zone-a": {"db-0", "db-2", "db-4"}, "zone-b": {"db-1", "db-3", "db-5"}},
		},
		"explicit domains, even such as have no node yet": {
			placement: spread(func(s *v1alpha1.Spread) { s.Domains = []string{"b", "c"} }), live: []string{"a", "b"}, cpu: "3",
			want: map[string][]string{"zone-b": {"db-0", "db-2", "db-4"}, "zone-c": {"db-1", "db-3", "db-5"}},
		},
		"blocks of ordinals together": {
			placement: spread(func(s *v1alpha1.Spread) {
				s.Arrangement, s.BlockSize = v1alpha1.Contiguous, ptr.To[int32](2)
			}), live: []string{"a", "b", "c"}, cpu: "3",
			want: map[string][]string{"zone-a": {"db-0", "db-1"}, "zone-b": {"db-2", "db-3"}, "zone-c": {"db-4", "db-5"}},
		},
		"shards and caps, as far as they can be kept": {
			placement: spread(func(s *v1alpha1.Spread) {
				s.ShardSize, s.MaxPerDomain = ptr.To[int32](2), ptr.To[int32](2)
			}), live: []string{"a", "b"}, cpu: "3",
			want: map[string][]string{"zone-a": {"db-0", "db-2"}, "zone-b": {"db-1", "db-3"}},
		},
		"a rule that names a zone": {
			placement: v1alpha1.Placement{
				Spread: &v1alpha1.Spread{Domains: []string{"a", "b", "c"}},
				Rules:  []v1alpha1.Rule{rule("0", v1alpha1.NodeLabelRequirement{Key: v1.LabelTopologyZone, Operator: v1.NodeSelectorOpIn, Values: []string{"c"}})},
			}, live: []string{"a"}, cpu: "3",
			want: map[string][]string{"zone-a": {"db-1", "db-3"}, "zone-b": {"db-2", "db-4"}, "zone-c": {"db-0", "db-5"}},
		},
		"rules that need other nodes, without a spread": {
			placement: v1alpha1.Placement{Rules: []v1alpha1.Rule{
				rule("0-1", v1alpha1.NodeLabelRequirement{Key: "capacity", Operator: v1.NodeSelectorOpIn, Values: []string{"on-demand"}}),
				rule("2-",
					v1alpha1.NodeLabelRequirement{Key: "capacity", Operator: v1.NodeSelectorOpDoesNotExist},
					v1alpha1.NodeLabelRequirement{Key: v1.LabelTopologyZone, Operator: v1.NodeSelectorOpNotIn, Values: []string{"a", "b"}}),
			}}, live: []string{"a"}, cpu: "3",
			want: map[string][]string{"on-demand": {"db-0", "db-1"}, "zone-c": {"db-2", "db-3", "db-4", "db-5"}},
		},
		"a node for each slot": {
			placement: v1alpha1.Placement{Spread: &v1alpha1.Spread{Domains: []string{"a", "b"}}, SeparateNodes: v1alpha1.SeparateRequired},
			live:      []string{"a"}, cpu: "100m",
			want: map[string][]string{"zone-a": {"db-0", "db-2", "db-4"}, "zone-b": {"db-1", "db-3", "db-5"}},
		},
		"a start in order holds no node back": {
			placement: v1alpha1.Placement{
				Spread: &v1alpha1.Spread{Domains: []string{"a", "b", "c"}},
				Start:  &v1alpha1.Start{Order: v1alpha1.StartOrdered, Until: v1alpha1.UntilReady},
			}, live: []string{"a"}, cpu: "3",
			want: map[string][]string{"zone-a": {"db-0", "db-3"}, "zone-b": {"db-1", "db-4"}, "zone-c": {"db-2", "db-5"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []runtime.Object{zonal(), setOf("db", 6), policyOf(tc.placement)}
			in := nodes.Input{Now: now, Config: nodes.Defaults(), Groups: zones(10, 0)}
			if len(tc.placement.Rules) > 1 { // elsewhere it would be as good as any
				in.Groups = append(in.Groups, nodes.Group{Name: "on-demand", Max: 10, Template: onDemand(nodeIn("a", "template"))})
			}
			for _, zone := range tc.live {
				n := readyIn(zone, zone+"1")
				full := podOf("full-"+zone, "4").Node(n.Object.Name).Obj()
				n.Group, n.Pods = "", []*v1.Pod{full}
				in.Nodes, objects = append(in.Nodes, n), append(objects, n.Object, full)
			}
			for i := range 6 {
				objects = append(objects, claimOf("db", i, "")...)
				slot := slotOf("db", i, tc.cpu)
				if i < 3 {
					in.Pending = append(in.Pending, slot)
				} else {
					in.Forecast = append(in.Forecast, slot)
				}
			}
			s, _ := simulate(t, objects...)
			d := nodes.Decide(in, begin(t, s, objects...))
			if diff := cmp.Diff(tc.want, helped(d)); diff != "" {
				t.Errorf("nodes for slots (-want +got):\n%s\nunhelped: %+v, incomplete: %s", diff, d.Unhelped, d.Incomplete)
			}
		})
	}
}

// A domain that is preferred and full is no reason for a node while the next
// best one has room: the scheduler would take it.
func TestAPreferredDomainIsNotWaitedFor(t *testing.T) {
	objects := []runtime.Object{
		zonal(), setOf("db", 1), policyOf(v1alpha1.Placement{Spread: &v1alpha1.Spread{Enforcement: v1alpha1.Preferred}}),
		nodeIn("a", "a1"), nodeIn("b", "b1"), podOf("full", "4").Node("a1").Obj(),
	}
	objects = append(objects, claimOf("db", 0, "")...)
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	session.expect(t, slotOf("db", 0, "3"), "b1")
}

// Pods that an operator makes are a set by their policy, and alike as they may
// look, none of them shares another one's refusal.
func TestPodsOfAnOperatorHaveTheirZones(t *testing.T) {
	pod := func(i int) *v1.Pod {
		return podOf(fmt.Sprintf("pg-%d", i), "3").Label("app", "pg").
			OwnerReference("pg", appsv1.SchemeGroupVersion.WithKind("Cluster")).Obj()
	}
	policy := &v1alpha1.PlacementPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "pg"},
		Spec: v1alpha1.PlacementPolicySpec{
			Selector:  &metav1.LabelSelector{MatchLabels: map[string]string{"app": "pg"}},
			Ordinal:   &v1alpha1.OrdinalSource{NamePattern: "pg-([0-9]+)"},
			Placement: v1alpha1.Placement{Spread: &v1alpha1.Spread{Domains: []string{"a", "b", "c"}}},
		},
	}
	objects := []runtime.Object{policy, nodeIn("a", "a1"), nodeIn("c", "c1"), pod(0), pod(1), pod(2)}
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	session.expect(t, pod(0), "a1")
	session.refuse(t, pod(1), "2 node(s) outside the planned domain b")
	session.expect(t, pod(2), "c1")
	if err := session.AddNode(nodeIn("b", "new-b")); err != nil {
		t.Fatal(err)
	}
	session.expect(t, pod(1), "new-b")
}
