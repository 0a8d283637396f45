// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// A write that is refused each time is tried less and less, and the other pods go on.
func TestRefusedForGood(t *testing.T) {
	for name, tc := range map[string]struct {
		mode   vpav1.UpdateMode
		kind   resize.Kind
		waits  string
		before func(*v1.Pod)
	}{
		"a resize":    {mode: inPlace, kind: resize.Patch, waits: "refused the resize (exceeded quota)"},
		"an eviction": {mode: recreate, kind: resize.Evict, waits: "refused the eviction (exceeded quota)"},
		"a revert": {mode: inPlace, kind: resize.Revert, waits: "resize is to be taken back (TimedOut); the API server refused to take the resize back (exceeded quota)",
			before: func(p *v1.Pod) { asked(p, list("2", "2Gi"), 10*time.Minute) }},
	} {
		for kind, ordered := range map[string]bool{"in order": true, "without": false} {
			t.Run(name+" "+kind, func(t *testing.T) {
				all := pods(2, list("1", "1Gi"), nil)
				stuck := all[1]
				if tc.before != nil {
					tc.before(stuck)
				}
				in := resize.Input{Targets: []resize.Target{set(tc.mode, advice("2", "2Gi"), all...)}}
				in.Targets[0].Workload.Ordered = ordered
				in.Targets[0].Workload.Replicas = 2
				var at []time.Duration
				other := 0
				for i := range 400 {
					in.Now = noon.Add(time.Duration(i) * 15 * time.Second)
					out := answered(t, in, yes)
					in.History, in.Refused = out.History, nil
					for _, a := range out.Actions {
						if a.Pod.Name != stuck.Name {
							other++
							write(a.Pod, a.Sizes)
							acknowledge(a.Pod)
							continue
						}
						if a.Kind != tc.kind {
							t.Fatalf("%s, want %s", a.Kind, tc.kind)
						}
						at = append(at, in.Now.Sub(noon))
						in.Refused = append(in.Refused, resize.Refused{Pod: a.Pod.UID, Kind: a.Kind, Message: "exceeded quota"})
						if a.Record != "" {
							stuck.Annotations = map[string]string{resize.RecordAnnotation: a.Record} // it is written first
						}
					}
					if len(out.Actions) == 0 && !strings.Contains(of(out, stuck.Name).Waits, tc.waits) {
						t.Fatalf("waits for %q, want %q", of(out, stuck.Name).Waits, tc.waits)
					}
				}
				if len(at) != 4 || at[1] < 10*time.Minute || at[2]-at[1] < 20*time.Minute || at[3]-at[2] < 40*time.Minute {
					t.Errorf("tried at %v", at)
				}
				if other != 1 {
					t.Errorf("the other pod is changed %d times, want once", other)
				}
			})
		}
	}
}
