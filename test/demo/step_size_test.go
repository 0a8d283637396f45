// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/test/demo/story"
)

func TestResized(t *testing.T) {
	pod := func(name string, uid types.UID, restarts int32) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, UID: uid}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{RestartCount: restarts}}}}
	}
	sized := func(names ...string) (all []entry) {
		for _, name := range names {
			all = append(all, entry{fact: podSized, name: "demo/" + name})
		}
		return all
	}
	before := []*corev1.Pod{pod("db-1", "1", 0), pod("db-0", "0", 2)}
	for name, tc := range map[string]struct {
		after []*corev1.Pod
		when  []entry
		wrong string
	}{
		"in order":       {before, sized("db-1", "db-0"), ""},
		"the other way":  {before, sized("db-0", "db-1"), "[db-0 db-1]"},
		"one twice":      {before, sized("db-1", "db-1", "db-0"), "[db-1 db-1 db-0]"},
		"one re-created": {[]*corev1.Pod{pod("db-1", "new", 0), before[1]}, sized("db-1", "db-0"), "db-1 was re-created"},
		"one restarted":  {[]*corev1.Pod{before[0], pod("db-0", "0", 3)}, sized("db-1", "db-0"), "db-0 was re-created or restarted"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := resized(before, tc.after, tc.when)
			var wrong *story.Unexpected
			if errors.As(err, &wrong) != (tc.wrong != "") || wrong != nil && !strings.Contains(wrong.Actual, tc.wrong) {
				t.Errorf("error %v, want %q", err, tc.wrong)
			}
		})
	}
}
