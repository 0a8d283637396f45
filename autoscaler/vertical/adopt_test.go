// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAdopt(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a, b := Key{Namespace: "prod", Name: "a"}, Key{Namespace: "prod", Name: "b"}
	learnt := func(cpu MilliCPU, keys ...Key) History {
		in := Input{Now: now}
		for _, key := range keys {
			in.VPAs = append(in.VPAs, VPA{Key: key, Pods: []Pod{{UID: "pod-of-x", Containers: []string{"c"}}}})
			in.Samples = append(in.Samples, Sample{Pod: "pod-of-x", Container: "c", Time: now, CPU: cpu, Memory: -1})
		}
		return Decide(in).History
	}
	buckets := func(h History, key Key) map[int]uint32 {
		for _, c := range h.Checkpoints(key, now) {
			return c.Status.CPUHistogram.BucketWeights
		}
		return nil
	}
	for name, tc := range map[string]struct {
		h, other History
		wantA    History // whose a it is to be
	}{
		"into nothing":            {other: learnt(900, a), wantA: learnt(900, a)},
		"in place of what is old": {h: learnt(10, a), other: learnt(900, a), wantA: learnt(900, a)},
		"of what it knows only":   {h: learnt(10, a), other: learnt(900, b), wantA: learnt(10, a)},
		"of nothing":              {h: learnt(10, a), wantA: learnt(10, a)},
	} {
		t.Run(name, func(t *testing.T) {
			got := tc.h.Adopt(tc.other, a)
			if diff := cmp.Diff(buckets(tc.wantA, a), buckets(got, a)); diff != "" {
				t.Errorf("cpu of a (-want +got):\n%s", diff)
			}
			if b := buckets(got, b); b != nil {
				t.Errorf("b was not asked for, and has %v", b)
			}
		})
	}
}
