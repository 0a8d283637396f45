// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package ordinalplacement

import (
	"github.com/berth-dev/berth/plugins/statefulset"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Args are the plugin's arguments in the scheduler's configuration.
type Args struct {
	// DefaultPolicy places the sets that have no policy of their own. Without
	// it they are spread over the zones. An empty one leaves them alone.
	DefaultPolicy *statefulset.Policy `json:"defaultPolicy,omitempty"`
}

// DefaultArgs spread every set over the zones.
func DefaultArgs() Args {
	args := Args{DefaultPolicy: &statefulset.Policy{Spread: &statefulset.Spread{}}}
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
