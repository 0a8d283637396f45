// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestDescribe(t *testing.T) {
	tests := map[string]struct{ name, was, is, want string }{
		"as it is written":     {name: "memory", was: "1Gi", is: "1536Mi", want: "db: memory 1Gi to 1536Mi"},
		"bytes":                {name: "memory", was: "2Gi", is: "3861631195", want: "db: memory 2Gi to 3683Mi"},
		"kilobytes":            {name: "memory", was: "100M", is: "262144k", want: "db: memory 100M to 250Mi"},
		"less than a mebibyte": {name: "memory", was: "0", is: "1000001", want: "db: memory 0 to 1000001"},
		"rounded to the same":  {name: "memory", was: "3861631195", is: "3861635291", want: "db: memory 3861631195 to 3861635291"},
		"cpu":                  {name: "cpu", was: "500m", is: "12038m", want: "db: cpu 500m to 12038m"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			of := func(text string) Sizes {
				return Sizes{"db": {Requests: v1.ResourceList{v1.ResourceName(test.name): resource.MustParse(text)}}}
			}
			if got := of(test.is).Describe(of(test.was)); got != test.want {
				t.Errorf("Describe() = %q, want %q", got, test.want)
			}
		})
	}
}
