// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"
)

// A successor has the ratio of limits that its template has, its predecessor one that was rounded on the way.
func TestNearly(t *testing.T) {
	list := func(cpu, memory string) v1.ResourceList {
		return v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory)}
	}
	requestsAlone := &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{
		ContainerName: "*", ControlledValues: ptr.To(vpav1.ContainerControlledValuesRequestsOnly),
	}}}
	want := Sizes{"db": {Requests: list("3", "1Gi"), Limits: list("6426m", "2Gi")}}
	for name, tc := range map[string]struct {
		created Sizes
		want    bool
		policy  *vpav1.PodResourcePolicy
	}{
		"the same":             {want, true, nil},
		"with others":          {Sizes{"db": want["db"], "log": {}}, true, nil},
		"rounded limits":       {Sizes{"db": {Requests: list("3", "1Gi"), Limits: list("6428m", "2147483647")}}, true, nil},
		"another ratio of cpu": {Sizes{"db": {Requests: list("3", "1Gi"), Limits: list("5", "2Gi")}}, false, nil},
		"of memory":            {Sizes{"db": {Requests: list("3", "1Gi"), Limits: list("6426m", "1900Mi")}}, false, nil},
		"not controlled":       {Sizes{"db": {Requests: list("3", "1Gi"), Limits: list("1", "9Gi")}}, true, requestsAlone},
		"no limits":            {Sizes{"db": {Requests: list("3", "1Gi")}}, false, nil},
		"a page less":          {Sizes{"db": {Requests: list("3", "1073737729"), Limits: list("6426m", "2Gi")}}, true, nil},
		"another request":      {Sizes{"db": {Requests: list("2990m", "1Gi"), Limits: list("6426m", "2Gi")}}, false, nil},
		"no cpu at all":        {Sizes{"db": {Requests: v1.ResourceList{v1.ResourceMemory: resource.MustParse("1Gi")}, Limits: list("6426m", "2Gi")}}, false, nil},
		"not of the container": {Sizes{"log": want["db"]}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := want.nearly(tc.created, tc.policy); got != tc.want {
				t.Errorf("%t, want %t", got, tc.want)
			}
		})
	}
}
