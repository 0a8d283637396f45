// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package ordinalplacement

import (
	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Args are the plugin's arguments in the scheduler's configuration.
type Args struct {
	// DefaultPolicy places the sets of this profile that no PlacementPolicy is
	// for. Without it they are spread over the zones. An empty one leaves them
	// alone.
	DefaultPolicy *v1alpha1.Placement `json:"defaultPolicy,omitempty"`
}

// DefaultArgs spread every set over the zones.
func DefaultArgs() Args {
	args := Args{DefaultPolicy: &v1alpha1.Placement{Spread: &v1alpha1.Spread{}}}
	args.Default()
	return args
}

// Default fills in what was left out.
func (a *Args) Default() {
	if a.DefaultPolicy == nil {
		*a = DefaultArgs()
		return
	}
	a.DefaultPolicy.Default()
}

// Validate returns what is wrong with args that have their defaults.
func (a *Args) Validate(path *field.Path) field.ErrorList {
	return a.DefaultPolicy.Validate(path.Child("defaultPolicy"))
}
