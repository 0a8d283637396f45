// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
)

// A pod that waits for room for its new size stands in nobody's way but that of its node.
func TestARemovalBesideAPodThatWaitsForRoom(t *testing.T) {
	for name, taints := range map[string][]corev1.Taint{
		"its node is under-used":     nil,
		"its node is on its way out": {drain.Mark(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))},
	} {
		t.Run(name, func(t *testing.T) {
			perform(t, nil, nil, func(s *stage) {
				t := s.t
				newDraining(s, taints...)
				s.pass(time.Second)
				c := s.conductor
				present, pods := c.reader.Nodes(), c.reader.Pods()
				in, _, err := c.observeNodes(t.Context(), present, pods)
				if err != nil {
					t.Fatal(err)
				}
				in.History.UnneededSince = map[types.UID]time.Time{"pool-1": in.Now.Add(-time.Hour)}
				for _, pod := range c.reader.PodsOn("pool-1") {
					c.history.rooms = []resize.Room{{Pod: pod, Sizes: resize.Sizes{"c": {Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5")}}}}}
				}
				d, err := c.placeNodes(t.Context(), in, present, pods, forecast.Decision{})
				if err != nil || d.Incomplete != "" {
					t.Errorf("the decision is incomplete: %s, error %v", d.Incomplete, err)
					return
				}
				var kept []string
				for _, k := range d.Kept {
					kept = append(kept, k.Node+": "+k.Reason)
				}
				want := []string{"pool-1: pod prod/web-7 waits for room for its new size"}
				if taints != nil {
					want = nil
				}
				if diff := cmp.Diff(want, kept); diff != "" || len(d.Removals) > 0 {
					t.Errorf("%d nodes go, kept (-want +got):\n%s", len(d.Removals), diff)
				}
			})
		})
	}
}

// A pod that is moved comes back as large as its VPA has it by then.
func TestPodsThatComeBackLarger(t *testing.T) {
	for name, tc := range map[string]struct {
		of, cpu string
		want    map[types.UID]string
	}{
		"larger":         {of: "web", cpu: "2", want: map[types.UID]string{"web-0": "2", "web-1": "2", "web-2": "2"}},
		"smaller":        {of: "web", cpu: "500m", want: map[types.UID]string{}},
		"of another one": {of: "other", cpu: "2", want: map[types.UID]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			tables := map[scaled]sizes.Table{{"Deployment", "prod", tc.of}: {Sizes: []sizes.Size{
				{Slot: sizes.AnySlot, Container: "c", Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(tc.cpu)}},
			}}}
			perform(t, nil, nil, func(s *stage) {
				got := map[types.UID]string{}
				for uid, pod := range s.conductor.resized(s.conductor.reader.Pods(), tables) {
					got[uid] = pod.Spec.Containers[0].Resources.Requests.Cpu().String()
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					s.t.Errorf("pods that come back larger (-want +got):\n%s", diff)
				}
			})
		})
	}
}
