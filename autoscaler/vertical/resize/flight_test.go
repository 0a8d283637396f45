// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// failed gives the pod a resize that was taken back some time ago.
func failed(p *v1.Pod, to v1.ResourceList, why resize.Failure, ago time.Duration, tries int) {
	rec := resize.Record{At: noon.Add(-ago), Asked: resize.Sizes{"db": {Requests: to}}, Failed: why, Tries: tries,
		Before: resize.Sizes{"db": *p.Spec.Containers[0].Resources.DeepCopy()}}
	p.Annotations = map[string]string{resize.RecordAnnotation: rec.Annotation()}
}

func TestTakingBack(t *testing.T) {
	big := list("2", "2Gi")
	for name, tc := range map[string]struct {
		mode  vpav1.UpdateMode
		setup func(p *v1.Pod)
		want  []string
		waits string
	}{
		"Deferred for a moment": {
			setup: func(p *v1.Pod) {
				asked(p, big, 59*time.Second)
				setCondition(p, v1.PodResizePending, v1.PodReasonDeferred, noon.Add(-59*time.Second))
			},
			want: []string{"db-1 Resizes None", "db-0 Waits InPlace"}, waits: "resize Deferred for 59s",
		},
		"Deferred for too long": {
			setup: func(p *v1.Pod) {
				asked(p, big, time.Minute)
				setCondition(p, v1.PodResizePending, v1.PodReasonDeferred, noon.Add(-time.Minute))
			},
			want: []string{"db-1 Reverts None", "db-0 Waits InPlace"},
		},
		"the condition of an earlier resize": {
			setup: func(p *v1.Pod) {
				setCondition(p, v1.PodResizePending, v1.PodReasonInfeasible, noon.Add(-time.Hour))
				asked(p, big, time.Second)
			},
			want: []string{"db-1 Resizes None", "db-0 Waits InPlace"}, waits: "resize in progress for 1s",
		},
		"Infeasible": {
			setup: func(p *v1.Pod) {
				asked(p, big, time.Second)
				setCondition(p, v1.PodResizePending, v1.PodReasonInfeasible, noon)
			},
			want: []string{"db-1 Reverts None", "db-0 Waits InPlace"},
		},
		"an Error": {
			setup: func(p *v1.Pod) {
				asked(p, list("2", "512Mi"), 2*time.Minute)
				setCondition(p, v1.PodResizeInProgress, v1.PodReasonError, noon.Add(-time.Minute))
			},
			want: []string{"db-1 Reverts InPlace", "db-0 Waits InPlace"},
		},
		"in progress": {
			setup: func(p *v1.Pod) {
				asked(p, big, 9*time.Minute)
				setCondition(p, v1.PodResizeInProgress, "", noon.Add(-9*time.Minute))
			},
			want: []string{"db-1 Resizes None", "db-0 Waits InPlace"}, waits: "resize in progress for 9m0s",
		},
		"in progress for too long": {
			setup: func(p *v1.Pod) {
				asked(p, big, 10*time.Minute)
				setCondition(p, v1.PodResizeInProgress, "", noon.Add(-10*time.Minute))
			},
			want: []string{"db-1 Reverts None", "db-0 Waits InPlace"},
		},
		"no word from the kubelet": {
			setup: func(p *v1.Pod) { asked(p, big, 10*time.Minute) },
			want:  []string{"db-1 Reverts None", "db-0 Waits InPlace"},
		},
		"the note of a failure was written, and the revert was not": {
			setup: func(p *v1.Pod) {
				failed(p, big, resize.Deferred, time.Second, 1)
				write(p, resize.Sizes{"db": {Requests: big}})
				setCondition(p, v1.PodResizePending, v1.PodReasonDeferred, noon)
			},
			want: []string{"db-1 Reverts None", "db-0 Waits InPlace"},
		},
		"a revert that the kubelet has not seen": {
			setup: func(p *v1.Pod) {
				failed(p, big, resize.Deferred, time.Second, 1)
				p.Status.ContainerStatuses[0].Resources.Requests = big
				p.Generation++
			},
			want: []string{"db-1 Resizes None", "db-0 Waits InPlace"}, waits: "its resize is taken back",
		},
		"a note without a resize": {
			setup: func(p *v1.Pod) {
				asked(p, big, time.Hour)
				write(p, resize.Sizes{"db": {Requests: list("1", "1Gi")}})
				acknowledge(p)
			},
			want: []string{"db-1 Patches InPlace", "db-0 Waits InPlace"},
		},
		"after a revert the chain goes on": {
			mode:  inPlace,
			setup: func(p *v1.Pod) { failed(p, big, resize.Deferred, 9*time.Minute, 1) },
			want:  []string{"db-1 Waits InPlace", "db-0 Patches InPlace"}, waits: "was reverted (Deferred): not tried again before 2026-06-01T12:01:00Z",
		},
		"after the back-off it is tried again": {
			mode:  inPlace,
			setup: func(p *v1.Pod) { failed(p, big, resize.Deferred, 10*time.Minute, 1) },
			want:  []string{"db-1 Patches InPlace", "db-0 Waits InPlace"},
		},
		"which doubles": {
			mode:  inPlace,
			setup: func(p *v1.Pod) { failed(p, big, resize.Deferred, 39*time.Minute, 3) },
			want:  []string{"db-1 Waits InPlace", "db-0 Patches InPlace"}, waits: "not tried again before 2026-06-01T12:01:00Z",
		},
		"and has a limit": {
			mode:  inPlace,
			setup: func(p *v1.Pod) { failed(p, big, resize.Deferred, 12*time.Hour, 1<<20) },
			want:  []string{"db-1 Patches InPlace", "db-0 Waits InPlace"},
		},
		"Infeasible is not tried again": {
			mode:  inPlace,
			setup: func(p *v1.Pod) { failed(p, big, resize.Infeasible, 1000*time.Hour, 1) },
			want:  []string{"db-1 Waits InPlace", "db-0 Patches InPlace"}, waits: "was Infeasible at",
		},
		"before less is asked for": {
			mode:  inPlace,
			setup: func(p *v1.Pod) { failed(p, list("2", "3Gi"), resize.Infeasible, time.Hour, 1) },
			want:  []string{"db-1 Patches InPlace", "db-0 Waits InPlace"},
		},
		"only after the revert it is re-created": {
			setup: func(p *v1.Pod) { failed(p, big, resize.Deferred, time.Second, 1) },
			want:  []string{"db-1 Evicts Recreate", "db-0 Waits InPlace"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := pods(2, list("1", "1Gi"), nil)
			tc.setup(all[1])
			if tc.mode == "" {
				tc.mode = orRecreate
			}
			out := answered(t, resize.Input{Targets: []resize.Target{set(tc.mode, advice("2", "2Gi"), all...)}}, yes)
			if diff := cmp.Diff(tc.want, summary(out)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if got := of(out, "db-1"); !strings.Contains(got.Waits, tc.waits) {
				t.Errorf("waits for %q, want %q", got.Waits, tc.waits)
			}
		})
	}
}

// What was asked for before a mode that changes nothing is taken back all the same: it reserves room. Under another
// master it is not, and says so.
func TestTakingBackInOtherModes(t *testing.T) {
	for name, tc := range map[string]struct {
		mode    vpav1.UpdateMode
		hold    string
		refused bool
		want    []string
		waits   string
	}{
		"Off":      {mode: vpav1.UpdateModeOff, want: []string{"db-2 Reverts None", "db-1 Reverts None", "db-0 Waits Recreate"}},
		"Initial":  {mode: vpav1.UpdateModeInitial, want: []string{"db-2 Reverts None", "db-1 Reverts None", "db-0 Waits Recreate"}},
		"Recreate": {mode: recreate, want: []string{"db-2 Reverts None", "db-1 Reverts None", "db-0 Waits Recreate"}},
		"refused": {mode: vpav1.UpdateModeOff, refused: true, want: []string{"db-2 Waits None", "db-1 Reverts None", "db-0 Waits Recreate"},
			waits: "resize Deferred for 5m0s; the API server refused to take the resize back"},
		"another master": {mode: orRecreate, hold: "the upstream updater acts", want: []string{"db-2 Waits None", "db-1 Waits None", "db-0 Waits InPlace"},
			waits: "resize Deferred for 5m0s; it is not taken back: the upstream updater acts"},
	} {
		t.Run(name, func(t *testing.T) {
			all := pods(3, list("1", "1Gi"), nil)
			for _, p := range all[1:] {
				asked(p, list("2", "2Gi"), 5*time.Minute)
				setCondition(p, v1.PodResizePending, v1.PodReasonDeferred, noon.Add(-5*time.Minute))
			}
			in := resize.Input{Targets: []resize.Target{set(tc.mode, advice("2", "2Gi"), all...)}}
			in.Targets[0].Hold = tc.hold
			if tc.refused {
				in.Refused = []resize.Refused{{Pod: all[2].UID, Kind: resize.Revert, Message: "exceeded quota"}}
			}
			out := answered(t, in, yes)
			if diff := cmp.Diff(tc.want, summary(out)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if got := of(out, "db-2").Waits; !strings.Contains(got, tc.waits) {
				t.Errorf("waits for %q, want %q", got, tc.waits)
			}
		})
	}
}

// What a revert writes undoes the patch, and its note says so.
func TestRevert(t *testing.T) {
	p := pod("db", 0, list("", "1Gi"), nil)
	out := answered(t, resize.Input{Targets: []resize.Target{set(inPlace, advice("2", "2Gi"), p)}}, yes)
	if len(out.Actions) != 1 || out.Actions[0].Kind != resize.Patch {
		t.Fatalf("no patch: %v", summary(out))
	}
	p.Annotations = map[string]string{resize.RecordAnnotation: out.Actions[0].Record}
	write(p, out.Actions[0].Sizes)
	setCondition(p, v1.PodResizePending, v1.PodReasonInfeasible, noon)

	out = answered(t, resize.Input{Targets: []resize.Target{set(inPlace, advice("2", "2Gi"), p)}}, yes)
	if len(out.Actions) != 1 || out.Actions[0].Kind != resize.Revert {
		t.Fatalf("no revert: %v", summary(out))
	}
	// A request that was not there can not be removed by a resize: zero is the same.
	want := resize.Sizes{"db": {Requests: list("0", "1Gi")}}
	if diff := cmp.Diff(want, out.Actions[0].Sizes); diff != "" {
		t.Errorf("sizes (-want +got):\n%s", diff)
	}
	got, err := resize.ParseRecord(out.Actions[0].Record)
	if err != nil || got.Failed != resize.Infeasible || got.Tries != 1 {
		t.Errorf("the note says %+v, %v", got, err)
	}
	p.Annotations[resize.RecordAnnotation] = out.Actions[0].Record
	write(p, out.Actions[0].Sizes)
	acknowledge(p)
	out = answered(t, resize.Input{Now: noon.Add(time.Hour), Targets: []resize.Target{set(inPlace, advice("2", "2Gi"), p)}}, yes)
	if len(out.Actions) != 0 {
		t.Errorf("goes on with %+v", out.Actions)
	}
}

// A pod of which a kubelet reports nothing is never resized, and never waited for.
func TestOldKubelet(t *testing.T) {
	all := pods(2, list("1", "1Gi"), nil)
	for _, p := range all {
		p.Status.ContainerStatuses[0].Resources, p.Status.ContainerStatuses[0].AllocatedResources = nil, nil
	}
	out := answered(t, resize.Input{Targets: []resize.Target{set(inPlace, advice("2", "2Gi"), all...)}}, yes)
	if diff := cmp.Diff([]string{"db-1 Waits Impossible", "db-0 Waits Impossible"}, summary(out)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func FuzzParseRecord(f *testing.F) {
	p := pod("db", 0, list("1", "1Gi"), nil)
	asked(p, list("2", "2Gi"), time.Minute)
	f.Add(p.Annotations[resize.RecordAnnotation])
	f.Add(`{"at":"2026-06-01T12:00:00Z","asked":{"db":{"requests":{"cpu":"1e-2147483647"}}},"before":{"db":{}}}`)
	f.Add(`{"at":"2026-06-01T12:00:00Z","asked":{"db":{"requests":{"milliCPU":-1}}},"before":{"db":{}},"failed":"Deferred","tries":9000000000000000000}`)
	f.Add(`{"asked":null}`)
	f.Fuzz(func(t *testing.T, annotation string) {
		rec, err := resize.ParseRecord(annotation)
		if err == nil {
			again, err := resize.ParseRecord(rec.Annotation())
			if err != nil || !again.At.Equal(rec.At) || again.Tries != rec.Tries || again.Failed != rec.Failed {
				t.Errorf("%q reads as %+v, and that as %+v, %v", annotation, rec, again, err)
			}
		}
		// Whatever stands there, a decision comes out and the chain is not led astray.
		all := pods(2, list("1", "1Gi"), nil)
		all[1].Annotations = map[string]string{resize.RecordAnnotation: annotation}
		all[0].CreationTimestamp = metav1.NewTime(noon)
		out := answered(t, resize.Input{Targets: []resize.Target{set(inPlace, advice("2", "2Gi"), all...)}}, yes)
		if len(out.Actions) != 1 {
			t.Errorf("%d actions", len(out.Actions))
		}
	})
}
