// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/berth-dev/berth/autoscaler/nodes"
)

// Pods that look at other pods, with the scheduler's own plugins for answers.
func TestPodsThatMindOthers(t *testing.T) {
	of := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	apart := func(p *st.PodWrapper) { // from all that are
		p.Label("apart", "yes").PodAntiAffinity(v1.LabelHostname, &metav1.LabelSelector{MatchLabels: map[string]string{"apart": "yes"}}, st.PodAntiAffinityWithRequiredReq)
	}
	replicas := func(n int, app, cpu string, with func(*st.PodWrapper)) (pods []*v1.Pod) {
		for i := range n {
			pod := podOf(fmt.Sprintf("%s-%d", app, i), cpu, "4Gi").Label("app", app)
			with(pod)
			pods = append(pods, pod.Obj())
		}
		return pods
	}
	for name, tc := range map[string]struct {
		pods []*v1.Pod
		want map[string]int
	}{
		"the larger wants the smaller, which comes after it": {
			append(replicas(2, "web", "3", func(p *st.PodWrapper) {
				p.PodAffinity(v1.LabelTopologyZone, of("cache"), st.PodAffinityWithRequiredReq)
			}),
				replicas(1, "cache", "1", func(p *st.PodWrapper) { p.NodeSelector(map[string]string{v1.LabelTopologyZone: "c"}) })...),
			map[string]int{"small-c": 2},
		},
		"one to a node, so nodes that are small": {
			replicas(5, "web", "1", func(p *st.PodWrapper) {
				p.PodAntiAffinity(v1.LabelHostname, of("web"), st.PodAntiAffinityWithRequiredReq)
			}),
			map[string]int{"small-a": 2, "small-b": 2, "small-c": 1},
		},
		"what fills the rest of one node is not counted on for the next": {
			slices.Concat(replicas(60, "filler", "1", func(*st.PodWrapper) {}),
				replicas(1, "one", "1900m", apart), replicas(1, "two", "1800m", apart), replicas(1, "three", "1700m", apart), replicas(1, "four", "1600m", apart)),
			map[string]int{"large-a": 1, "small-a": 1, "small-b": 1, "small-c": 1},
		},
		"one to a node by what only the scheduler knows": {
			replicas(21, "web", "3", func(p *st.PodWrapper) { p.HostPort(80) }),
			map[string]int{"small-a": 7, "small-b": 7, "small-c": 7},
		},
		"one to a zone": {
			replicas(4, "web", "1", func(p *st.PodWrapper) {
				p.PodAntiAffinity(v1.LabelTopologyZone, of("web"), st.PodAntiAffinityWithRequiredReq)
			}),
			map[string]int{"small-a": 1, "small-b": 1, "small-c": 1},
		},
		"spread over nodes": {
			replicas(4, "web", "1", func(p *st.PodWrapper) {
				p.SpreadConstraint(1, v1.LabelHostname, v1.DoNotSchedule, of("web"), nil, nil, nil, nil)
			}),
			map[string]int{"small-a": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := nodes.Input{Now: now, Config: nodes.Defaults(), Pending: tc.pods}
			for _, zone := range []string{"a", "b", "c"} {
				in.Groups = append(in.Groups,
					nodes.Group{Name: "small-" + zone, Max: 9, Template: nodeOf(zone, "template", 4, "16Gi", 110)},
					nodes.Group{Name: "large-" + zone, Max: 9, Template: nodeOf(zone, "template", 64, "256Gi", 110)})
			}
			session, err := simulate(t).Begin(t.Context(), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			got := map[string]int{}
			for _, add := range nodes.Decide(in, session).Adds {
				got[add.Group] = add.Count
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("nodes by group (-want +got):\n%s", diff)
			}
		})
	}
}
