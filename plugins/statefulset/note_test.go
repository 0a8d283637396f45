// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNote(t *testing.T) {
	away := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 678, time.FixedZone("east", 3600)))
	for name, tc := range map[string]struct {
		note Note
		want string
	}{
		"of a pod that is there": {
			note: Note{Node: "n1", PodUID: "u", Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourceCPU: resource.MustParse("1500m")}},
			want: `{"node":"n1","podUID":"u","requests":{"cpu":"1500m","memory":"1Gi"}}`,
		},
		"of a slot that is away": {
			note: Note{Node: "n1", PodUID: "u", HoldStart: &away},
			want: `{"node":"n1","podUID":"u","holdStart":"2026-01-02T02:04:05Z"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := tc.note.String()
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
			read, err := ParseNote(got)
			if err != nil {
				t.Fatal(err)
			}
			if again := read.String(); again != got {
				t.Errorf("read and written again it is %s, want %s", again, got)
			}
		})
	}
}

func TestNoteThatCanNotBeRead(t *testing.T) {
	for name, text := range map[string]string{
		"empty":              "",
		"no JSON":            "n1",
		"another type":       `["n1"]`,
		"without a node":     `{"podUID":"u"}`,
		"with a bad request": `{"node":"n1","requests":{"cpu":"lots"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if note, err := ParseNote(text); err == nil || !strings.Contains(err.Error(), LastNode) {
				t.Errorf("got %v and error %v, want an error that names the annotation", note, err)
			}
		})
	}
}

func FuzzNote(f *testing.F) {
	f.Add(`{"node":"n1","podUID":"u","requests":{"cpu":"1"},"holdStart":"2026-01-02T02:04:05Z"}`)
	f.Add(`{"node":"n1","later":{"a":1}}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		note, err := ParseNote(text)
		if err != nil {
			return
		}
		again, err := ParseNote(note.String())
		if err != nil {
			t.Fatalf("%q was read, and what it was written as is not: %v", text, err)
		}
		if again.Node != note.Node || again.PodUID != note.PodUID || !equality.Semantic.DeepEqual(again.Requests, note.Requests) {
			t.Fatalf("%q is another note when written and read again:\n%v\n%v", text, note, again)
		}
	})
}
