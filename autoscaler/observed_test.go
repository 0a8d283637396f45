// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Web may grow by four in half an hour, and wants to grow by more.
func TestWhatAnotherControllerScalesCountsForRates(t *testing.T) {
	for name, tc := range map[string]struct {
		mode   string
		others int32
		counts int32
		nodes  int      // as many as the forecast asks for; after a scale that depends on which informer is first
		writes []string // the other's among them
	}{
		"the rate used up":     {mode: "Observe", others: 7, counts: 4, nodes: 1, writes: []string{"3→7"}},
		"half of it":           {mode: "Observe", others: 5, counts: 2, nodes: 2, writes: []string{"3→5"}},
		"nothing":              {mode: "Observe", others: 3, counts: 0, nodes: 2, writes: []string{"3→3"}},
		"by hand, as upstream": {mode: "Act", others: 5, counts: 4, writes: []string{"3→5", "5→9"}},
	} {
		t.Run(name, func(t *testing.T) {
			hpa := slowly(webHPA("web", "web"))
			hpa.Spec.Behavior.ScaleUp.Policies[0].Value = 4
			scene{hpas: hpaList{hpa}, config: "horizontal: {mode: " + tc.mode + "}\n"}.perform(t, func(s *stage) {
				s.pass(time.Minute)
				scales, deployments := s.scales().Scales("prod"), schema.GroupResource{Group: "apps", Resource: "deployments"}
				web, err := scales.Get(t.Context(), deployments, "web", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				web.Spec.Replicas = tc.others
				if _, err := scales.Update(t.Context(), deployments, web, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				s.set(func() { s.usage = 1500 })
				s.pass(5 * time.Minute)
				var counts int32
				for _, up := range s.conductor.history.horizontal[hpa.UID].history.ScaleUps {
					counts += up.Change
				}
				if counts != tc.counts {
					t.Errorf("%d replicas count for the rate, want %d", counts, tc.counts)
				}
				nodes, err := s.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if got := len(nodes.Items); tc.nodes > 0 && got != tc.nodes {
					t.Errorf("%d nodes, want %d", got, tc.nodes)
				}
				if diff := cmp.Diff(tc.writes, s.writes()[:min(len(tc.writes), len(s.writes()))]); diff != "" {
					t.Errorf("scales (-want +got):\n%s", diff)
				}
			})
		})
	}
}
