// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// A successor has the ratio of limits that its template has, its predecessor one that was rounded on the way.
func TestNearly(t *testing.T) {
	list := func(cpu, memory string) v1.ResourceList {
		return v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory)}
	}
	want := Sizes{"db": {Requests: list("3", "1Gi"), Limits: list("6426m", "2Gi")}}
	for name, tc := range map[string]struct {
		created Sizes
		want    bool
	}{
		"the same":             {want, true},
		"with others":          {Sizes{"db": want["db"], "log": {}}, true},
		"rounded limits":       {Sizes{"db": {Requests: list("3", "1Gi"), Limits: list("6428m", "2147483647")}}, true},
		"another ratio":        {Sizes{"db": {Requests: list("3", "1Gi"), Limits: list("6", "2Gi")}}, false},
		"no limits":            {Sizes{"db": {Requests: list("3", "1Gi")}}, false},
		"a page less":          {Sizes{"db": {Requests: list("3", "1073737729"), Limits: list("6426m", "2Gi")}}, true},
		"another request":      {Sizes{"db": {Requests: list("2990m", "1Gi"), Limits: list("6426m", "2Gi")}}, false},
		"no cpu at all":        {Sizes{"db": {Requests: v1.ResourceList{v1.ResourceMemory: resource.MustParse("1Gi")}, Limits: list("6426m", "2Gi")}}, false},
		"not of the container": {Sizes{"log": want["db"]}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := want.nearly(tc.created); got != tc.want {
				t.Errorf("%t, want %t", got, tc.want)
			}
		})
	}
}
