// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

// Shared is what the plugins of one scheduler, or of one simulation, know
// together.
type Shared struct{}

// NewShared returns the state for one Registry. It reads nothing until the
// first plugin is built.
func NewShared() *Shared { return &Shared{} }
