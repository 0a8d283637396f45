// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import "k8s.io/apimachinery/pkg/util/validation/field"

// Args are the plugin's arguments in the scheduler's configuration. There are
// none yet: any field is refused.
type Args struct{}

// DefaultArgs are the empty ones.
func DefaultArgs() Args { return Args{} }

// Validate finds nothing wrong with no arguments.
func (a *Args) Validate(*field.Path) field.ErrorList { return nil }
