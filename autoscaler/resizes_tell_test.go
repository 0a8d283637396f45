// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

func TestSummary(t *testing.T) {
	sized := resize.Explanation{Pod: "db-2", Class: resize.None, Step: resize.Nothing, Reason: "it has its size"}
	grows := resize.Explanation{Pod: "db-1", Class: resize.InPlace, Step: resize.Patches, Reason: "db: memory 1Gi to 2Gi"}
	waits := resize.Explanation{Pod: "db-0", Class: resize.InPlace, Step: resize.Waits, Reason: "db: memory 1Gi to 2Gi", Waits: "waits for ordinal 1: it is changed now"}
	never := resize.Explanation{Pod: "db-0", Class: resize.Impossible, Step: resize.Waits, Reason: "a static pod is changed in its file only", Waits: "impossible as it is"}
	reverted := resize.Explanation{Pod: "db-1", Class: resize.None, Step: resize.Resizes, Reason: "it has its size", Waits: "its resize is taken back"}
	type said struct {
		Status          corev1.ConditionStatus
		Reason, Message string
	}
	for name, tc := range map[string]struct {
		pods []resize.Explanation
		want said
	}{
		"all sized":  {[]resize.Explanation{sized}, said{corev1.ConditionTrue, "UpToDate", "1 of 1 pods need no other size"}},
		"no pods":    {nil, said{corev1.ConditionTrue, "UpToDate", "0 of 0 pods need no other size"}},
		"one grows":  {[]resize.Explanation{sized, grows, waits}, said{corev1.ConditionFalse, "Patches", "1 of 3 pods need no other size; db-1: db: memory 1Gi to 2Gi"}},
		"one waits":  {[]resize.Explanation{sized, waits}, said{corev1.ConditionFalse, "Waits", "1 of 2 pods need no other size; db-0: db: memory 1Gi to 2Gi; waits for ordinal 1: it is changed now"}},
		"impossible": {[]resize.Explanation{never}, said{corev1.ConditionFalse, "Impossible", "0 of 1 pods need no other size; db-0: a static pod is changed in its file only; impossible as it is"}},
		"taken back": {[]resize.Explanation{sized, reverted}, said{corev1.ConditionFalse, "Resizes", "1 of 2 pods need no other size; db-1: its resize is taken back"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := summary{}.next(tc.pods, time.Unix(0, 0))
			if diff := cmp.Diff(tc.want, said{s.status, s.reason, s.message}); diff != "" {
				t.Errorf("summary (-want +got):\n%s", diff)
			}
		})
	}
}

// A status is written where something happened, and not because seconds pass.
func TestFiguresAloneAreNoNews(t *testing.T) {
	begin := time.Unix(0, 0)
	waits := func(pod, why string) []resize.Explanation {
		return []resize.Explanation{{Pod: pod, Class: resize.Recreate, Step: resize.Waits, Waits: why}}
	}
	first := summary{}.next(waits("db-4", "it was created 8s ago"), begin)
	for name, tc := range map[string]struct {
		pods  []resize.Explanation
		after time.Duration
		news  bool
	}{
		"seconds pass":      {waits("db-4", "it was created 9s ago"), time.Second, false},
		"a minute passes":   {waits("db-4", "it was created 68s ago"), renew, true},
		"another pod":       {waits("db-3", "it was created 8s ago"), time.Second, true},
		"another reason":    {waits("db-4", "its 8 siblings"), time.Second, true},
		"it waits no more":  {[]resize.Explanation{{Pod: "db-4", Class: resize.Recreate, Step: resize.Evicts, Waits: "it was created 8s ago"}}, time.Second, true},
		"nothing is to do":  {nil, time.Second, true},
		"the very same now": {waits("db-4", "it was created 8s ago"), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			next := first.next(tc.pods, begin.Add(tc.after))
			if news := next != first; news != tc.news {
				t.Errorf("news %t, want %t: %q after %q", news, tc.news, next.message, first.message)
			}
		})
	}
}

// The informers are behind until they show what a pod is after the last write to it.
func TestBehind(t *testing.T) {
	for name, tc := range map[string]struct {
		seen map[types.UID]string
		want bool
	}{
		"as it was":       {map[types.UID]string{"a": "1", "b": "9"}, true},
		"noted, not more": {map[types.UID]string{"a": "2", "b": "9"}, true},
		"changed":         {map[types.UID]string{"a": "3", "b": "9"}, false},
		"changed since":   {map[types.UID]string{"a": "4", "b": "9"}, false},
		"gone":            {map[types.UID]string{"b": "9"}, false},
		"its successor":   {map[types.UID]string{"c": "1"}, false},
		"nothing at all":  {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[types.UID]*corev1.Pod{}
			for uid, version := range tc.seen {
				seen[uid] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid, ResourceVersion: version}}
			}
			h := resizeHistory{written: map[types.UID][]string{"a": {"1", "2"}}}
			if got := h.behind(seen); got != tc.want {
				t.Errorf("behind %t, want %t", got, tc.want)
			}
			if len(h.written) > 0 != tc.want {
				t.Errorf("remembers %v", h.written)
			}
		})
	}
}
