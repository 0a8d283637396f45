// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// A recommendation that moves within its bounds restarts no container more than once in a lifetime.
func TestRestartsAreFarApart(t *testing.T) {
	for name, policy := range map[string]v1.ResourceResizeRestartPolicy{"restarted": v1.RestartContainer, "not restarted": v1.NotRequired} {
		t.Run(name, func(t *testing.T) {
			all := pods(3, list("1", "1Gi"), nil)
			for _, p := range all {
				p.Spec.Containers[0].ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: v1.ResourceMemory, RestartPolicy: policy}}
			}
			last, resizes := map[string]time.Time{}, 0
			for i := range 30 * 60 {
				now := noon.Add(time.Duration(i) * time.Minute)
				recs := advice("1", []string{"1200Mi", "1Gi"}[i/5%2])
				recs[0].Lower, recs[0].Upper = list("500m", "512Mi"), list("2", "4Gi")
				for _, a := range answered(t, resize.Input{Now: now, Targets: []resize.Target{set(inPlace, recs, all...)}}, yes).Actions {
					if at, ok := last[a.Pod.Name]; ok && now.Sub(at) < 12*time.Hour {
						t.Fatalf("%s is resized again after %s", a.Pod.Name, now.Sub(at))
					}
					last[a.Pod.Name], resizes = now, resizes+1
					a.Pod.Annotations = map[string]string{resize.RecordAnnotation: a.Record}
					write(a.Pod, a.Sizes)
					acknowledge(a.Pod)
				}
			}
			if resizes != 9 {
				t.Errorf("%d resizes of 3 pods in 30 hours, want 9", resizes)
			}
		})
	}
}

// What counts as a start is a resize that came through, of the size that the pod has.
func TestWhatCountsAsAStart(t *testing.T) {
	for name, tc := range map[string]struct {
		setup func(*v1.Pod)
		want  string // that it waits for; it is resized otherwise
	}{
		"a resize an hour ago": {func(p *v1.Pod) { asked(p, list("1", "2Gi"), time.Hour); acknowledge(p) }, "within its bounds, and resized at 2026-06-01T11:00:00Z, less than 12h0m0s ago"},
		"half a day ago":       {func(p *v1.Pod) { asked(p, list("1", "2Gi"), 12*time.Hour); acknowledge(p) }, ""},
		"that was taken back":  {func(p *v1.Pod) { failed(p, list("1", "3Gi"), resize.Deferred, time.Hour, 1) }, ""},
		"that was not written": {func(p *v1.Pod) {
			size := p.Spec.Containers[0].Resources
			asked(p, list("1", "3Gi"), time.Hour)
			p.Spec.Containers[0].Resources = size
			acknowledge(p)
		}, ""},
		"outside of the bounds": {func(p *v1.Pod) { asked(p, list("1", "8Gi"), time.Hour); acknowledge(p) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := pod("db", 0, list("1", "2Gi"), nil)
			tc.setup(p)
			recs := advice("1", "1Gi")
			recs[0].Upper = list("2", "4Gi")
			out := answered(t, resize.Input{Targets: []resize.Target{set(inPlace, recs, p)}}, yes)
			if got := out.Pods[0].Reason; (len(out.Actions) == 0) != (tc.want != "") || !strings.Contains(got, tc.want) {
				t.Errorf("%d actions, for %q, want %q", len(out.Actions), got, tc.want)
			}
		})
	}
}
