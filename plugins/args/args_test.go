// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package args

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

type example struct {
	Size  int64             `json:"size,omitempty"`
	Inner map[string]string `json:"inner,omitempty"`
}

func TestDecodeStrict(t *testing.T) {
	given := func(raw string) runtime.Object { return &runtime.Unknown{Raw: []byte(raw)} }
	tests := map[string]struct {
		obj     runtime.Object
		want    example
		wantErr string
	}{
		"nothing":           {nil, example{Size: 1}, ""},
		"empty":             {given(""), example{Size: 1}, ""},
		"null":              {given("null"), example{Size: 1}, ""},
		"json":              {given(`{"size": 9007199254740993}`), example{Size: 9007199254740993}, ""},
		"yaml":              {given("size: 2\ninner: {a: b}\n"), example{Size: 2, Inner: map[string]string{"a": "b"}}, ""},
		"kind and version":  {given(`{"kind": "K", "apiVersion": "v", "size": 2}`), example{Size: 2}, ""},
		"unknown field":     {given("sise: 2"), example{}, `unknown field "sise"`},
		"case matters":      {given("Size: 2"), example{}, `unknown field "Size"`},
		"twice":             {given("size: 2\nsize: 3"), example{}, "already set"},
		"wrong type":        {given("size: two"), example{}, "size"},
		"not an object":     {given("- size"), example{}, "must be an object"},
		"an object decoded": {&corev1.Pod{}, example{}, "got *v1.Pod"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := example{Size: 1}
			err := DecodeStrict(tt.obj, &got)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("got %v, want an error that says %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("args (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzDecodeStrict(f *testing.F) {
	f.Add([]byte("size: 2"))
	f.Add([]byte(`{"inner": {"a": "b"}, "kind": 1}`))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		var got example
		_ = DecodeStrict(&runtime.Unknown{Raw: raw}, &got) // never panics
	})
}
